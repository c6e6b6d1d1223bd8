"""What the sandbox tells of what was done to it, and its own routes."""

import json
import threading
from typing import Any

import pytest
from sandbox_trial import Trial, wait_until

from stream.sandbox.witness import ACCEPTED, Operation, Witness


def test_counts_of_rows(trial: Trial) -> None:
    trial.add("a", "b")
    trial.add("b", "c")
    trial.remove("a", "z")
    stats = trial.http.get("/_sandbox/stats").json()
    wanted = {"rows_add": 4, "rows_remove": 2, "rows_applied": 6, "rows_changed": 4, "rows_unchanged": 2, "overlaps": 0}
    assert {name: stats[name] for name in wanted} == wanted
    assert stats["requests"] == 4  # the token's, too
    assert stats["statuses"] == {"200": 1, "201": 2, "202": 1}
    assert (stats["members"], stats["segments"]) == (2, 1)


def test_looking_is_not_counted(trial: Trial) -> None:
    before = trial.http.get("/_sandbox/stats").json()["requests"]
    trial.http.get("/")
    assert trial.http.get("/_sandbox/stats").json()["requests"] == before


def test_an_add_overlapping_a_remove_is_seen(trial: Trial) -> None:
    trial.faults(latency_s=1)
    first = threading.Thread(target=trial.add, args=("a", "b"))
    first.start()
    wait_until(lambda: trial.in_flight("open") == 2)
    trial.faults(latency_s=0)
    trial.remove("b", "c")
    first.join()
    stats = trial.sandbox.stats()
    assert stats["overlaps_by"] == {"remove_during_open_add": 1}
    example = stats["overlap_examples"][0]
    assert (example["segment"], example["op"], example["during"], example["members"]) == (
        "vip",
        "remove",
        "open add",
        ["b"],
    )


def test_disjoint_operations_are_no_overlap(trial: Trial) -> None:
    trial.faults(latency_s=0.5)
    first = threading.Thread(target=trial.add, args=("a",))
    first.start()
    wait_until(lambda: trial.in_flight("open") == 1)
    trial.faults(latency_s=0)
    trial.remove("b")
    first.join()
    assert trial.sandbox.stats()["overlaps"] == 0


def test_a_refused_request_is_not_in_flight(trial: Trial) -> None:
    trial.faults(error_share=1, latency_s=0.5)
    before = trial.sandbox.stats()["requests"]
    first = threading.Thread(target=trial.add, args=("a",))
    first.start()
    wait_until(lambda: trial.sandbox.stats()["requests"] > before)
    trial.faults(error_share=0, latency_s=0)
    assert trial.remove("a").status_code == 202
    first.join()
    assert trial.sandbox.stats()["overlaps"] == 0


def test_the_segment_is_deleted_before_the_request_is_done(trial: Trial) -> None:
    trial.faults(latency_s=0.5)
    answers: list[int] = []
    first = threading.Thread(target=lambda: answers.append(trial.add("a").status_code))
    first.start()
    wait_until(lambda: trial.in_flight("open") == 1)
    trial.sandbox.call(lambda app: app.shop.segments.clear())
    first.join()
    assert answers == [404]
    assert trial.sandbox.stats()["in_flight_rows"]["open"] == 0


def operation(number: int, op: str, *ids: str) -> Operation:
    return Operation(number, "s", "customer", op, set(ids))


def test_overlaps_of_many_on_one_membership() -> None:
    witness = Witness(1000)
    first, second = operation(1, "add", "a", "b"), operation(2, "add", "a")
    witness.open(first, 0)
    witness.open(second, 0)
    witness.close(first)
    witness.open(third := operation(3, "remove", "a", "b"), 0)
    assert witness.overlaps == {"add_during_open_add": 1, "remove_during_open_add": 1}
    witness.close(second)
    witness.move(third, ACCEPTED)
    witness.open(operation(4, "add", "b"), 0)
    assert witness.overlaps["add_during_accepted_remove"] == 1
    witness.close(third)
    witness.open(operation(5, "remove", "a"), 0)
    assert witness.overlaps.total() == 3


def test_the_grace_after_a_429_is_given_once() -> None:
    witness = Witness(1000)
    witness.throttled(10.0, 1.0)
    for at_s in (9.9, 10.05, 11.0):
        witness.arrive(at_s)
    assert witness.counts["requests_within_retry_after"] == 0
    for number in range(1, 6):
        witness.arrive(10.05 + number * 0.06)
        witness.throttled(10.05 + number * 0.06, 1.0)
    assert witness.counts["requests_within_retry_after"] == 5


def test_the_history_forgets_its_oldest() -> None:
    witness = Witness(history_rows_max=10)
    for number in range(50):
        witness.note(operation(number, "add", "a", "b"), "received", number)
    assert [event["number"] for event in witness.history("s", "a")] == [45, 46, 47, 48, 49]
    assert witness.history("s", "z") == []
    assert witness.rows_held == 10


def test_history(trial: Trial) -> None:
    trial.add("a", "b")
    trial.faults(removal_delay_s=0.05)
    trial.remove("a")
    wait_until(lambda: trial.members() == {"b"})
    got = trial.http.get("/_sandbox/history", params={"segment": "vip", "member": "a"}).json()
    assert [(event["op"], event["what"], event["changed"]) for event in got["events"]] == [
        ("add", "received", None),
        ("add", "applied", True),
        ("remove", "received", None),
        ("remove", "accepted", None),
        ("remove", "applied", True),
    ]
    assert got["events"] == sorted(got["events"], key=lambda event: event["at_s"])
    assert trial.http.get("/_sandbox/history").status_code == 400


def test_plain_members(trial: Trial) -> None:
    trial.add("b", "a")
    assert trial.http.get("/_sandbox/members/vip").json() == ["a", "b"]
    assert trial.http.get("/_sandbox/members/vip?type=device").json() == []
    assert trial.http.get("/_sandbox/members/none").status_code == 404
    assert trial.http.get("/_sandbox/members/vip?type=x").status_code == 400


def test_a_segment_put_by_the_test(trial: Trial) -> None:
    assert trial.http.put("/_sandbox/segments/late").status_code == 204
    assert trial.add("a", code="late").status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("GET", "/_sandbox/none", None, 404),
        ("POST", "/_sandbox/faults", [], 400),
        ("POST", "/_sandbox/customers", {"customers": [{"name": "x"}]}, 400),
        ("POST", "/_sandbox/customers", {}, 400),
        ("POST", "/_sandbox/secret", {"client_secret": 3}, 400),
        ("DELETE", "/_sandbox/customers/none", None, 404),
    ],
)
def test_mistakes_on_its_own_routes(trial: Trial, method: str, path: str, sent: Any, status: int) -> None:
    assert trial.http.request(method, path, json=sent).status_code == status


def test_the_state_as_lines(trial: Trial) -> None:
    trial.add("a")
    lines = [json.loads(line) for line in trial.http.get("/_sandbox/state").text.splitlines()]
    assert lines[0]["segment"]["code"] == "vip"
    assert lines[1] == {"members": {"segment": "vip", "type": "customer", "ids": ["a"]}}


def test_the_page_shows_what_is_there_and_escapes_it(trial: Trial) -> None:
    trial.http.put("/_sandbox/segments/%3Cscript%3E")
    trial.add("a")
    trial.faults(removal_delay_s=2)
    answer = trial.http.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    for part in ("vip", "&lt;script&gt;", "removal_delay_s", "/segments/vip/members", ">201<"):
        assert part in answer.text, part
    assert "<script" not in answer.text
    assert "http://" not in answer.text
