"""Logging: text on a terminal, JSON elsewhere, with nothing private in it and never a flood.

Standard library only (docs/decisions/logging.md): librdkafka, httpx and our own lines meet in one handler, where they
are redacted. Say what happened as a fixed text, and what it happened to as fields: `log.info("restored", rows=5)`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

LENGTH_MAX: Final = 8_192
FLOOD_LINES_MAX: Final = 50
FLOOD_INTERVAL_S: Final = 10.0
_FLOOD_EVENTS_MAX: Final = 1_000

_ROOT: Final = "segstream"
_HIDDEN: Final = "<hidden>"
_SECRET_KEY: Final = re.compile(
    r"password|passwd|secret|token|authorization|credential|cookie|email|jaas", re.IGNORECASE
)
# bounded, and starting only where a word starts: a long line must not cost more than its length
_LOCAL: Final = r"A-Za-z0-9.!#$&'*+/=?^_`{|}~-"
_EMAIL: Final = re.compile(
    rf"(?<![{_LOCAL}])[{_LOCAL}]++(?:%(?!40)[0-9A-Fa-f]{{2}}[{_LOCAL}]*+){{0,8}}(?:@|%40)"
    r"[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,8}"
)
_AUTHORIZATION: Final = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]+", re.IGNORECASE)
_PAIR: Final = re.compile(
    r"""(password|passwd|secret|token)([\w.]{0,40}["']?\s{0,3}[=:]\s{0,3}["']?)([^\s"'&,;}]+)""", re.IGNORECASE
)
_QUIET: Final = ("httpx", "httpcore", "urllib3", "asyncio", "hpack")


def redact(text: str) -> str:
    """Return the text without email addresses, credentials and values named like a secret, shortened to LENGTH_MAX."""
    text = text[: 4 * LENGTH_MAX]
    text = _AUTHORIZATION.sub(rf"\1 {_HIDDEN}", text)
    text = _PAIR.sub(rf"\1\2{_HIDDEN}", text)
    text = _EMAIL.sub("<email>", text) if "@" in text or "%40" in text else text
    # cut afterwards: half an address would not be recognised
    return text if len(text) <= LENGTH_MAX else text[:LENGTH_MAX] + "…"


def _clean(key: str, value: Any, depth: int = 0) -> Any:
    if _SECRET_KEY.search(key) and not key.endswith(("_file", "_at_s")):
        return _HIDDEN
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if depth < 3 and isinstance(value, dict):
        return {redact(str(k)): _clean(str(k), v, depth + 1) for k, v in list(value.items())[:100]}
    if depth < 3 and isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(key, item, depth + 1) for item in list(value)[:100]]
    return redact(str(value))


class Log:
    """A named log of the program. Every method takes a fixed text and fields."""

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"{_ROOT}.{name}")

    def debug(self, event: str, **fields: Any) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write(logging.ERROR, event, fields)

    def unexpected(self, event: str, error: BaseException, **fields: Any) -> None:
        """Log an error that nobody expected, with its traceback."""
        self._write(logging.ERROR, event, fields, (type(error), error, error.__traceback__))

    def _write(
        self,
        level: int,
        event: str,
        fields: dict[str, Any],
        error: tuple[type[BaseException], BaseException, TracebackType | None] | None = None,
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", event, extra={"fields": fields, "event": event}, exc_info=error)


class _Line(logging.Formatter):
    """What both forms share: the parts of a line, redacted."""

    def parts(self, record: logging.LogRecord) -> dict[str, Any]:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)
        parts: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "log": record.name.removeprefix(f"{_ROOT}."),
            "event": redact(text),
        }
        fields: dict[str, Any] = getattr(record, "fields", None) or {}
        parts |= {key if key not in parts else f"{key}_": _clean(key, value) for key, value in fields.items()}
        if record.exc_info:
            parts["error"] = redact(self.formatException(record.exc_info))
        return parts


class JsonLine(_Line):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.parts(record), ensure_ascii=False, allow_nan=True)


class TextLine(_Line):
    """For people: time, level, event, fields; a traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        parts = self.parts(record)
        head = f"{parts.pop('time')[11:23]} {parts.pop('level'):<7} {parts.pop('log')}: {parts.pop('event')}"
        error = parts.pop("error", None)
        fields = " ".join(f"{key}={_word(value)}" for key, value in parts.items())
        # control characters from outside must not move the terminal's cursor or forge a line
        line = "".join(c if c.isprintable() else "�" for c in f"{head} {fields}".rstrip())
        return f"{line}\n{error}" if error else line


def _word(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return json.dumps(text, ensure_ascii=False) if isinstance(value, str) and (" " in text or not text) else text


class Flood(logging.Filter):
    """Lets FLOOD_LINES_MAX lines of one event through in FLOOD_INTERVAL_S, then counts: a fault writes thousands."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key = (record.name, record.levelno, str(getattr(record, "event", record.msg))[:200])
        now = self._clock()
        with self._lock:
            since, count = self._seen.pop(key, (now, 0))
            suppressed = 0
            if now - since >= FLOOD_INTERVAL_S:
                suppressed, since, count = max(0, count - FLOOD_LINES_MAX), now, 0
            if len(self._seen) >= _FLOOD_EVENTS_MAX:
                del self._seen[next(iter(self._seen))]
            self._seen[key] = (since, count + 1)
        if suppressed:
            record.fields = {**(getattr(record, "fields", None) or {}), "lines_suppressed": suppressed}
        return count < FLOOD_LINES_MAX


def configure(
    style: Literal["auto", "text", "json"] = "auto", level: str = "info", stream: TextIO | None = None
) -> logging.Handler:
    """Send every log of the process, warnings and uncaught errors to one redacting handler on the stream (stderr)."""
    stream = stream or sys.stderr
    text = style == "text" or (style == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextLine() if text else JsonLine())
    handler.addFilter(Flood())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # at debug and info they write URLs, which hold filters with email addresses
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a closed stderr must not stop the stream
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    return handler


def librdkafka_logger() -> logging.Logger:
    """Return what confluent_kafka's clients take as `logger=`: their lines then arrive while the owner polls."""
    return logging.getLogger(f"{_ROOT}.librdkafka")


def _uncaught(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        Log("main").unexpected("uncaught error", error)


def _uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
        name = arguments.thread.name if arguments.thread else "?"
        Log("main").unexpected("uncaught error in a thread", arguments.exc_value, thread=name)
