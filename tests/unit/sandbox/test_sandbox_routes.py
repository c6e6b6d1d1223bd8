"""The routes as the API has them, without faults."""

import json
from collections.abc import Callable

import pytest
from sandbox_trial import BASE, Trial, body


def test_password_grant_gives_a_refresh_token_that_stays_valid(trial: Trial) -> None:
    form = {
        "username": "sandbox@example.com",
        "password": "sandbox-password",
        "tenantType": "merchant",
        "tenantId": "10006",
    }
    first = trial.token(grant_type="password", **form).json()
    assert set(first) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert first["expires_in"] == 3600
    tenant = {"tenantType": "merchant", "tenantId": "10006"}
    for _ in range(2):
        again = trial.token(grant_type="refresh_token", refresh_token=first["refresh_token"], **tenant).json()
        assert "refresh_token" not in again
        assert again["access_token"] != first["access_token"]


@pytest.mark.parametrize(
    ("form", "status"),
    [
        (
            {"grant_type": "password", "username": "x", "password": "y", "tenantType": "merchant", "tenantId": "10006"},
            400,
        ),
        ({"grant_type": "password", "username": "sandbox@example.com", "password": "sandbox-password"}, 400),
        ({"grant_type": "refresh_token", "refresh_token": "no", "tenantType": "merchant", "tenantId": "10006"}, 400),
        ({"grant_type": "password", "tenantType": "merchant", "tenantId": "1"}, 403),
        ({"grant_type": "implicit"}, 400),
    ],
)
def test_bad_grants(trial: Trial, form: dict[str, str], status: int) -> None:
    assert trial.token(**form).status_code == status


def test_client_credentials_and_a_wrong_secret(trial: Trial) -> None:
    assert "refresh_token" not in trial.token().json()
    assert trial.token("wrong").status_code == 401


@pytest.mark.parametrize(("allowed", "other"), [("password", "client_credentials"), ("client_credentials", "password")])
def test_one_grant_only(trial: Trial, allowed: str, other: str) -> None:
    trial.faults(grants=allowed)
    assert trial.token(grant_type=other).json()["code"] == "unsupported_grant_type"


def test_no_token_and_another_merchant(trial: Trial) -> None:
    assert trial.http.get("/v1/merchants/10006/segments", headers={"authorization": "Bearer no"}).status_code == 401
    other = trial.http.get("/v1/merchants/1/segments")
    assert (other.status_code, other.json()) == (403, {"code": "Forbidden", "message": "No access to merchant 1"})


@pytest.mark.parametrize("path", ["/", "/x", "/v1", "/v1/merchants/10006/x", "/v1/merchants/10006/segments/vip/x"])
def test_other_paths(trial: Trial, path: str) -> None:
    assert trial.http.get(path).status_code == (200 if path == "/" else 404)


def test_segments_are_created_read_changed_deleted(trial: Trial) -> None:
    new = {"code": "new", "name": "New", "description": "d", "type": "fixed", "status": "active"}
    assert trial.call("POST", "/segments", {"segments": [new]}).status_code == 201
    assert trial.call("POST", "/segments/new", {"name": "Newer"}).status_code == 204
    got = trial.call("GET", "/segments/new").json()["segment"]
    assert (got["name"], got["memberCount"], got["type"]) == ("Newer", 0, "fixed")
    listed = trial.call("GET", "/segments", filters=json.dumps({"code": {"$in": ["new", "x"]}})).json()
    assert [segment["code"] for segment in listed["segments"]] == ["new"]
    assert listed["meta"]["totalItemCount"] == 1
    assert trial.call("DELETE", "/segments/new").status_code == 202
    assert trial.call("GET", "/segments/new").json()["code"] == "NotFound"


@pytest.mark.parametrize(
    "change", [{"code": "other"}, {"type": "dynamic"}, {"rules": []}, {"name": ""}, {"name": 3}, {"unknown": 1}]
)
def test_an_update_takes_neither_code_nor_type(trial: Trial, change: dict[str, object]) -> None:
    assert trial.call("POST", "/segments/vip", change).status_code == 400


def test_a_segment_may_come_with_members(trial: Trial) -> None:
    new = {"code": "new", "name": "New", "type": "fixed", **body("a")}
    assert trial.call("POST", "/segments", {"segments": [new]}).status_code == 201
    assert trial.members("new") == {"a"}


def test_a_duplicate_segment_in_both_forms(trial: Trial) -> None:
    new = {"segments": [{"code": "vip", "name": "x", "type": "fixed"}, {"code": "b", "name": "b", "type": "fixed"}]}
    assert trial.call("POST", "/segments", new).status_code == 409
    assert trial.call("GET", "/segments/b").status_code == 404
    trial.faults(duplicate_segment="item", row_error_codes="number")
    answer = trial.call("POST", "/segments", new)
    assert answer.status_code == 201
    assert answer.json()["errors"][0]["code"] == 409
    assert trial.call("GET", "/segments/b").status_code == 200


def test_members_are_added_and_removed(trial: Trial) -> None:
    assert trial.add("a", "b").status_code == 201
    assert trial.members() == {"a", "b"}
    assert trial.remove("a").status_code == 202
    assert trial.members() == {"b"}
    assert trial.call("GET", "/segments/vip").json()["segment"]["memberCount"] == 1


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    "sent",
    [
        {"members": [{"id": "a", "type": "customer"}, {"id": 3, "type": "customer"}]},
        {"members": [{"id": "a", "type": "customer"}, {"id": "", "type": "customer"}]},
        {"members": [{"id": "a", "type": "guest"}]},
        {"members": [{"id": "a", "type": "customer", "name": "x"}]},
        {"members": [{"id": "a"}]},
        {"members": []},
        {"members": None},
        {},
        [{"id": "a", "type": "customer"}],
        None,
    ],
)
def test_one_bad_item_refuses_the_whole_request(trial: Trial, method: str, sent: object) -> None:
    trial.add("kept")
    answer = trial.call(method, "/segments/vip/members", sent)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "SCHEMA_VALIDATION_FAILED"
    assert trial.members() == {"kept"}


def test_bad_item_is_named_by_its_path(trial: Trial) -> None:
    sent = {"members": [{"id": "a", "type": "customer"}, {"id": 3, "type": "customer"}]}
    errors = trial.call("POST", "/segments/vip/members", sent).json()["error"]["results"]["errors"]
    assert errors[0]["path"] == "$.members[1].id"


def test_the_star_removes_every_member_of_its_type(trial: Trial) -> None:
    trial.add("a", "b")
    trial.call("POST", "/segments/vip/members", body("phone", kind="device"))
    assert trial.add("*").status_code == 400
    assert trial.remove("*").status_code == 202
    assert trial.members() == set()
    assert trial.call("GET", "/segments/vip").json()["segment"]["memberCount"] == 1
    assert trial.sandbox.stats()["remove_all"] == 1


def test_a_dynamic_segment_has_no_members(trial: Trial) -> None:
    new = {"code": "dyn", "name": "Dyn", "type": "dynamic", "rules": {"any": 1}}
    assert trial.call("POST", "/segments", {"segments": [new]}).status_code == 201
    assert trial.add("a", code="dyn").status_code == 400
    assert trial.remove("a", code="dyn").status_code == 400
    assert trial.call("GET", "/segments/dyn/members").status_code == 400


def test_an_unknown_segment_is_404_or_created(trial_with: Callable[..., Trial]) -> None:
    assert trial_with().add("a", code="none").status_code == 404
    creating = trial_with(create_segments=True)
    assert creating.add("a", code="a/b c").status_code == 404
    assert creating.add("a", code="a%2Fb%20c").status_code == 201
    assert creating.members("a/b c") == {"a"}


@pytest.mark.parametrize("form", ["cursors", "cursor", "offset"])
def test_each_form_of_paging_gives_every_member_once(trial: Trial, form: str) -> None:
    trial.faults(members_paging=form)
    wanted = [f"m{n:03d}" for n in range(25)]
    trial.add(*wanted)
    trial.call("POST", "/segments/vip/members", body("phone", kind="device"))
    got: list[str] = []
    place: dict[str, object] = {}
    for _ in range(20):
        page = trial.call("GET", "/segments/vip/members", limit=5, **place).json()
        assert page["meta"]["totalItemCount"] == 26
        got += [row["id"] for row in page["members"]]
        if form == "offset":
            assert page["meta"]["offset"] == len(got) - len(page["members"])
            place = {"offset": len(got)}
            if len(got) == 26:
                break
            continue
        after = page["meta"][form]["after"]
        if after is None:
            break
        place = {"after": after}
    assert got == [*wanted, "phone"]


def test_a_page_follows_what_changes_between(trial: Trial) -> None:
    trial.add("a", "c", "e")
    first = trial.call("GET", "/segments/vip/members", limit=2).json()
    trial.remove("a", "e")
    trial.add("d", "b")
    rest = trial.call("GET", "/segments/vip/members", after=first["meta"]["cursors"]["after"]).json()
    assert [row["id"] for row in rest["members"]] == ["d"]


def test_members_by_filter(trial: Trial) -> None:
    trial.add("a", "b", "c")
    got = trial.call("GET", "/segments/vip/members", filters=json.dumps({"id": {"$in": ["a", "c", "z"]}})).json()
    assert [row["id"] for row in got["members"]] == ["a", "c"]
    assert got["meta"]["totalItemCount"] == 2


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"after": "!"}, {"filters": "{"}])
def test_bad_list_parameters(trial: Trial, query: dict[str, object]) -> None:
    assert trial.call("GET", "/segments/vip/members", **query).status_code == 400


@pytest.mark.parametrize(
    ("change", "status", "left"),
    [({}, 202, set()), ({"removal_status": "200"}, 200, set()), ({"removal_status": "204"}, 204, set())],
)
def test_the_status_of_a_removal(trial: Trial, change: dict[str, str], status: int, left: set[str]) -> None:
    trial.faults(**change)
    trial.add("a")
    assert trial.remove("a").status_code == status
    assert trial.members() == left


def test_a_removal_in_the_foreground(trial: Trial) -> None:
    trial.faults(removal_delay_s=5)
    trial.add("a", "b")
    assert trial.remove("a", runInBackground="false").status_code == 200
    assert trial.members() == {"b"}
    trial.faults(background_honoured=False)
    assert trial.remove("b", runInBackground="false").status_code == 202
    assert trial.members() == {"b"}


def test_a_parameter_that_is_not_known(trial: Trial) -> None:
    trial.faults(background_known=False)
    assert trial.remove("a", runInBackground="false").status_code == 400
    assert trial.remove("a").status_code == 202


def test_another_merchant_may_be_not_found(trial: Trial) -> None:
    trial.faults(other_merchant="404")
    other = trial.http.get("/v1/merchants/1/segments")
    assert (other.status_code, other.json()["code"]) == (404, "NotFound")
    assert trial.token(grant_type="client_credentials", tenantId="1").status_code == 403


def test_unknown_headers_are_ignored(trial: Trial) -> None:
    for name in ("idempotency-key", "x-request-id", "traceparent"):
        answer = trial.http.post(
            f"{BASE}/segments/vip/members", json={"members": [{"id": name, "type": "customer"}]}, headers={name: "1"}
        )
        assert answer.status_code == 201
    assert len(trial.members()) == 3


def test_segments_by_filter_and_page(trial: Trial) -> None:
    for number in range(5):
        new = {"code": f"s{number}", "name": f"S{number % 2}", "type": "fixed"}
        trial.call("POST", "/segments", {"segments": [new]})
    found = trial.call("GET", "/segments", filters='{"name":"S0"}', limit=2, offset=1).json()
    assert [segment["code"] for segment in found["segments"]] == ["s2", "s4"]
    assert found["meta"] == {"limit": 2, "offset": 1, "totalItemCount": 3}


def test_sort_and_fields(trial: Trial) -> None:
    people = [{"id": one, "emailAddress": f"{one}@x.com"} for one in ("b", "a")]
    trial.http.post("/_sandbox/customers", json={"customers": people})
    found = trial.call("GET", "/customers", sort="-emailAddress", fields="id").json()["customers"]
    assert found == [{"id": "b"}, {"id": "a"}]
    assert trial.call("GET", "/customers", sort="shoeSize").status_code == 400
    trial.add("b", "a")
    assert [row["id"] for row in trial.call("GET", "/segments/vip/members", sort="id").json()["members"]] == ["a", "b"]
    assert trial.call("GET", "/segments/vip/members", sort="-id").status_code == 400
    assert trial.call("GET", "/segments/vip/members", after="bm9raW5kOjE=").status_code == 400


def test_a_new_segment_takes_no_star_and_no_more_members_than_a_request(trial: Trial) -> None:
    new = {"code": "new", "name": "New", "type": "fixed", "members": [{"id": "*", "type": "customer"}]}
    assert trial.call("POST", "/segments", {"segments": [new]}).status_code == 400
    trial.faults(members_max=1)
    new["members"] = [{"id": one, "type": "customer"} for one in "ab"]
    assert trial.call("POST", "/segments", {"segments": [new]}).status_code == 413


def test_an_internal_number_is_given_once(trial: Trial) -> None:
    for step in ({"id": "a", "internalCustomerNumber": 7}, {"id": "b"}):
        trial.http.post("/_sandbox/customers", json={"customers": [step]})
    trial.http.delete("/_sandbox/customers/b")
    trial.http.post("/_sandbox/customers", json={"customers": [{"id": "c"}]})
    numbers = [one["internalCustomerNumber"] for one in trial.call("GET", "/customers").json()["customers"]]
    assert len(numbers) == len(set(numbers))
