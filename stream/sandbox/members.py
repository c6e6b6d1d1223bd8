"""POST and DELETE of members: what arrives is watched from its arrival until nothing of it can happen any more."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from stream.sandbox import bodies
from stream.sandbox.bodies import bad_request, done, item_error, plain
from stream.sandbox.messages import CUT, Refused, Reply, Request
from stream.sandbox.witness import ACCEPTED, LATE, OPEN, Operation

if TYPE_CHECKING:
    from stream.sandbox.app import App
    from stream.sandbox.faults import Fate
    from stream.sandbox.state import Segment
    from stream.sandbox.wire import Wire

ADD, REMOVE, ALL = "add", "remove", "*"


class Work(NamedTuple):
    """A member request that passed its schema; one operation for each kind of member in it."""

    request: Request
    op: str
    code: str
    rows: list[bodies.Member]
    operations: list[Operation]


def changes(method: str, path: list[str]) -> bool:
    return method in {"POST", "DELETE"} and len(path) == 6 and path[3] == "segments" and path[5] == "members"


def begin(app: App, request: Request, code: str, fate: Fate, wire: Wire) -> None:
    """Check, watch and schedule it. Raises Refused."""
    work = _parsed(app, request, code)
    if fate.end == "hang" or not work.rows:
        if fate.end == "hang":
            app.later(app.faults.number("hang_s"), request, wire, lambda: CUT)
        else:  # the body was stripped on the way, and nobody noticed
            app.later(fate.delay_s, request, wire, lambda: done(202, [], app.faults))
        return
    at_s = request.at_s - app.started_s
    for operation in work.operations:
        app.witness.open(operation, at_s)
    request.on_gone = lambda: _given_up(app, work)
    if fate.end == "late":
        app.later(app.faults.number("hang_s"), request, wire, lambda: CUT)
        app.after(app.faults.within("late_s"), partial(_perform, app, work))
        return
    app.later(fate.delay_s, request, wire, lambda: app.failed(fate, _perform(app, work)))


def _parsed(app: App, request: Request, code: str) -> Work:
    faults = app.faults
    op, body = ADD if request.method == "POST" else REMOVE, request.body
    if "runInBackground" in request.query and not faults.on("background_known"):
        raise Refused(bad_request("runInBackground is not known", faults))
    stripped = faults.word("delete_body")
    if op == REMOVE and stripped != "kept":
        body = b""
        if stripped == "all":
            body = b'[{"id":"*","type":"customer"}]'
            body = body if faults.word("members_body") == "bare" else b'{"members":%b}' % body
        elif stripped == "202":
            app.segment(code)
            return Work(request, op, code, [], [])
    segment = app.segment(code)
    if segment.type == "dynamic":
        raise Refused(plain(400, "BadRequest", "A dynamic segment has no members of its own"))
    rows = bodies.members(body, faults)
    most = faults.number("members_max")
    if op == REMOVE:
        most = min(most, faults.number("removal_members_max"))
    if len(rows) > most:
        status = int(faults.word("members_max_status"))
        raise Refused(bad_request(f"More than {most:g} members", faults, status))
    kinds: dict[str, set[str]] = {}
    customers = {row.id for row in rows if row.type == "customer"}
    if customers:
        kinds["customer"] = customers
    if len(customers) < len(rows):
        devices = {row.id for row in rows if row.type == "device"}
        if devices:
            kinds["device"] = devices
    if faults.poison and any(faults.poison & ids for ids in kinds.values()):
        raise Refused(bad_request("A member cannot be read", faults, int(faults.number("poison_status"))))
    if op == ADD and any(ALL in ids for ids in kinds.values()):
        raise Refused(bad_request("`*` is no member - at `$.members`", faults))
    if op == REMOVE:
        for kind, ids in kinds.items():
            if ALL in ids:
                app.witness.counts["remove_all"] += 1
                kinds[kind] = ids | segment.kinds[kind].ids
    if faults.word("duplicate_rows") == "400" and sum(map(len, kinds.values())) < len(rows):
        raise Refused(bad_request("A member is there twice", faults))
    operations = [Operation(request.number, code, kind, op, ids) for kind, ids in kinds.items()]
    return Work(request, op, code, rows, operations)


def _given_up(app: App, work: Work) -> None:
    """The client hung up; what it asked for may still happen."""
    for operation in work.operations:
        if operation.phase == OPEN and not operation.closed:
            app.witness.note(operation, "dropped", app.now_s())
            app.witness.move(operation, LATE)


def _perform(app: App, work: Work) -> Reply:
    """Apply what does not fail, now or after the removal's delay."""
    faults, witness = app.faults, app.witness
    segment = app.shop.segments.get(work.code)
    if segment is None:  # deleted since
        for operation in work.operations:
            witness.close(operation)
        return plain(404, "NotFound", f"Segment {work.code} not found")
    errors, failed = _judged(app, work, segment) if faults.rowwise else ([], {})
    status, delay_s = 201, 0.0
    if work.op == REMOVE:
        status, delay_s = int(faults.word("removal_status")), 0.0
        at_once = work.request.query.get("runInBackground", "").lower() == "false" and faults.on("background_honoured")
        if at_once:
            status = 200
        elif status == 202:
            delay_s = faults.within("removal_delay_s")
    for operation in work.operations:
        if failed.get(operation.kind) and delay_s > 0:
            # the client may send them again at once: they are no part of what was accepted
            witness.refuse(operation, failed[operation.kind], app.now_s())
        elif failed.get(operation.kind):
            witness.counts["rows_refused"] += len(failed[operation.kind])
            witness.note(operation, "refused", app.now_s(), failed[operation.kind])
        ids = operation.ids - failed.get(operation.kind, set())
        if delay_s > 0:
            witness.note(operation, "accepted", app.now_s(), ids)
            witness.move(operation, ACCEPTED)
            app.after(delay_s, partial(_apply, app, operation, ids))
        else:
            _apply(app, operation, ids)
    return done(status, errors, faults)


def _apply(app: App, operation: Operation, ids: set[str]) -> None:
    """On the state of this moment, whatever came in between."""
    segment = app.shop.segments.get(operation.segment)
    if segment is not None:
        members = segment.kinds[operation.kind]
        present = ids | members.ids if ALL in ids else ids
        changed = members.add(ids) if operation.op == ADD else members.remove(present)
        app.witness.applied(operation, app.now_s(), ids, changed)
    app.witness.close(operation)


def _judged(app: App, work: Work, segment: Segment) -> tuple[list[dict[str, Any]], dict[str, set[str]]]:
    """The errors to answer and the ids, by kind, that are not applied."""
    faults = app.faults
    errors: list[dict[str, Any]] = []
    failed: dict[str, set[str]] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for index, row in enumerate(work.rows):
        there = row.id in segment.kinds[row.type].ids
        code = text = ""
        seen[row.type, row.id] += 1
        harmless = False  # an error about a row whose wish is fulfilled all the same
        if faults.cursed("row_refuse_share", row.id):
            code, text = faults.word("row_refuse_code"), "The member is refused"
        elif faults.hits("row_error_share"):
            code, text = faults.word("row_error_code"), "The member could not be written"
        elif work.op == ADD and faults.word("unknown_customer") != "ok" and _unknown(app, row):
            code, text = faults.word("unknown_customer"), "The customer is not known"
        elif seen[row.type, row.id] > 1 and faults.word("duplicate_rows") == "item":
            code, text, harmless = "409", "The member is there twice", True
        elif work.op == ADD and there and faults.word("present_add") != "ok":
            code, text, harmless = faults.word("present_add"), "The member exists", True
        elif work.op == REMOVE and not there and row.id != ALL and faults.word("absent_remove") != "ok":
            code, text, harmless = faults.word("absent_remove"), "The member does not exist", True
        if code:
            errors += item_error(index, len(work.rows), row.id, code, text, faults)
            if not harmless:
                failed.setdefault(row.type, set()).add(row.id)
    return errors, failed


def _unknown(app: App, row: bodies.Member) -> bool:
    return row.type == "customer" and app.shop.customers.get(row.id, {}).get("status", "deleted") == "deleted"
