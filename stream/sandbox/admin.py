"""The sandbox's own routes under /_sandbox: what it saw, what may go wrong, what it holds. No token needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from stream.sandbox import page, store
from stream.sandbox.bodies import plain
from stream.sandbox.faults import FAULTS
from stream.sandbox.messages import Reply, Request, reply_json
from stream.sandbox.state import Segment

if TYPE_CHECKING:
    from stream.sandbox.app import App


def reply(app: App, request: Request) -> Reply:
    """The answer to / and everything under /_sandbox."""
    rest = request.path[1:]
    try:
        match request.method, rest:
            case "GET", []:
                return page.reply(app)
            case "GET", ["stats"]:
                return reply_json(200, stats(app))
            case "GET", ["history"]:
                return _history(app, request)
            case "GET", ["members", code]:
                return _members(app, request, code)
            case "GET", ["faults"]:
                return reply_json(200, app.faults.values)
            case "POST", ["faults"]:
                app.faults.change(_object(request))
                return reply_json(200, app.faults.values)
            case "DELETE", ["faults"]:
                app.faults.change({name: fault.default for name, fault in FAULTS.items()})
                return reply_json(200, app.faults.values)
            case "POST", ["secret"]:
                return _rotate(app, _object(request))
            case "POST", ["customers"]:
                return _put_customers(app, request)
            case "DELETE", ["customers", member]:
                return _drop_customer(app, member)
            case "PUT", ["segments", code]:
                app.shop.segments.setdefault(code, Segment(code, code))
                return Reply(204)
            case "GET", ["state"]:
                body = b"".join(store.lines(app.shop))
                return Reply(200, body, ((b"content-type", b"application/x-ndjson"),))
            case _:
                return plain(404, "NotFound", "The sandbox has no such route")
    except (ValueError, msgspec.DecodeError) as error:
        return plain(400, "BadRequest", str(error))


def stats(app: App) -> dict[str, Any]:
    """Counts since the start, and what is in flight now."""
    shop = app.shop
    return {
        "up_s": round(app.now_s(), 3),
        "segments": len(shop.segments),
        "members": sum(len(segment.customers.ids) for segment in shop.segments.values()),
        "customers": len(shop.customers),
        "tokens_issued": app.tokens.issued,
        **app.witness.stats(),
    }


def _history(app: App, request: Request) -> Reply:
    query = request.query
    if "segment" not in query or "member" not in query:
        raise ValueError("needs ?segment= and &member=")
    events = app.witness.history(query["segment"], query["member"], query.get("type", "customer"))
    return reply_json(200, {"now_s": round(app.now_s(), 4), "events": events})


def _members(app: App, request: Request, code: str) -> Reply:
    segment = app.shop.segments.get(code)
    if segment is None:
        return plain(404, "NotFound", f"Segment {code} not found")
    kind = request.query.get("type", "customer")
    if kind not in segment.kinds:
        raise ValueError("type is customer or device")
    return reply_json(200, segment.kinds[kind].order())


def _rotate(app: App, body: dict[str, Any]) -> Reply:
    secret = body.get("client_secret")
    if secret is None:
        app.tokens.revoke()
    elif isinstance(secret, str) and secret:
        app.tokens.rotate(secret, revoke=body.get("revoke", True) is not False)
    else:
        raise ValueError("client_secret is not a string")
    return Reply(204)


def _put_customers(app: App, request: Request) -> Reply:
    body = _object(request).get("customers")
    if not isinstance(body, list) or not all(isinstance(customer, dict) for customer in body):
        raise ValueError('needs {"customers": [{"id": …}, …]}')
    now_s = app.now_s()
    for customer in body:
        app.shop.put_customer(customer, now_s + app.faults.number("index_lag_s"), now_s)
    return reply_json(200, {"customers": len(app.shop.customers)})


def _drop_customer(app: App, member: str) -> Reply:
    now_s = app.now_s()
    found_at_s = now_s + app.faults.number("index_lag_s")
    if member not in app.shop.customers:
        return plain(404, "NotFound", f"Customer {member} not found")
    if app.faults.word("deleted_customer") == "status":
        app.shop.put_customer({"id": member, "status": "deleted"}, found_at_s, now_s)
    else:
        app.shop.drop_customer(member, found_at_s, now_s)
    return Reply(204)


def _object(request: Request) -> dict[str, Any]:
    value = msgspec.json.decode(request.body or b"{}")
    if not isinstance(value, dict):
        raise ValueError("the body is not an object")  # noqa: TRY004 - answered as a 400, like the others
    return value
