"""retail.red's segmentation service: calls for the engine, reads for the commands. It decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from stream.core.model import Call, Definition, DefinitionOutcome, Lookup, LookupOutcome, Outcome
from stream.edge.answers import read_answer, read_json, retry_after_s
from stream.edge.define import define
from stream.edge.exchange import Service
from stream.edge.lookup import look_up
from stream.edge.pages import listed
from stream.edge.session import ApiConfig, Observe, Session
from stream.edge.wire import members_body, segment_path
from stream.errors import AuthError, DataError, SettingsError, Unavailable

__all__ = ["ApiConfig", "RetailRed", "Segment"]

READ_ATTEMPTS: Final = 5
READ_WAIT_S_MAX: Final = 30.0
"""A read is repeated so often, and no Retry-After makes it wait longer: a command has a person before it."""


class Segment(NamedTuple):
    """A segment as retail.red has it; a value that the answer lacks is "" or None."""

    code: str
    name: str
    type: str
    status: str
    member_count: int | None
    description: str = ""


def _segment(found: dict[str, Any]) -> Segment:
    count = found.get("memberCount")
    texts = [
        text if isinstance(text := found.get(key), str) else "" for key in ("name", "type", "status", "description")
    ]
    whole = count if isinstance(count, int) and not isinstance(count, bool) else None
    return Segment(str(found["code"]), texts[0], texts[1], texts[2], whole, texts[3])


class RetailRed:
    """The client. Its methods are called from many threads; lease() is asked right before a write's first byte."""

    def __init__(
        self,
        config: ApiConfig,
        *,
        lease: Callable[[], bool] = lambda: True,
        observe: Observe = lambda _operation, _code, _seconds: None,
    ) -> None:
        """Raise SettingsError for a merchant or URL that cannot be used; nothing is contacted yet."""
        self._session = Session(config, lease, observe)
        background = config.run_in_background
        self._remove_query = "" if background is None else f"?runInBackground={str(background).lower()}"

    @property
    def token_expires_at(self) -> float:
        """Seconds since the epoch; 0 before the first token."""
        return self._session.token_expires_at

    def send(self, call: Call) -> Outcome:
        """Make one call, by api_timeout_s at most (a slow resolver aside). Thread-safe.

        Raises ValueError, before anything is sent, for a segment code or member id that must never reach the wire;
        nothing else: whatever happens is an outcome.
        """
        path, body = self._path(call), members_body(call.members)
        begun_s = time.monotonic()
        method = "POST" if call.op == "add" else "DELETE"
        session, deadline_s = self._session, self._session.deadline_s()
        try:
            sent = session.ask(call.op, method, session.segmentation, path, body, deadline_s=deadline_s, leased=True)
        except Exception as error:  # noqa: BLE001 - a defect here must not lose a call: not knowing is an outcome, too
            now_s = time.monotonic()
            session.observe(call.op, "defect", now_s - begun_s)
            return Outcome(call, "unknown", 0, (), None, "defect", type(error).__name__, now_s, now_s - begun_s)
        answer, now_s = sent.answer, time.monotonic()
        took_s = now_s - sent.begun_s
        if answer is None:
            return Outcome(call, sent.kind, 0, (), sent.after_s, sent.code, sent.message, now_s, took_s)
        reading = read_answer(answer)
        if not reading.readable and 200 <= answer.status < 300:
            # Accepted, but its errors[] cannot be known: that must not count as success.
            message = "the answer broke off or could not be read"
            return Outcome(call, "unknown", 0, (), None, "unreadable", message, now_s, took_s)
        after_s = retry_after_s(answer)
        return Outcome(
            call, "answered", answer.status, reading.errors, after_s, reading.code, reading.message, now_s, took_s
        )

    def _path(self, call: Call) -> str:
        path = f"{segment_path(call.segment)}/members"
        return path + self._remove_query if call.op == "remove" else path

    def lookup(self, lookup: Lookup, *, guests: bool = False) -> LookupOutcome:
        """Ask who has these values, once, by api_timeout_s at most. Thread-safe, raises nothing. guests: with them."""
        return look_up(self._session, lookup, guests=guests)

    def define(self, definition: Definition) -> DefinitionOutcome:
        """Make a segment be so, by api_timeout_s at most, each step once. Thread-safe, raises nothing."""
        return define(self._session, definition)

    # ---- reads, for commands and look-ups --------------------------------------------------------------------------

    def ping(self, attempts: int = READ_ATTEMPTS) -> None:
        """Fetch a token and list one segment; raise AuthError, Unavailable or SettingsError, saying what is wrong."""
        if self.read("segments", self._session.segmentation, "/segments", {"limit": "1"}, attempts=attempts) is None:
            raise SettingsError(
                f"retail.red knows no merchant {self._session.config.merchant}, or has no segments route there (HTTP 404)",
                advice="check retail_red.merchant and retail_red.urls.segmentation",
            )

    def get_segment(self, code: str) -> Segment | None:
        """Return the segment, None when there is none of this code; raise AuthError, Unavailable or DataError."""
        value = self.read("get_segment", self._session.segmentation, segment_path(code), {})
        if value is None:
            return None
        inner = value.get("segment")
        found = inner if isinstance(inner, dict) else value
        if found.get("code") != code:
            raise DataError(f"asked for segment {code}, the answer is of another one")
        return _segment(found)

    def members(self, code: str) -> Iterator[str]:
        """Yield the ids of the segment's customers, page by page: an id may come twice when members change meanwhile.

        Raises DataError when there is no such segment or the paging makes no sense, AuthError, Unavailable.
        """
        path = segment_path(code) + "/members"
        for member in listed(
            lambda query: self.read("members", self._session.segmentation, path, query),
            "members",
            "id",
            self._session.config.page_limit,
            f"the members of segment {code}",
            f"segment {code} does not exist at retail.red",
        ):
            if member.get("type", "customer") == "customer":
                yield member["id"]

    def segments(self) -> Iterator[Segment]:
        """Yield every segment, page by page: one may come twice when some are made meanwhile.

        Raises DataError when there is no such list or the paging makes no sense, AuthError, Unavailable.
        """
        for found in listed(
            lambda query: self.read("segments", self._session.segmentation, "/segments", query),
            "segments",
            "code",
            self._session.config.page_limit,
            "the segments",
            f"retail.red knows no merchant {self._session.config.merchant}, or has no segments route there",
        ):
            yield _segment(found)

    def customers(self, query: dict[str, str]) -> dict[str, Any]:
        """One page of the customer service's list, as it came; raise AuthError, Unavailable or DataError."""
        page = self.read("customers", self._session.customer, "/customers", query)
        if page is None:
            raise DataError("the customer service knows no customers route, or no such merchant")
        return page

    def read(
        self, operation: str, of: Service, path: str, query: dict[str, str], *, attempts: int = READ_ATTEMPTS
    ) -> dict[str, Any] | None:
        """GET an object, None for 404; trouble that may pass is waited for, some times and within limits."""
        target = path + (f"?{urlencode(query)}" if query else "")
        session = self._session
        trouble, after_s = "closed", None
        for attempt in range(attempts):
            if attempt:
                session.closed.wait(min(READ_WAIT_S_MAX, max(0.2 * 2**attempt, after_s or 0.0)))
            sent = session.ask(operation, "GET", of, target, deadline_s=session.deadline_s())
            if isinstance(sent.error, AuthError):
                raise sent.error
            answer = sent.answer
            if answer is None:
                if sent.code == "closed":
                    raise Unavailable("the client was closed")
                trouble, after_s = sent.message or f"{operation}: no answer ({sent.code})", sent.after_s
                continue
            trouble, after_s = f"{operation}: HTTP {answer.status}", retry_after_s(answer)
            if answer.status == 200:
                try:
                    value = read_json(answer)
                except ValueError:
                    value = None
                if isinstance(value, dict):
                    return value
                trouble = f"{operation}: the answer is no JSON object"
            elif answer.status == 404:
                return None
            elif answer.status in {401, 403}:
                raise AuthError(
                    f"{operation}: retail.red refuses access (HTTP {answer.status})",
                    advice=f"check the credentials' rights on merchant {self._session.config.merchant}",
                )
            elif answer.status not in {408, 425, 429} and answer.status < 500:
                raise DataError(f"{operation}: unexpected answer, HTTP {answer.status}")
        raise Unavailable(f"retail.red: {trouble}, {attempts} times")

    def close(self) -> None:
        """Send nothing any more. A call in flight ends as unknown."""
        self._session.close()
