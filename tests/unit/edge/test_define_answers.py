"""Definitions against answers that a test scripts: which requests they make, and what they come to."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from api_trial import Answer, Raw, Request, World, answer, granted, hang, routes

from stream.core.model import Definition, DefinitionOutcome
from stream.edge import define as module
from stream.edge.wire import segment_path

SEGMENTS = "/v1/merchants/10006/segments"
VIP = f"{SEGMENTS}/vip"
NEW = {"code": "vip", "name": "Best", "type": "fixed", "status": "active"}
ITEM = {"entity": "segment", "entityIndex": 0, "reason": "no"}


def wanted(op: Any = "define", name: str = "Best", description: str | None = None, code: str = "vip") -> Definition:
    return Definition(3, op, code, name, description)


def segment(**more: object) -> bytes:
    return answer(200, {"segment": {**NEW, "description": "old", "memberCount": 3, **more}})


def did(world: World) -> list[tuple[str, str]]:
    return [(r.method, r.target.removeprefix(SEGMENTS) or "/") for r in world.server.of("/v1")]


def bodies(world: World) -> list[Any]:
    return [json.loads(r.body) for r in world.server.of("/v1") if r.body]


@pytest.mark.parametrize("description", [None, "for the best"])
@pytest.mark.parametrize("op", ["exist", "define"])
def test_a_missing_one_is_created_as_fixed(world: World, op: str, description: str | None) -> None:
    outcome = world.client(routes([answer(404), answer(201)])).define(wanted(op, description=description))
    assert (outcome.kind, outcome.reason, outcome.status) == ("done", "created", 201)
    assert did(world) == [("GET", "/vip"), ("POST", "/")]
    more = {} if description is None else {"description": description}
    assert bodies(world) == [{"segments": [NEW | more]}]
    assert world.observed == [("token", "200"), ("get_segment", "404"), ("create_segment", "201")]


@pytest.mark.parametrize(
    ("asked", "found", "change"),
    [
        (wanted(), {"name": "Good"}, {"name": "Best"}),
        (wanted(description="new"), {}, {"description": "new"}),
        (wanted(description="new"), {"name": "Good"}, {"name": "Best", "description": "new"}),
        (wanted(description=""), {}, {"description": ""}),
        (wanted(description="old"), {}, None),
        (wanted(description=""), {"description": None}, None),
        (wanted(), {"status": "inactive"}, None),
        (wanted("exist"), {"name": "Good"}, None),
        (wanted("deactivate"), {}, {"status": "inactive"}),
        (wanted("deactivate"), {"status": "inactive"}, None),
    ],
)
def test_only_what_differs_is_written(
    world: World, asked: Definition, found: dict[str, object], change: dict[str, str] | None
) -> None:
    outcome = world.client(routes([segment(**found), answer(204)])).define(asked)
    assert outcome.kind == "done"
    assert outcome.reason == ("unchanged" if change is None else "deactivated" if "status" in change else "updated")
    assert did(world) == [("GET", "/vip")] + ([] if change is None else [("POST", "/vip")])
    assert bodies(world) == ([] if change is None else [change])


def test_a_deletion(world: World) -> None:
    outcome = world.client(routes([segment(), answer(202)])).define(wanted("delete"))
    assert (outcome.kind, outcome.reason, outcome.status) == ("done", "deleted", 202)
    assert did(world) == [("GET", "/vip"), ("DELETE", "/vip")]
    assert world.server.requests[-1].body == b""


@pytest.mark.parametrize("op", ["deactivate", "delete"])
def test_what_is_not_there_need_not_go(world: World, op: str) -> None:
    outcome = world.client(routes(answer(404))).define(wanted(op))
    assert (outcome.kind, outcome.reason) == ("done", "absent")
    assert did(world) == [("GET", "/vip")]
    outcome = world.client(routes([segment(), answer(404)])).define(wanted(op))
    assert (outcome.kind, outcome.reason) == ("done", "absent")


@pytest.mark.parametrize("op", ["exist", "define", "deactivate", "delete"])
def test_a_dynamic_one_is_never_touched(world: World, op: str) -> None:
    outcome = world.client(routes(segment(type="dynamic", name="Other"))).define(wanted(op))
    assert (outcome.kind, outcome.reason) == ("dynamic", "dynamic")
    assert did(world) == [("GET", "/vip")]


@pytest.mark.parametrize("op", ["exist", "define", "deactivate", "delete"])
@pytest.mark.parametrize(
    "odd",
    [
        segment(type=None),
        segment(type="special"),
        segment(code="other"),
        answer(200, {"segment": []}),
        answer(200, [NEW]),
        answer(200, body=b'{"segment":{'),
        answer(200),
    ],
)
def test_what_cannot_be_told_apart_from_a_dynamic_one_is_not_touched(world: World, op: str, odd: bytes) -> None:
    outcome = world.client(routes(odd)).define(wanted(op))
    assert (outcome.kind, outcome.reason, outcome.status) == ("failed", "unreadable", 200)
    assert did(world) == [("GET", "/vip")]


CONFLICTS = [
    answer(409, {"code": "Conflict"}),
    answer(201, {"errors": [{**ITEM, "code": 409}]}),
    answer(200, {"errors": [{**ITEM, "code": "409"}]}),
]


@pytest.mark.parametrize("conflict", CONFLICTS)
def test_somebody_else_created_it_first(world: World, conflict: bytes) -> None:
    def ends(*after: Answer, op: str = "define") -> tuple[str, str]:
        outcome = world.client(routes([answer(404), conflict, *after])).define(wanted(op))
        return outcome.kind, outcome.reason

    assert ends(segment()) == ("done", "unchanged")
    assert ends(segment(name="Good"), op="exist") == ("done", "unchanged")
    assert ends(segment(name="Good"), answer(204)) == ("done", "updated")
    assert did(world) == [("GET", "/vip"), ("POST", "/"), ("GET", "/vip"), ("POST", "/vip")]
    assert ends(segment(type="dynamic")) == ("dynamic", "dynamic")
    assert ends(answer(404)) == ("failed", "exists")
    assert ends(answer(503)) == ("failed", "server_error")


@pytest.mark.parametrize(
    ("bad", "kind", "reason", "message"),
    [
        (answer(400, {"code": "BadRequest", "message": "no name"}), "refused", "BadRequest", "no name"),
        (answer(422), "refused", "422", ""),
        (answer(201, {"errors": [{**ITEM, "code": "400"}]}), "refused", "item_400", "no"),
        (answer(201, {"errors": [{**ITEM, "code": 500}]}), "failed", "item_500", "no"),
        (answer(201, {"errors": ["odd"]}), "failed", "item_none", "odd"),
        (answer(201, body=b'{"errors":['), "failed", "unreadable", "the answer broke off or could not be read"),
        (answer(403, {"message": "No access"}), "failed", "auth", "No access"),
        (answer(404), "failed", "not_found", ""),
        (answer(429, None, "retry-after: 9"), "failed", "throttled", ""),
        (answer(500), "failed", "server_error", ""),
        (answer(301), "failed", "unexpected", ""),
        (Raw(b""), "failed", "dropped", ""),
    ],
)
def test_how_a_creation_fails(world: World, bad: Answer, kind: str, reason: str, message: str) -> None:
    outcome = world.client(routes([answer(404), bad])).define(wanted())
    assert (outcome.kind, outcome.reason, outcome.message) == (kind, reason, message)
    assert outcome.retry_after_s == (9.0 if reason == "throttled" else None)
    assert len(did(world)) == 2


@pytest.mark.parametrize(
    ("bad", "kind", "reason"),
    [
        (answer(400), "refused", "400"),
        (answer(404), "failed", "absent"),
        (answer(409), "failed", "refused"),
        (answer(200, {"errors": [{**ITEM, "code": 409}]}), "failed", "item_409"),
        (answer(200, {"errors": [{**ITEM, "code": 422}]}), "refused", "item_422"),
        (answer(503), "failed", "server_error"),
    ],
)
def test_how_a_change_fails(world: World, bad: Answer, kind: str, reason: str) -> None:
    outcome = world.client(routes([segment(name="Good"), bad])).define(wanted())
    assert (outcome.kind, outcome.reason) == (kind, reason)


def test_repeated_after_a_write_that_landed_nobody_writes_again(world: World) -> None:
    """The answer to the creation is lost; the next look shows it."""
    made: list[bytes] = []

    def script(request: Request) -> Answer:
        if request.target == "/oauth/token":
            return granted("t")
        if request.method == "POST":
            made.append(request.body)
            return Raw(b"")
        return segment() if made else answer(404)

    client = world.client(script)
    first, second = client.define(wanted()), client.define(wanted())
    assert (first.kind, first.reason) == ("failed", "dropped")
    assert (second.kind, second.reason, len(made)) == ("done", "unchanged", 1)


CODES = ["a#b", "..", ".", "a/b", "%2e%2e", "", "a?b", "a b", "a\n", "ä", "*/x", "x" * 129]


@pytest.mark.parametrize("code", CODES)
def test_a_code_that_could_change_the_path_is_refused_before_anything_is_asked(world: World, code: str) -> None:
    with pytest.raises(ValueError, match="refused"):
        segment_path(code)
    outcome = world.client(routes(segment())).define(wanted("delete", code=code))
    assert (outcome.kind, outcome.reason) == ("refused", "segment_code")
    assert world.server.requests == []


@pytest.mark.parametrize(
    ("first", "op"), [(answer(404), "exist"), (segment(name="Good"), "define"), (segment(), "delete")]
)
def test_writes_ask_the_lease_and_looks_do_not(world: World, first: bytes, op: str) -> None:
    outcome = world.client(routes(first), lease=lambda: False).define(wanted(op))
    assert (outcome.kind, outcome.reason) == ("unsent", "lease")
    assert did(world) == [("GET", "/vip")]


def test_the_lease_is_asked_right_before_the_first_byte_of_the_write(world: World) -> None:
    asked = iter([True, False])
    outcome = world.client(routes([answer(404), answer(201)]), lease=lambda: next(asked)).define(wanted())
    assert (outcome.kind, outcome.reason) == ("unsent", "lease")
    assert did(world) == [("GET", "/vip")]


@pytest.mark.parametrize(
    ("token", "kind", "reason"),
    [(answer(401, {"error": "invalid_client"}), "failed", "credentials"), (answer(503), "unsent", "token")],
)
def test_without_a_token(world: World, token: Answer, kind: str, reason: str) -> None:
    outcome = world.client(routes(segment(), token=token)).define(wanted())
    assert (outcome.kind, outcome.reason) == (kind, reason)


def test_the_deadline_holds_for_all_steps_together(world: World) -> None:
    def slow(request: Request) -> Answer:
        time.sleep(0.3)
        return granted("t") if request.target == "/oauth/token" else answer(404)

    for script in (routes([answer(404), hang]), slow):
        begun_s = time.monotonic()
        outcome = world.client(script, api_timeout_s=0.5).define(wanted())
        assert (outcome.kind, outcome.reason) == ("failed", "timeout")
        assert time.monotonic() - begun_s < 1.0


def test_a_closed_client_and_a_defect(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = world.client(routes(segment()))

    def broken(*_: object, **__: object) -> Callable[[], DefinitionOutcome]:
        raise RuntimeError("secret")

    with monkeypatch.context() as patch:
        patch.setattr(module, "read_json", broken)
        outcome = client.define(wanted())
        assert (outcome.kind, outcome.reason, outcome.message) == ("failed", "defect", "RuntimeError")
    client.close()
    outcome = client.define(wanted())
    assert (outcome.kind, outcome.reason) == ("unsent", "closed")
