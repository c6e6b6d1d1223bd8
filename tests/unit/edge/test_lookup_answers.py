"""Look-ups against answers that a test scripts: paging, odd bodies, failures, and what stands in the request."""

import json
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import pytest
from api_trial import Answer, Raw, Request, World, answer, granted, hang, routes

from stream.core.identity import QUOTE_BYTES, url_bytes
from stream.core.model import Customer, Lookup
from stream.edge import lookup as module

KNOWN = Customer("c-1", "a@x.com", "10", internal_number=2, status="active", anonymous=False)
EMAILS = Lookup(7, "email", ("a@x.com", "b@x.com"))


def customer(own: object = "c-1", **more: object) -> dict[str, Any]:
    return {
        "id": own,
        "emailAddress": "a@x.com",
        "externalCustomerNumber": "10",
        "internalCustomerNumber": 2,
        "status": "active",
        "isAnonymous": False,
        **more,
    }


def listed(*customers: object, **meta: object) -> bytes:
    return answer(200, {"meta": meta, "customers": list(customers)})


def queries(world: World) -> list[dict[str, str]]:
    return [{key: one for key, (one,) in parse_qs(urlsplit(r.target).query).items()} for r in world.server.of("/v1")]


def test_emails_are_asked_for_in_one_list_without_guests(world: World) -> None:
    outcome = world.client(routes(listed(customer(), totalItemCount=1))).lookup(EMAILS)
    assert (outcome.lookup, outcome.kind, outcome.whole, outcome.status) == (EMAILS, "answered", True, 200)
    assert outcome.customers == (KNOWN,)
    request = world.server.requests[-1]
    assert (request.method, request.target.partition("?")[0]) == ("GET", "/v1/merchants/10006/customers")
    (query,) = queries(world)
    filters = json.loads(query.pop("filters"))
    assert filters == {"emailAddress": {"$in": ["a@x.com", "b@x.com"]}, "isAnonymous": False}
    assert query == {"limit": "1000"}
    assert request.headers["authorization"] == "Bearer token-1"
    assert world.observed == [("token", "200"), ("lookup", "200")]


def test_one_value_is_plain_equality_and_guests_may_be_wanted(world: World) -> None:
    client = world.client(routes(listed()), filter_parameter="filter")
    client.lookup(Lookup(1, "number", ("10",)))
    client.lookup(Lookup(1, "email", ("a@x.com",)), guests=True)
    found = [json.loads(query["filter"]) for query in queries(world)]
    assert found == [{"externalCustomerNumber": "10", "isAnonymous": False}, {"emailAddress": "a@x.com"}]


ODD_VALUES = ['a"b@x.com', "a b+c@x.com", "ä%26&=@x.com", "a\\@x.com", "../@x.com", "#?/@x.com"]


@pytest.mark.parametrize("value", ODD_VALUES)
def test_a_value_cannot_leave_the_filter(world: World, value: str) -> None:
    world.client(routes(listed())).lookup(Lookup(1, "email", (value, "b@x.com")))
    raw = world.server.requests[-1].target
    assert "+" not in raw, "a blank as + is not read as one everywhere"
    filters = dict(pair.split("=", 1) for pair in raw.partition("?")[2].split("&"))["filters"]
    assert json.loads(unquote(filters))["emailAddress"]["$in"] == [value, "b@x.com"]


def test_the_core_counts_the_bytes_of_a_url_as_they_are_sent(world: World) -> None:
    client = world.client(routes(listed()))
    values = ("max.müller+x@exämple.com", "a b@x.com")
    client.lookup(Lookup(1, "email", values))
    client.lookup(Lookup(1, "email", ("x", *values)))
    few, more = (len(r.target) for r in world.server.of("/v1"))
    assert more - few == url_bytes("x") == QUOTE_BYTES + 1
    client.lookup(Lookup(1, "email", ("x", "y", *values, values[0] + "z")))
    assert len(world.server.requests[-1].target) - more == url_bytes("y") + url_bytes(values[0] + "z")


@pytest.mark.parametrize(
    ("pages", "ids", "whole", "offsets"),
    [
        (
            [listed(customer("1"), customer("2"), totalItemCount=3), listed(customer("3"), totalItemCount=3)],
            "123",
            1,
            2,
        ),
        ([listed(customer("1"), customer("2"), limit=2), listed(customer("3"), limit=2)], "123", 1, 2),
        ([listed(customer("1"), customer("2"), limit=2), listed(limit=2)], "12", 1, 2),
        ([listed(customer("1"))], "1", 1, 1),
        ([listed(totalItemCount=0)], "", 1, 1),
        # more are promised than come
        ([listed(customer("1"), totalItemCount=2), listed(totalItemCount=2)], "1", 0, 2),
        # the server does not know offset
        ([listed(customer("1"), totalItemCount=2)], "1", 0, 2),
        # nobody who was asked for: the filter was ignored, and everybody would come
        ([listed(customer("9", emailAddress="z@x.com"), totalItemCount=90_000)], "9", 0, 1),
        # a customer who cannot be read may be the second one of an email
        ([listed(customer("1"), {"emailAddress": "a@x.com"}, totalItemCount=2)], "1", 0, 1),
        ([listed(customer("1"), customer("*"), totalItemCount=2)], "1", 0, 1),
        ([listed(customer("1"), None, totalItemCount=2)], "1", 0, 1),
    ],
)
def test_pages(world: World, pages: list[Answer], ids: str, whole: int, offsets: int) -> None:
    outcome = world.client(routes(pages)).lookup(EMAILS)
    assert outcome.kind == "answered"
    assert "".join(c.id for c in outcome.customers) == ids
    assert outcome.whole is bool(whole)
    assert [query.get("offset", "0") for query in queries(world)] == ["0", "2" if len(ids) > 1 else "1"][:offsets]


def test_pages_end(world: World) -> None:
    count = iter(range(1_000_000))

    def endless(request: Request) -> Answer:
        if request.target == "/oauth/token":
            return granted("t")
        return listed(*[customer(f"c{next(count)}") for _ in range(3)], totalItemCount=1_000_000)

    outcome = world.client(endless).lookup(EMAILS)
    assert (len(outcome.customers), outcome.whole) == (3 * module.PAGES_MAX, False)
    assert len(world.server.of("/v1")) == module.PAGES_MAX


@pytest.mark.parametrize(
    ("own", "read"),
    [
        ({"id": 17}, {"id": "17"}),
        ({"emailAddress": None}, {"email": None}),
        ({"emailAddress": ["a@x.com"]}, {"email": None}),
        ({"emailAddress": "a" * 1_001}, {"email": None}),
        ({"externalCustomerNumber": 10}, {"number": None}),
        ({"internalCustomerNumber": "2"}, {"internal_number": None}),
        ({"internalCustomerNumber": True}, {"internal_number": None}),
        ({"isAnonymous": "false"}, {"anonymous": None}),
        ({"isAnonymous": 0}, {"anonymous": None}),
        ({"status": 3}, {"status": None}),
    ],
)
def test_customers_are_read_leniently(world: World, own: dict[str, object], read: dict[str, object]) -> None:
    outcome = world.client(routes(listed({**customer(), **own}))).lookup(EMAILS)
    assert outcome.customers == (msgspec.structs.replace(KNOWN, **read),)


@pytest.mark.parametrize(
    ("bad", "status", "reason"),
    [
        (answer(200, body=b'{"customers":['), 200, "unreadable"),
        (answer(200, body=b"<html>"), 200, "unreadable"),
        (answer(200, []), 200, "unreadable"),
        (answer(200, {"customers": {"id": 1}}), 200, "unreadable"),
        (answer(200, body=b""), 200, "unreadable"),
        (Raw(b"HTTP/1.1 200 X\r\ncontent-length: 900\r\n\r\n{"), 200, "unreadable"),
        (answer(204), 204, "unexpected"),
        (answer(302, None, "location: /"), 302, "unexpected"),
        (answer(400, {"code": "BadRequest", "message": "too many"}), 400, "refused"),
        (answer(414), 414, "refused"),
        (answer(403), 403, "auth"),
        (answer(404), 404, "not_found"),
        (answer(429, None, "retry-after: 7"), 429, "throttled"),
        (answer(408), 408, "server_error"),
        (answer(503), 503, "server_error"),
        (Raw(b""), 0, "dropped"),
    ],
)
def test_failures_say_why(world: World, bad: Answer, status: int, reason: str) -> None:
    outcome = world.client(routes(bad)).lookup(EMAILS)
    assert (outcome.kind, outcome.status, outcome.reason) == ("failed", status, reason)
    assert (outcome.customers, outcome.whole) == ((), False)
    assert outcome.retry_after_s == (7.0 if status == 429 else None)
    assert len(world.server.of("/v1")) == 1, "the core repeats, not the client"


def test_what_the_server_says_is_told_without_the_emails(world: World) -> None:
    echo = answer(400, {"message": "no such value a@x.com here"})
    assert world.client(routes(echo)).lookup(EMAILS).message == "no such value … here"


def test_a_failure_on_a_later_page_leaves_nothing_known(world: World) -> None:
    first = listed(customer("1"), totalItemCount=2)
    outcome = world.client(routes([first, answer(503)])).lookup(EMAILS)
    assert (outcome.kind, outcome.customers) == ("failed", ())


def test_nobody_there_and_no_time_left(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    outcome = world.client(routes(listed()), customer_url=url).lookup(EMAILS)
    assert (outcome.kind, outcome.reason, outcome.status) == ("failed", "connect", 0)

    def slow_pages(request: Request) -> Answer:
        if request.target == "/oauth/token":
            return granted("t")
        time.sleep(0.2)
        return listed(customer(str(len(world.server.requests))), totalItemCount=1_000)

    for script in (routes(hang), slow_pages):
        begun_s = time.monotonic()
        outcome = world.client(script, api_timeout_s=0.5).lookup(EMAILS)
        assert (outcome.kind, outcome.reason) == ("failed", "timeout")
        assert 0.4 < time.monotonic() - begun_s < 1.0
        assert 0.4 < outcome.duration_s < 1.0


@pytest.mark.parametrize(
    ("token", "kind", "reason"),
    [
        (answer(401, {"error": "invalid_client"}), "failed", "credentials"),
        (answer(503, None, "retry-after: 3"), "unsent", "token"),
    ],
)
def test_without_a_token_nothing_is_asked(world: World, token: Answer, kind: str, reason: str) -> None:
    outcome = world.client(routes(listed(), token=token)).lookup(EMAILS)
    assert (outcome.kind, outcome.reason) == (kind, reason)
    assert outcome.retry_after_s == (3.0 if kind == "unsent" else None)
    assert world.server.of("/v1") == []


def test_a_401_is_answered_with_a_new_token_once(world: World) -> None:
    client = world.client(routes([answer(401), listed(customer())]))
    assert client.lookup(EMAILS).kind == "answered"
    assert len(world.server.of("/oauth")) == 2
    outcome = world.client(routes(answer(401))).lookup(EMAILS)
    assert (outcome.kind, outcome.reason, outcome.status) == ("failed", "auth", 401)
    assert len(world.server.of("/v1")) == 2


def test_a_closed_client_asks_nothing(world: World) -> None:
    client = world.client(routes(listed()))
    client.close()
    outcome = client.lookup(EMAILS)
    assert (outcome.kind, outcome.reason) == ("unsent", "closed")


def test_a_look_up_does_not_need_the_lease(world: World) -> None:
    assert world.client(routes(listed()), lease=lambda: False).lookup(EMAILS).kind == "answered"


def test_a_defect_is_an_outcome(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Callable[[], None]:
        raise RuntimeError("a@x.com")

    monkeypatch.setattr(module, "_path", broken)
    outcome = world.client(routes(listed())).lookup(EMAILS)
    assert (outcome.kind, outcome.reason, outcome.message) == ("failed", "defect", "RuntimeError")
