"""The routes of segments themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from stream.sandbox import bodies, lists
from stream.sandbox.bodies import done, plain
from stream.sandbox.messages import Refused, Reply, Request, reply_json
from stream.sandbox.state import Segment

if TYPE_CHECKING:
    from stream.sandbox.app import App


def reply(app: App, request: Request, rest: list[str]) -> Reply:
    """`rest`: the path behind `segments`. Raises Refused."""
    match request.method, rest:
        case "GET", []:
            return lists.segments(app, request)
        case "POST", []:
            return _create(app, request)
        case "GET", [code]:
            return reply_json(200, {"segment": app.segment(code).view()})
        case "POST", [code]:
            return _update(app, request, app.segment(code))
        case "DELETE", [code]:
            return _delete(app, app.segment(code))
        case "GET", [code, "members"]:
            return lists.members(app, request, app.segment(code))
        case _, [] | [_] | [_, "members"]:
            return plain(405, "MethodNotAllowed", f"{request.method} is not allowed")
        case _:
            return plain(404, "NotFound", "No such route")


def _create(app: App, request: Request) -> Reply:
    wanted = bodies.new_segments(request.body, app.faults)
    taken = [segment.code in app.shop.segments for segment in wanted]
    if any(taken) and app.faults.word("duplicate_segment") == "409":
        return plain(409, "Conflict", "A segment with this code exists")
    errors: list[dict[str, Any]] = []
    for index, new in enumerate(wanted):
        code, text = "", ""
        if new.code in app.shop.segments:
            code, text = "409", "A segment with this code exists"
        elif (new.type == "dynamic" and new.members) or (new.type == "fixed" and new.rules):
            code, text = "400", "A dynamic segment has rules, a fixed one has members"
        if code:
            coded: str | int = int(code) if app.faults.word("row_error_codes") == "number" else code
            error: dict[str, Any] = {"code": coded, "entity": "segment", "entityId": new.code, "entityIndex": index}
            errors.append({**error, app.faults.word("row_error_text"): text})
            continue
        segment = Segment(new.code, new.name, new.description, new.type, new.status, new.externalUpdateDate, new.rules)
        if any(row.id == "*" for row in new.members):
            raise Refused(bodies.bad_request("`*` is no member - at `$.segments[...].members`", app.faults))
        if len(new.members) > app.faults.number("members_max"):
            status = int(app.faults.word("members_max_status"))
            raise Refused(bodies.bad_request("More members than a request may carry", app.faults, status))
        for row in new.members:
            segment.kinds[row.type].add({row.id})
        app.shop.segments[new.code] = segment
    return done(201, errors, app.faults)


def _update(app: App, request: Request, segment: Segment) -> Reply:
    change = bodies.segment_change(request.body, app.faults)
    if change.rules is not msgspec.UNSET and segment.type != "dynamic":
        return plain(400, "BadRequest", "Only a dynamic segment has rules")
    wire_to_own = {"externalUpdateDate": "external_update_date"}
    for name in change.__struct_fields__:
        value = getattr(change, name)
        if value is not msgspec.UNSET:
            setattr(segment, wire_to_own.get(name, name), value)
    return Reply(204)


def _delete(app: App, segment: Segment) -> Reply:
    def run() -> None:
        if app.shop.segments.get(segment.code) is segment:
            del app.shop.segments[segment.code]

    delay_s = app.faults.within("removal_delay_s")
    if delay_s > 0:
        app.after(delay_s, run)
    else:
        run()
    return done(202, [], app.faults)
