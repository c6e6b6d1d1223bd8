"""Request bodies against their schema, and the bodies of refusals in every form that was seen or documented."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from stream.sandbox.messages import Refused, Reply, reply_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream.sandbox.faults import Faults

TEXT = ((b"content-type", b"text/plain"),)
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class Member(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: Text
    type: Literal["customer", "device"]


class _Wrapped(msgspec.Struct, forbid_unknown_fields=True):
    members: Annotated[list[Member], msgspec.Meta(min_length=1)]


class NewSegment(msgspec.Struct, forbid_unknown_fields=True):
    code: Text
    name: Text
    type: Literal["fixed", "dynamic"]
    description: str = ""
    status: Literal["active", "inactive"] = "active"
    externalUpdateDate: str | None = None  # noqa: N815 - the wire's name
    rules: Any = None
    members: list[Member] = msgspec.field(default_factory=list)


class _NewSegments(msgspec.Struct, forbid_unknown_fields=True):
    segments: Annotated[list[NewSegment], msgspec.Meta(min_length=1)]


class SegmentChange(msgspec.Struct, forbid_unknown_fields=True):
    name: Text | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET
    status: Literal["active", "inactive"] | msgspec.UnsetType = msgspec.UNSET
    externalUpdateDate: str | msgspec.UnsetType | None = msgspec.UNSET  # noqa: N815 - the wire's name
    rules: Any = msgspec.UNSET


_wrapped = msgspec.json.Decoder(_Wrapped).decode
_bare: Callable[[bytes], list[Member]] = msgspec.json.Decoder(
    Annotated[list[Member], msgspec.Meta(min_length=1)]
).decode
_segments = msgspec.json.Decoder(_NewSegments).decode
_change = msgspec.json.Decoder(SegmentChange).decode


def members(body: bytes, faults: Faults) -> list[Member]:
    """Raises Refused with a 400: one bad item refuses the whole request."""
    form = faults.word("members_body")
    try:
        if form == "bare" or (form == "both" and body.lstrip()[:1] == b"["):
            return _bare(body)
        return _wrapped(body).members
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(bad_request(str(error), faults)) from None


def new_segments(body: bytes, faults: Faults) -> list[NewSegment]:
    """Raises Refused with a 400."""
    try:
        return _segments(body).segments
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(bad_request(str(error), faults)) from None


def segment_change(body: bytes, faults: Faults) -> SegmentChange:
    """Raises Refused with a 400."""
    try:
        return _change(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(bad_request(str(error), faults)) from None


def plain(status: int, code: str, message: str) -> Reply:
    return reply_json(status, {"code": code, "message": message})


def bad_request(message: str, faults: Faults, status: int = 400) -> Reply:
    """A refusal of the whole request. msgspec ends its messages with the path: `… - at `$.members[3].id``."""
    text, _, path = message.partition(" - at ")
    path = path.strip("`")
    form = faults.word("error_form")
    if form == "empty":
        return Reply(status)
    if form == "text":
        return Reply(status, b"<html><body>Bad Request</body></html>", ((b"content-type", b"text/html"),))
    if form == "plain":
        return plain(status, "BadRequest", text)
    if form == "documented":
        return reply_json(status, {"errors": [{"field": path, "value": None, "code": str(status), "message": text}]})
    item = {"code": "INVALID", "message": text, "path": path}
    error = {"code": "SCHEMA_VALIDATION_FAILED", "results": {"errors": [item]}}
    return reply_json(status, {"code": "BadRequest", "message": "Schema validation failed", "error": error})


def unauthorized(message: str, faults: Faults) -> Reply:
    form = faults.word("unauthorized_form")
    if form == "plain":
        return plain(401, "Unauthorized", message)
    return Reply(401) if form == "empty" else Reply(401, b"Unauthorized", TEXT)


def done(status: int, errors: list[dict[str, Any]], faults: Faults) -> Reply:
    """A 2xx with the errors of its items, if any."""
    if status == 204:
        return Reply(204)
    if errors:
        return reply_json(status, {"errors": errors})
    form = faults.word("success_body")
    if form == "absent":
        return Reply(status, b"{}")
    if form == "empty":
        return Reply(status)
    if form == "text":
        return Reply(status, b"OK", TEXT)
    return Reply(status, b'{"errors":[]}')


def item_error(index: int, count: int, member: str, code: str, text: str, faults: Faults) -> list[dict[str, Any]]:
    """The error of the item at `index` of `count`, named in the way that is switched on."""
    names = faults.word("row_error_names")
    coded: str | int = int(code) if faults.word("row_error_codes") == "number" and code.isdecimal() else code
    error: dict[str, Any] = {"code": coded, "entity": "member", faults.word("row_error_text"): text}
    if names in {"both", "id", "wrong_index"}:
        error["entityId"] = member
    if names in {"both", "index"}:
        error["entityIndex"] = index
    elif names == "wrong_index":
        error["entityIndex"] = (index + 1) % count if count > 1 else 1
    elif names == "out_of_range":
        error["entityIndex"] = count + 7
    return [error, dict(error)] if faults.on("row_error_twice") else [error]
