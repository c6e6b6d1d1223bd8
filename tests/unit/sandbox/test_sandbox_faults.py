"""Each switch does what docs/sandbox.md says of it."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest
from sandbox_trial import Trial, wait_until

from stream.sandbox.faults import FAULTS, Faults

IDS = [f"m{number}" for number in range(200)]


# rows inside a 2xx


def test_row_errors_pass_and_spare_the_other_rows(trial: Trial) -> None:
    trial.faults(row_error_share=0.5, row_error_code="429")
    answer = trial.add(*IDS)
    errors = answer.json()["errors"]
    assert answer.status_code == 201
    assert 50 < len(errors) < 150
    failed = {error["entityId"] for error in errors}
    assert trial.members() == set(IDS) - failed
    assert {error["code"] for error in errors} == {"429"}
    assert all(IDS[error["entityIndex"]] == error["entityId"] for error in errors)
    for _ in range(30):
        trial.add(*sorted(failed))
    assert trial.members() == set(IDS)


def test_some_ids_fail_for_ever(trial: Trial) -> None:
    trial.faults(row_refuse_share=0.5, row_refuse_code="422")
    failed = [{error["entityId"] for error in trial.add(*IDS).json()["errors"]} for _ in range(5)]
    assert 50 < len(failed[0]) < 150
    assert failed == [failed[0]] * 5
    assert trial.members() == set(IDS) - failed[0]
    assert trial.sandbox.stats()["rows_refused"] == 5 * len(failed[0])


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        ("both", {"entityId": "b", "entityIndex": 1}),
        ("index", {"entityIndex": 1}),
        ("id", {"entityId": "b"}),
        ("none", {}),
        ("wrong_index", {"entityId": "b", "entityIndex": 2}),
        ("out_of_range", {"entityIndex": 10}),
    ],
)
def test_how_a_row_error_names_its_row(trial: Trial, names: str, keys: dict[str, Any]) -> None:
    trial.add("b")
    trial.faults(present_add="409", row_error_names=names, row_error_text="message", row_error_codes="number")
    errors = trial.add("a", "b", "c").json()["errors"]
    assert errors == [{"code": 409, "entity": "member", "message": "The member exists", **keys}]


def test_row_errors_listed_twice(trial: Trial) -> None:
    trial.add("b")
    trial.faults(present_add="409", row_error_twice=True)
    errors = trial.add("b").json()["errors"]
    assert len(errors) == 2
    assert errors[0] == errors[1]


def test_present_absent_unknown_and_double_rows(trial: Trial) -> None:
    assert trial.add("a", "a").json() == {"errors": []}
    trial.faults(absent_remove="404", unknown_customer="404", duplicate_rows="item")
    trial.http.post("/_sandbox/customers", json={"customers": [{"id": "known"}, {"id": "dead", "status": "deleted"}]})
    assert [error["entityId"] for error in trial.remove("a", "b").json()["errors"]] == ["b"]
    assert [error["entityId"] for error in trial.add("known", "none", "dead").json()["errors"]] == ["none", "dead"]
    assert [error["entityIndex"] for error in trial.add("known", "known").json()["errors"]] == [1]
    assert trial.members() == {"known"}
    trial.faults(duplicate_rows="400")
    assert trial.add("known", "known").status_code == 400


# whole requests


def test_poison(trial: Trial) -> None:
    trial.faults(poison_ids=["bad"], poison_status=500)
    assert trial.add("a", "bad").status_code == 500
    assert trial.add("a").status_code == 201
    assert trial.members() == {"a"}


def test_413_and_members_max(trial: Trial) -> None:
    trial.faults(body_bytes_max=200)
    assert trial.add(*IDS).status_code == 413
    trial.faults(body_bytes_max=1_000_000, members_max=100)
    assert trial.add(*IDS).status_code == 413
    trial.faults(members_max_status="422")
    assert trial.add(*IDS).status_code == 422
    assert trial.add(*IDS[:100]).status_code == 201
    assert trial.members() == set(IDS[:100])


@pytest.mark.parametrize(("form", "status"), [("400", 400), ("202", 202)])
def test_bodies_of_delete_are_stripped(trial: Trial, form: str, status: int) -> None:
    trial.faults(delete_body=form)
    trial.add("a")
    assert trial.remove("a").status_code == status
    assert trial.members() == {"a"}


def test_a_delete_without_its_body_removes_everybody(trial: Trial) -> None:
    trial.faults(delete_body="all")
    trial.add("a", "b")
    assert trial.remove("a").status_code == 202
    assert trial.members() == set()
    trial.faults(delete_body="all", members_body="bare")
    assert trial.remove("a").status_code == 202


def test_a_removal_may_carry_fewer_members(trial: Trial) -> None:
    trial.faults(removal_members_max=1)
    assert trial.add("a", "b").status_code == 201
    assert trial.remove("a", "b").status_code == 413
    assert trial.remove("a").status_code == 202


def test_rate_limits_in_headers(trial: Trial) -> None:
    assert not [name for name in trial.add("a").headers if "ratelimit" in name]
    trial.faults(rate_headers="x-ratelimit")
    assert trial.add("a").headers["x-ratelimit-limit"] == "100"
    trial.faults(rate_headers="ratelimit")
    assert trial.call("GET", "/customers").headers["ratelimit-policy"] == "100;w=60"


def test_a_bare_array(trial: Trial) -> None:
    path, rows = "/segments/vip/members", [{"id": "a", "type": "customer"}]
    trial.faults(members_body="bare")
    assert trial.call("POST", path, rows).status_code == 201
    assert trial.add("b").status_code == 400
    trial.faults(members_body="both")
    assert trial.call("POST", path, rows).status_code == 201
    assert trial.add("b").status_code == 201


def test_errors_before_and_after_the_work(trial: Trial) -> None:
    trial.faults(error_share=1)
    assert trial.add("a").status_code == 503
    assert trial.members() == set()
    trial.faults(error_share=0, error_after_share=1, error_status=502)
    assert trial.add("a").status_code == 502
    assert trial.members() == {"a"}


def test_bursts(trial: Trial) -> None:
    trial.faults(burst_every_s=0.4, burst_s=0.2)
    seen = []
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        seen.append(trial.add("a").status_code)
        time.sleep(0.02)
    assert set(seen) == {201, 503}
    changes = sum(one != other for one, other in pairwise(seen))
    assert 2 <= changes <= 6


@pytest.mark.parametrize(("form", "shown"), [("seconds", "1"), ("absurd", "31536000"), ("none", None)])
def test_429(trial: Trial, form: str, shown: str | None) -> None:
    trial.faults(throttle_share=1, retry_after=form, retry_after_s=0.5)
    answer = trial.add("a")
    assert answer.status_code == 429
    assert answer.headers.get("retry-after") == shown
    assert trial.members() == set()


def test_429_with_a_date(trial: Trial) -> None:
    trial.faults(throttle_share=1, retry_after="date", retry_after_s=3)
    date = parsedate_to_datetime(trial.add("a").headers["retry-after"])
    assert 2.5 < date.timestamp() - time.time() <= 4.5


def test_the_rate_limit(trial: Trial) -> None:
    trial.faults(requests_per_s_max=5)
    statuses = [trial.add("a").status_code for _ in range(20)]
    assert statuses[:2] == [201, 201]
    assert statuses.count(429) >= 5
    time.sleep(0.5)
    assert trial.add("a").status_code == 201


def test_a_request_within_retry_after_is_counted(trial: Trial) -> None:
    trial.faults(throttle_share=1, retry_after_s=1)
    trial.add("a")
    trial.faults(throttle_share=0)
    time.sleep(0.15)
    trial.add("a")
    assert trial.sandbox.stats()["requests_within_retry_after"] == 1
    time.sleep(1)
    trial.add("a")
    assert trial.sandbox.stats()["requests_within_retry_after"] == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_nobody_has_to_obey_what_was_not_answered_yet(trial: Trial, form: str) -> None:
    trial.faults(throttle_share=1, retry_after_s=1, retry_after=form, latency_s=0.4)
    with ThreadPoolExecutor(2) as both:
        first = both.submit(trial.add, "a")
        time.sleep(0.2)
        second = both.submit(trial.add, "b")
        first.result()
        second.result()
    assert trial.sandbox.stats()["requests_within_retry_after"] == 0
    trial.add("c")
    assert trial.sandbox.stats()["requests_within_retry_after"] == 1


def test_a_token_may_be_throttled(trial: Trial) -> None:
    trial.faults(token_throttle_share=1)
    answer = trial.http.post("/oauth/token", data={"grant_type": "client_credentials"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


@pytest.mark.parametrize(("form", "applied"), [("drop_before_share", False), ("drop_after_share", True)])
def test_dropped_connections(trial: Trial, form: str, applied: bool) -> None:  # noqa: FBT001 - a table's column
    trial.faults(**{form: 1})
    with pytest.raises(httpx.TransportError):
        trial.add("a")
    assert trial.members() == ({"a"} if applied else set())
    assert trial.sandbox.stats()["statuses"]["cut"] == 1


def test_hanging_is_never_applied_and_cut_in_the_end(trial: Trial) -> None:
    trial.faults(hang_share=1, hang_s=0.2)
    started = time.monotonic()
    with pytest.raises(httpx.RemoteProtocolError):
        trial.add("a")
    assert 0.15 < time.monotonic() - started < 2
    with pytest.raises(httpx.RemoteProtocolError):
        trial.call("GET", "/segments")
    assert trial.members() == set()


def test_slow_and_latency(trial: Trial) -> None:
    trial.faults(latency_s=0.1)
    started = time.monotonic()
    assert trial.add("a").status_code == 201
    assert 0.1 <= time.monotonic() - started < 1
    trial.faults(slow_share=1, slow_s=0.2)
    started = time.monotonic()
    assert trial.add("a").status_code == 201
    assert 0.3 <= time.monotonic() - started < 2


def test_a_timed_out_request_lands_late_after_its_opposite(trial: Trial) -> None:
    trial.faults(late_share=1, late_s=[1.5, 1.6])
    with pytest.raises(httpx.ReadTimeout):
        trial.http.request(
            "POST",
            "/v1/merchants/10006/segments/vip/members",
            json={"members": [{"id": "a", "type": "customer"}]},
            timeout=0.1,
        )
    trial.faults(late_share=0)
    wait_until(lambda: trial.in_flight("late") == 1)
    assert trial.remove("a").status_code == 202
    assert trial.members() == set()
    wait_until(lambda: trial.members() == {"a"})
    assert trial.sandbox.stats()["overlaps_by"] == {"remove_during_late_add": 1}
    assert trial.sandbox.stats()["in_flight_rows"] == {"open": 0, "accepted": 0, "late": 0}


def test_a_slow_request_that_the_client_gave_up_lands_too(trial: Trial) -> None:
    trial.faults(slow_share=1, slow_s=1)
    with pytest.raises(httpx.ReadTimeout):
        trial.http.request(
            "POST",
            "/v1/merchants/10006/segments/vip/members",
            json={"members": [{"id": "a", "type": "customer"}]},
            timeout=0.1,
        )
    wait_until(lambda: trial.members() == {"a"})
    assert [event["what"] for event in trial.sandbox.history("vip", "a")] == ["received", "dropped", "applied"]


# removals that run later


def test_a_removal_runs_later_on_the_state_of_then(trial: Trial) -> None:
    trial.faults(removal_delay_s=1)
    trial.add("a", "b")
    assert trial.remove("a").status_code == 202
    assert trial.members() == {"a", "b"}
    assert trial.add("a").status_code == 201
    wait_until(lambda: trial.members() == {"b"})
    stats = trial.sandbox.stats()
    assert stats["overlaps_by"] == {"add_during_accepted_remove": 1}
    assert stats["rows_unchanged"] == 1


def test_the_star_runs_later_too(trial: Trial) -> None:
    trial.faults(removal_delay_s=0.5)
    trial.add("a")
    trial.remove("*")
    trial.add("b")
    assert trial.members() == {"a", "b"}
    wait_until(lambda: trial.members() == set())


def test_a_machine_that_stood_still_removes_before_it_takes_what_came_later(trial: Trial) -> None:
    """A client that waited for longer than the longest delay must find the removal behind it."""
    trial.add("a")
    trial.faults(removal_delay_s=0.2)
    assert trial.remove("a").status_code == 202
    still = threading.Thread(target=trial.sandbox.call, args=(lambda _: time.sleep(1),))
    still.start()
    time.sleep(0.5)
    assert trial.add("a").status_code == 201
    still.join()
    assert trial.members() == {"a"}


def test_the_same_seed_gives_the_same_run(trial_with: Callable[..., Trial]) -> None:
    def run(seed: int) -> list[Any]:
        trial = trial_with(seed=seed, faults={"row_error_share": 0.3, "error_share": 0.3, "throttle_share": 0.2})
        return [(answer.status_code, answer.text) for answer in (trial.add(*IDS[:20]) for _ in range(20))]

    first = run(7)
    assert run(7) == first
    assert run(8) != first


def test_one_fault_does_not_shift_the_chance_of_another() -> None:
    alone = Faults(3, {"error_share": 0.3})
    both = Faults(3, {"error_share": 0.3, "drop_after_share": 0.0001, "row_error_share": 0.5})
    ends = [[faults.fate(0).end == "error" for _ in range(300)] for faults in (alone, both)]
    assert ends[0] == ends[1]


def test_a_removal_delay_stays_in_its_range() -> None:
    faults = Faults(1, {"removal_delay_s": [1, 3]})
    delays = [faults.within("removal_delay_s") for _ in range(500)]
    assert 1 <= min(delays) < 1.2
    assert 2.8 < max(delays) <= 3


# tokens


def test_401_with_a_rotated_secret(trial: Trial) -> None:
    assert trial.http.post("/_sandbox/secret", json={"client_secret": "new"}).status_code == 204
    assert trial.add("a").status_code == 401
    assert trial.token().status_code == 401
    trial.sign_in("new")
    assert trial.add("a").status_code == 201


def test_rotation_may_spare_the_tokens_that_are_out(trial: Trial) -> None:
    trial.http.post("/_sandbox/secret", json={"client_secret": "new", "revoke": False})
    assert trial.add("a").status_code == 201
    trial.http.post("/_sandbox/secret", json={})
    assert trial.add("a").status_code == 401
    assert trial.token("new").status_code == 200


def test_tokens_expire(trial: Trial) -> None:
    trial.faults(token_expires_s=1)
    trial.sign_in()
    assert trial.add("a").status_code == 201
    wait_until(lambda: trial.add("a").status_code == 401)


def test_401_although_the_token_is_good(trial: Trial) -> None:
    trial.faults(auth_error_share=1)
    assert trial.add("a").status_code == 401
    assert trial.members() == set()


# bodies of answers


@pytest.mark.parametrize(
    ("form", "start"),
    [
        (
            "observed",
            '{"code":"BadRequest","message":"Schema validation failed","error":{"code":"SCHEMA_VALIDATION_FAILED"',
        ),
        ("documented", '{"errors":[{"field":"$.members[0].id"'),
        ("plain", '{"code":"BadRequest"'),
        ("text", "<html>"),
    ],
)
def test_forms_of_a_400(trial: Trial, form: str, start: str) -> None:
    trial.faults(error_form=form)
    assert trial.call("POST", "/segments/vip/members", {"members": [{"id": 1, "type": "x"}]}).text.startswith(start)


def test_an_empty_400(trial: Trial) -> None:
    trial.faults(error_form="empty")
    answer = trial.call("POST", "/segments/vip/members", {})
    assert (answer.status_code, answer.content) == (400, b"")


@pytest.mark.parametrize(
    ("form", "text"), [("errors", '{"errors":[]}'), ("absent", "{}"), ("empty", ""), ("text", "OK")]
)
def test_forms_of_a_success(trial: Trial, form: str, text: str) -> None:
    trial.faults(success_body=form)
    assert trial.add("a").text == text


@pytest.mark.parametrize(("form", "start"), [("plain", '{"code":"Unauthorized"'), ("empty", ""), ("text", "Unauth")])
def test_forms_of_a_401(trial: Trial, form: str, start: str) -> None:
    trial.faults(unauthorized_form=form, auth_error_share=1)
    for answer in (trial.add("a"), trial.token("wrong")):
        assert answer.status_code == 401
        assert answer.text.startswith(start)
        assert bool(answer.content) == bool(start)


def test_lists_without_a_total(trial: Trial) -> None:
    trial.faults(total_count=False)
    assert "totalItemCount" not in trial.call("GET", "/segments/vip/members").json()["meta"]


def test_no_window(trial: Trial) -> None:
    trial.faults(index_window_max=0)
    assert trial.call("GET", "/customers", limit=1000, offset=100_000).status_code == 200


# the switches themselves


def test_faults_change_while_it_runs_all_or_none(trial: Trial) -> None:
    answer = trial.http.post("/_sandbox/faults", json={"error_share": 1, "removal_delay_s": 2})
    assert answer.json()["removal_delay_s"] == [2, 2]
    assert trial.add("a").status_code == 503
    assert trial.http.post("/_sandbox/faults", json={"error_share": 0, "nonsense": 1}).status_code == 400
    assert trial.http.get("/_sandbox/faults").json()["error_share"] == 1
    trial.http.delete("/_sandbox/faults")
    assert trial.http.get("/_sandbox/faults").json() == {name: fault.default for name, fault in FAULTS.items()}
    assert trial.add("a").status_code == 201


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("error_share", 1.5),
        ("error_share", "x"),
        ("error_share", True),
        ("latency_s", -1),
        ("latency_s", float("nan")),
        ("removal_delay_s", [3, 1]),
        ("removal_delay_s", [1]),
        ("retry_after", "never"),
        ("poison_ids", "a"),
        ("filters_ignored", 1),
    ],
)
def test_values_that_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        Faults(1, {name: value})


def test_a_row_refused_in_a_202_may_be_sent_again_while_the_rest_is_accepted(trial: Trial) -> None:
    trial.faults(removal_delay_s=1)
    trial.add(*IDS)
    trial.faults(row_error_share=0.5)
    failed = {error["entityId"] for error in trial.remove(*IDS).json()["errors"]}
    trial.faults(row_error_share=0)
    again, *left = sorted(failed)
    assert trial.remove(again).status_code == 202
    assert trial.sandbox.stats()["overlaps_by"] == {}
    assert trial.in_flight("accepted") == len(IDS) - len(failed) + 1
    assert trial.remove(again).status_code == 202
    assert trial.sandbox.stats()["overlaps_by"] == {"remove_during_accepted_remove": 1}
    # the members are right before the last removal, which changes nothing, has run
    wait_until(lambda: trial.in_flight("accepted") == 0)
    assert trial.members() == set(left)
    assert trial.sandbox.stats()["in_flight_rows"] == {"open": 0, "accepted": 0, "late": 0}
