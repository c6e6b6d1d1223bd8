"""Making one segment be what it is to be: look, and write only what differs. A dynamic segment is never touched.

Each step is made once. Whatever fails between is safe to repeat: the next look shows what landed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from stream.core.model import Definition, DefinitionOutcome, ItemError
from stream.edge.answers import read_answer, read_json, retry_after_s
from stream.edge.session import Sent, Session, trouble
from stream.edge.wire import segment_path

Kind = Literal["done", "dynamic", "refused", "failed", "unsent"]

EXISTS: Final = "409"
NEVER: Final = frozenset({"400", "422"})
"""Codes, of an answer or of an error inside it, after which the same request is refused again."""


@dataclass(slots=True, eq=False)
class _End(Exception):
    """What the steps came to, good or bad; raised where none may follow."""

    kind: Kind
    reason: str
    message: str = ""
    status: int = 0
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Fixed:
    """A fixed segment as the answer has it; "" for what it lacks."""

    name: str
    description: str
    status: str


def define(session: Session, definition: Definition) -> DefinitionOutcome:
    """Make it so, by api_timeout_s at most; whatever happens is an outcome. Writes ask the lease."""
    begun_s = time.monotonic()
    try:
        path = segment_path(definition.code)
    except ValueError as error:
        end = _End("refused", "segment_code", str(error))
    else:
        steps = _Steps(session, definition, path, begun_s + session.config.api_timeout_s)
        try:
            end = steps.run()
        except _End as early:
            end = early
        except Exception as error:  # noqa: BLE001 - a defect here must not lose a definition: it is asked for again
            end = _End("failed", "defect", type(error).__name__)
    now_s = time.monotonic()
    return DefinitionOutcome(
        definition, end.kind, end.status, end.reason, end.message, end.after_s, now_s, now_s - begun_s
    )


class _Steps:
    """The steps of one definition. Each raises _End where it must not go on."""

    def __init__(self, session: Session, definition: Definition, path: str, deadline_s: float) -> None:
        self._session = session
        self._wanted = definition
        self._path = path
        self._deadline_s = deadline_s
        self._status = 0

    def run(self) -> _End:
        found, op = self._look(), self._wanted.op
        if op == "look":
            return self._done("absent" if found is None else "there")
        if op in ("exist", "define"):
            if found is None:
                return self._create()
            return self._done("unchanged") if op == "exist" else self._update(found)
        if found is None:
            return self._done("absent")
        if op == "deactivate":
            if found.status == "inactive":
                return self._done("unchanged")
            gone = self._write("update_segment", "POST", self._path, {"status": "inactive"}) is None
            return self._done("absent" if gone else "deactivated")
        gone = self._write("delete_segment", "DELETE", self._path) is None
        return self._done("absent" if gone else "deleted")

    def _done(self, reason: str) -> _End:
        return _End("done", reason, status=self._status)

    def _look(self) -> _Fixed | None:
        """The fixed segment as it is, None when there is none."""
        sent = self._ask("get_segment", "GET", self._path)
        if self._status == 404:
            return None
        value: Any = None
        if self._status == 200 and sent.answer is not None:
            try:
                value = read_json(sent.answer)
            except ValueError:
                value = None
        elif self._status != 200:
            raise self._failure(sent)
        inner = value.get("segment") if isinstance(value, dict) else None
        found = inner if isinstance(inner, dict) else value
        if not isinstance(found, dict) or found.get("code") != self._wanted.code:
            raise _End("failed", "unreadable", "the answer does not hold the segment that was asked for", self._status)
        kind, name, description, status = (
            text if isinstance(text := found.get(key), str) else "" for key in ("type", "name", "description", "status")
        )
        if kind == "dynamic":
            raise _End("dynamic", "dynamic", status=self._status)
        if kind != "fixed":
            raise _End("failed", "unreadable", "the answer does not say whether the segment is fixed", self._status)
        return _Fixed(name, description, status)

    def _create(self) -> _End:
        wanted = self._wanted
        new = {"code": wanted.code, "name": wanted.name, "type": "fixed", "status": "active"}
        if wanted.description is not None:
            new["description"] = wanted.description
        if self._write("create_segment", "POST", "/segments", {"segments": [new]}) != EXISTS:
            return self._done("created")
        # somebody else was first: it counts only once it was seen, and is fixed
        found = self._look()
        if found is None:
            raise _End("failed", "exists", "created by somebody else, and not to be seen yet", self._status)
        return self._done("unchanged") if wanted.op == "exist" else self._update(found)

    def _update(self, found: _Fixed) -> _End:
        wanted = self._wanted
        change: dict[str, str] = {}
        if wanted.name != found.name:
            change["name"] = wanted.name
        if wanted.description is not None and wanted.description != found.description:
            change["description"] = wanted.description
        if wanted.active and found.status == "inactive":
            change["status"] = "active"
        if not change:
            return self._done("unchanged")
        if self._write("update_segment", "POST", self._path, change) is None:
            raise _End("failed", "absent", "the segment went away meanwhile", self._status)
        return self._done("updated")

    def _write(self, operation: str, method: str, path: str, value: object = None) -> str | None:
        """Return "" when it was accepted, EXISTS when it is there already, None when there is no such segment."""
        body = b"" if value is None else msgspec.json.encode(value)
        sent = self._ask(operation, method, path, body, leased=True)
        answer = sent.answer
        if answer is None:
            raise self._failure(sent)
        reading = read_answer(answer)
        if 200 <= self._status < 300:
            if not reading.readable:
                raise _End("failed", "unreadable", "the answer broke off or could not be read", self._status)
            if reading.errors:
                return self._not_applied(operation, reading.errors)
            return ""
        if self._status == 409 and operation == "create_segment":
            return EXISTS
        if self._status == 404 and operation != "create_segment":
            return None
        if str(self._status) in NEVER:
            raise _End("refused", reading.code or str(self._status), reading.message, self._status)
        raise self._failure(sent)

    def _not_applied(self, operation: str, errors: tuple[ItemError, ...]) -> str:
        """Judge the errors inside an answer that accepted the request: it was about one segment, so that one has them."""
        if operation == "create_segment" and any(error.code == EXISTS for error in errors):
            return EXISTS
        code = errors[0].code or "none"
        raise _End("refused" if code in NEVER else "failed", f"item_{code}", errors[0].message, self._status)

    def _ask(self, operation: str, method: str, path: str, body: bytes = b"", *, leased: bool = False) -> Sent:
        session = self._session
        sent = session.ask(
            operation, method, session.segmentation, path, body, deadline_s=self._deadline_s, leased=leased
        )
        if sent.answer is None:
            raise self._failure(sent)
        self._status = sent.answer.status
        return sent

    def _failure(self, sent: Sent) -> _End:
        if sent.answer is None:
            unsent = sent.kind == "unsent" and sent.code != "credentials"
            return _End("unsent" if unsent else "failed", sent.code, sent.message, 0, sent.after_s)
        message, after_s = read_answer(sent.answer).message, retry_after_s(sent.answer)
        return _End("failed", trouble(sent), message, self._status, after_s)
