"""Reading what retail.red answers, leniently: its sources contradict each other about the shape of errors."""

from __future__ import annotations

import re
import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import msgspec

from stream.core.model import ItemError
from stream.edge.exchange import Answer

MESSAGE_CHARS_MAX = 200
CODE_CHARS_MAX = 64

_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)
_INDEX = re.compile(r"\d{1,9}", re.ASCII)
_IDENTITY = re.compile(r"\S*@\S*|\S*\d\S{5,}|\S{5,}\d\S*")
"""Words of messages that may be an email or an id: those with an @, and longer ones with a digit in them."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

_UNREADABLE = object()


class Reading(NamedTuple):
    """What a body says. readable is False for JSON that broke: what errors[] it held is not known."""

    errors: tuple[ItemError, ...]
    code: str
    message: str
    readable: bool


def read_json(answer: Answer) -> Any:
    """Return the decoded body, None when it is empty or no JSON at all; raise ValueError when it is broken JSON."""
    value = _decoded(answer)
    if value is _UNREADABLE:
        raise ValueError("the answer's JSON is broken")
    return value


def read_answer(answer: Answer) -> Reading:
    """Find errors[], a code and a message wherever retail.red is known to put them."""
    value = _decoded(answer)
    if value is _UNREADABLE:
        return Reading((), "unreadable", "", readable=False)
    if not isinstance(value, dict):
        return Reading((), "not_json" if value is None and answer.body.strip() else "", "", readable=True)
    errors = _items(value.get("errors"))
    inner = value.get("error")
    inner = inner if isinstance(inner, dict) else {}
    code = _code(value.get("code")) or _code(inner.get("code")) or ""
    message = _text(value.get("message")) or _text(inner.get("message"))
    if not code and errors:
        code, message = errors[0].code or "", message or errors[0].message
    return Reading(errors, code, message, readable=True)


def _decoded(answer: Answer) -> Any:
    body = answer.body.strip()
    if not answer.whole:
        return _UNREADABLE
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _UNREADABLE if body[:1] in b"{[" else None


def _items(errors: Any) -> tuple[ItemError, ...]:
    """Read errors[]; whatever is truthy and no list is one error that names nobody, never nothing."""
    if not errors:
        return ()
    return tuple(_item(error) for error in (errors if isinstance(errors, list) else [errors]))


def _item(error: Any) -> ItemError:
    if not isinstance(error, dict):
        return ItemError(code=None, index=None, entity_id=None, message=_text(error))
    entity_id = error.get("entityId")
    if isinstance(entity_id, int) and not isinstance(entity_id, bool):
        entity_id = str(entity_id)
    if not isinstance(entity_id, str) or not entity_id:
        entity_id = None
    message = error.get("reason") or error.get("message")
    if entity_id is not None and isinstance(message, str):
        message = message.replace(entity_id, "…")
    return ItemError(
        code=_code(error.get("code")),
        index=_index(error.get("entityIndex")),
        entity_id=entity_id,
        message=_text(message),
    )


def _index(value: Any) -> int | None:
    if isinstance(value, str) and _INDEX.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _code(value: Any) -> str | None:
    if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
        return str(value)[:CODE_CHARS_MAX]
    return None


def _text(value: Any) -> str:
    """One short line for people; words that may be an identity are masked, as servers like to repeat the input."""
    if not isinstance(value, str):
        return ""
    line = _CONTROL.sub(" ", value[: 4 * MESSAGE_CHARS_MAX])
    return _IDENTITY.sub("…", line)[:MESSAGE_CHARS_MAX]


def retry_after_s(answer: Answer) -> float | None:
    """Read Retry-After as seconds or as an HTTP date (against the answer's Date, else this clock); None if absent."""
    raw = answer.headers.get(b"retry-after", b"").decode("latin-1").strip()
    if _NUMBER.fullmatch(raw):
        return float(raw)
    at_s = _epoch_s(raw)
    if at_s is None:
        return None
    now_s = _epoch_s(answer.headers.get(b"date", b"").decode("latin-1"))
    return max(0.0, at_s - (time.time() if now_s is None else now_s))


def _epoch_s(date: str) -> float | None:
    if not date or len(date) > 64:
        return None
    try:
        moment = parsedate_to_datetime(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
