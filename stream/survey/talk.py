"""Questions over the wire: counted, limited, repeated where trouble may pass; and the search for a limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

from stream.core.model import ItemError
from stream.edge.answers import read_answer, read_json, retry_after_s
from stream.edge.session import Session
from stream.errors import AuthError

Which = Literal["segmentation", "customer"]

REQUESTS_MAX: Final = 600
LASTS_S_MAX: Final = 900.0
TRIES: Final = 3
"""A request that is too large may be answered 5xx, or not at all: so often in a row counts as a refusal."""
THROTTLED_TRIES: Final = 8
WAIT_S_MAX: Final = 30.0
HEADERS: Final = ("x-ratelimit", "x-rate-limit", "ratelimit", "retry-after")


class Stopped(Exception):
    """Nothing is asked any more; the text says why."""


class Unclear(Exception):
    """This question has no answer; the text says why."""


class Reply(NamedTuple):
    """status 0: no answer came, `text` says how. value: the JSON object, {} when there is none."""

    status: int
    value: dict[str, Any]
    errors: tuple[ItemError, ...]
    text: str
    at_s: float

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def codes(self) -> str:
        """The codes of the items' errors, each once."""
        return ", ".join(sorted({error.code or "none" for error in self.errors}))

    @property
    def said(self) -> str:
        """For people: the status, and what errors[] holds."""
        if not self.status:
            return f"no answer ({self.text})"
        plural = "s" if "," in self.codes else ""
        return f"HTTP {self.status}" + (f" with errors[], code{plural} {self.codes}" if self.errors and self.ok else "")

    def sure(self) -> Reply:
        """Itself, unless it says nothing about the question: raises Unclear."""
        if not self.status or self.status == 429 or self.status >= 500:
            raise Unclear(f"retail.red gave {self.said}, again and again")
        return self


class Talk:
    """All requests of one survey. `wait` sleeps."""

    def __init__(self, session: Session, wait: Callable[[float], None] = time.sleep) -> None:
        self._session = session
        self._services = {"segmentation": session.segmentation, "customer": session.customer}
        self.wait = wait
        self.requests = 0
        self.throttled = 0
        self.headers: dict[str, str] = {}
        self.stopped = ""
        self._most = REQUESTS_MAX
        self._end_s = time.monotonic() + LASTS_S_MAX

    def ask(
        self, method: str, of: Which, path: str, query: str = "", body: bytes = b"", *, tries: int = TRIES
    ) -> Reply:
        """Ask; trouble that may pass is waited for. Raises Stopped, AuthError."""
        tried = throttled = 0
        while True:
            self._count()
            reply, after_s = self._once(method, of, path, query, body)
            if reply.status == 429:
                throttled += 1
                self.throttled += 1
                if throttled >= THROTTLED_TRIES:
                    return reply
                self.wait(min(WAIT_S_MAX, max(after_s or 0.0, 0.25 * 2**throttled)))
            elif not reply.status or reply.status >= 500:
                tried += 1
                if tried >= tries:
                    return reply
                self.wait(min(WAIT_S_MAX, max(after_s or 0.0, 0.25 * 2**tried)))
            else:
                return reply

    def target_bytes(self, of: Which, path: str, query: str) -> int:
        """How long a URL is over the wire, without its host: what a server's limit counts."""
        return len(f"{self._services[of].path}/v1/merchants/{self._session.config.merchant}{path}?{query}")

    def _count(self) -> None:
        if self.stopped:
            raise Stopped(self.stopped)
        if self.requests >= self._most or time.monotonic() > self._end_s:
            self.stopped = f"not asked any more after {REQUESTS_MAX} requests or {LASTS_S_MAX:g} s"
            raise Stopped(self.stopped)
        self.requests += 1

    def allow(self, requests: int, lasts_s: float) -> None:
        """Let so much more be asked, whatever was used up: for the clean-up."""
        self.stopped = ""
        self._most = self.requests + requests
        self._end_s = time.monotonic() + lasts_s

    def _once(self, method: str, of: Which, path: str, query: str, body: bytes) -> tuple[Reply, float | None]:
        target = path + (f"?{query}" if query else "")
        deadline_s = self._session.deadline_s()
        sent = self._session.ask("probe", method, self._services[of], target, body, deadline_s=deadline_s)
        answer = sent.answer
        if isinstance(sent.error, AuthError):
            raise sent.error
        if answer is None:
            return Reply(0, {}, (), sent.message or sent.code, time.monotonic()), sent.after_s
        at_s = time.monotonic()
        for name, raw in answer.headers.items():
            text = name.decode("latin-1")
            if text.startswith(HEADERS):
                self.headers.setdefault(text, raw.decode("latin-1")[:80])
        if answer.status == 401:
            raise AuthError("retail.red refuses a fresh token (HTTP 401)", advice="check the credentials' rights")
        try:
            value = read_json(answer)
        except ValueError:
            value = None
        reading = read_answer(answer)
        found = value if isinstance(value, dict) else {}
        return Reply(answer.status, found, reading.errors, reading.code, at_s), retry_after_s(answer)


def largest(
    start: int, most: int, works: Callable[[int], bool], grain: Callable[[int], int] = lambda _: 1
) -> tuple[int, int]:
    """The largest number that works and the least that is known not to (0: none was refused), up to `most`.

    Doubles from `start` to the first refusal, then halves the gap until it is no wider than grain(the larger).
    Nothing is known about what is not monotonous. (0, start) when the start is refused already.
    """
    good, bad, size = 0, 0, min(start, most)
    while not bad:
        if works(size):
            good = size
            if size == most:
                return good, 0
            size = min(most, 2 * size)
        else:
            bad = size
    while bad - good > grain(bad):
        middle = (good + bad) // 2
        if works(middle):
            good = middle
        else:
            bad = middle
    return good, bad
