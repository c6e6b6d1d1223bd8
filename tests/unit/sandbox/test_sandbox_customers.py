import json
from typing import Any

import pytest
from sandbox_trial import Trial, wait_until

PEOPLE = [
    {
        "id": "1",
        "emailAddress": "a@x.com",
        "externalCustomerNumber": "10",
        "attributes": {"size": 3, "tags": ["x", "y"]},
    },
    {"id": "2", "emailAddress": "a@x.com", "isAnonymous": True},
    {"id": "3", "emailAddress": "B@x.com", "status": "inactive", "attributes": {"size": 7}},
    {"id": "4", "emailAddress": "c@x.com", "status": "deleted", "internalCustomerNumber": 44},
]


def seed(trial: Trial, people: list[dict[str, Any]]) -> None:
    assert trial.http.post("/_sandbox/customers", json={"customers": people}).status_code == 200


def find(trial: Trial, filters: object, **query: Any) -> str:
    answer = trial.call("GET", "/customers", filters=json.dumps(filters), **query)
    assert answer.status_code == 200, answer.text
    return "".join(sorted(customer["id"] for customer in answer.json()["customers"]))


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({}, "1234"),
        ({"emailAddress": "a@x.com"}, "12"),
        ({"emailAddress": "a@x.com", "isAnonymous": False}, "1"),
        ({"emailAddress": "b@x.com"}, ""),
        ({"emailAddress": {"$in": ["a@x.com", "c@x.com"]}}, "124"),
        ({"emailAddress": {"$in": ["a@x.com", "c@x.com"]}, "status": "active"}, "12"),
        ({"$or": [{"id": "3"}, {"externalCustomerNumber": "10"}]}, "13"),
        ({"$and": [{"id": {"$in": ["1", "2"]}}, {"isAnonymous": {"$ne": False}}]}, "2"),
        ({"internalCustomerNumber": {"$gte": 44}}, "4"),
        ({"internalCustomerNumber": 44}, "4"),
        ({"internalCustomerNumber": "44"}, ""),
        ({"isAnonymous": 1}, ""),
        ({"status": {"$nin": ["deleted", "inactive"]}}, "12"),
        ({"emailAddress": {"$ct": "@x"}}, "1234"),
        ({"emailAddress": {"$nct": "a@"}}, "34"),
        ({"attributes.size": {"$gt": 1, "$lt": 5}}, "1"),
        ({"attributes.tags": "y"}, "1"),
        ({"attributes.size": {"$exists": True}}, "13"),
        ({"attributes.size": {"$nExists": True}}, "24"),
        ({"attributes.size": {"$lte": 3}}, "1"),
    ],
)
def test_filters(trial: Trial, filters: object, ids: str) -> None:
    seed(trial, PEOPLE)
    assert find(trial, filters) == ids


@pytest.mark.parametrize(
    "filters",
    [
        [],
        "x",
        {"name": "x"},
        {"$not": []},
        {"id": {"$like": "x"}},
        {"id": {"$in": "x"}},
        {"$or": {}},
        {"id": {"$in": [[]]}},
    ],
)
def test_bad_filters(trial: Trial, filters: object) -> None:
    assert trial.call("GET", "/customers", filters=json.dumps(filters)).status_code == 400


def test_what_a_customer_looks_like(trial: Trial) -> None:
    seed(trial, PEOPLE[:1])
    got = trial.call("GET", "/customers").json()
    assert got["meta"] == {"limit": 100, "offset": 0, "totalItemCount": 1}
    assert got["customers"][0] | {"attributes": None} == {
        "id": "1",
        "emailAddress": "a@x.com",
        "externalCustomerNumber": "10",
        "internalCustomerNumber": 1,
        "status": "active",
        "isAnonymous": False,
        "attributes": None,
    }


def test_pages_fields_and_order(trial: Trial) -> None:
    seed(trial, PEOPLE)
    got = trial.call("GET", "/customers", limit=2, offset=1, sort="-id", fields="id").json()
    assert got["customers"] == [{"id": "3"}, {"id": "2"}]
    assert got["meta"] == {"limit": 2, "offset": 1, "totalItemCount": 4}


@pytest.mark.parametrize("query", [{"limit": 1001}, {"limit": 0}, {"offset": -1}, {"limit": 1000, "offset": 9001}])
def test_limits_of_a_list(trial: Trial, query: dict[str, int]) -> None:
    assert trial.call("GET", "/customers", **query).status_code == 400


def test_the_parameter_filter_is_not_known_unless_switched_on(trial: Trial) -> None:
    seed(trial, PEOPLE)
    assert len(trial.call("GET", "/customers", filter='{"id":"1"}').json()["customers"]) == 4
    trial.faults(filter_accepted=True)
    assert len(trial.call("GET", "/customers", filter='{"id":"1"}').json()["customers"]) == 1


def test_filters_that_are_ignored(trial: Trial) -> None:
    seed(trial, PEOPLE)
    trial.faults(filters_ignored=True)
    assert find(trial, {"id": "1"}) == "1234"


def test_only_the_parameter_filter(trial: Trial) -> None:
    seed(trial, PEOPLE)
    trial.faults(filters_ignored=True, filter_accepted=True)
    assert find(trial, {"id": "1"}) == "1234"
    assert len(trial.call("GET", "/customers", filter='{"id":"1"}').json()["customers"]) == 1


def test_guests_although_they_were_filtered(trial: Trial) -> None:
    seed(trial, [{"id": "1"}, {"id": "2", "isAnonymous": True}])
    assert find(trial, {"isAnonymous": False}) == "1"
    trial.faults(guests_filtered=False)
    assert find(trial, {"isAnonymous": False}) == "12"


def test_a_lower_limit_of_a_page(trial: Trial) -> None:
    seed(trial, PEOPLE)
    trial.faults(page_limit_max=2)
    assert len(trial.call("GET", "/customers").json()["customers"]) == 2
    assert trial.call("GET", "/customers", limit=3).status_code == 400


def test_email_without_regard_to_case(trial: Trial) -> None:
    seed(trial, PEOPLE)
    trial.faults(email_case="insensitive")
    assert find(trial, {"emailAddress": "b@x.COM"}) == "3"
    assert find(trial, {"emailAddress": {"$in": ["b@x.COM"]}}) == "3"


def test_limits_of_lists_and_addresses(trial: Trial) -> None:
    trial.faults(filter_list_max=2, url_bytes_max=300)
    assert trial.call("GET", "/customers", filters='{"id":{"$in":["1","2","3"]}}').status_code == 400
    assert trial.call("GET", "/customers", filters=json.dumps({"id": "x" * 300})).status_code == 414


def test_the_index_lags(trial: Trial) -> None:
    seed(trial, PEOPLE[:1])
    trial.faults(index_lag_s=1)
    seed(trial, [{"id": "1", "emailAddress": "new@x.com"}, {"id": "9", "emailAddress": "n@x.com"}])
    assert find(trial, {"emailAddress": "a@x.com"}) == "1"
    assert find(trial, {"emailAddress": {"$in": ["new@x.com", "n@x.com"]}}) == ""
    wait_until(lambda: find(trial, {"emailAddress": "a@x.com"}) == "")
    assert find(trial, {"emailAddress": {"$in": ["new@x.com", "n@x.com"]}}) == "19"


@pytest.mark.parametrize(("form", "left"), [("status", "1"), ("gone", "")])
def test_a_deleted_customer(trial: Trial, form: str, left: str) -> None:
    seed(trial, PEOPLE[:1])
    trial.faults(deleted_customer=form)
    assert trial.http.delete("/_sandbox/customers/1").status_code == 204
    assert find(trial, {"emailAddress": "a@x.com"}) == left
    assert find(trial, {"emailAddress": "a@x.com", "status": "active"}) == ""


def test_members_with_their_customer(trial: Trial) -> None:
    seed(trial, PEOPLE[:1])
    trial.faults(members_customer=True)
    trial.add("1", "none")
    rows = trial.call("GET", "/segments/vip/members").json()["members"]
    assert rows[0]["customer"]["emailAddress"] == "a@x.com"
    assert "customer" not in rows[1]
