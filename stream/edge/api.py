"""retail.red's segmentation service: calls for the engine, reads for the commands. It decides nothing."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from stream import __version__
from stream.core.model import Call, Outcome, OutcomeKind
from stream.edge.answers import read_answer, read_json, retry_after_s
from stream.edge.exchange import Answer, Exchange, MaybeSent, NotSent, Service, service
from stream.edge.token import Credentials, Token, TokenUnavailable
from stream.edge.wire import members_body, segment_path
from stream.errors import AuthError, DataError, SettingsError, Unavailable

READ_ATTEMPTS: Final = 5
READ_WAIT_S_MAX: Final = 30.0
"""A read is repeated so often, and no Retry-After makes it wait longer: a command has a person before it."""

PAGES_MAX: Final = 1_000_000

_MERCHANT = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

Observe = Callable[[str, str, float], None]
"""operation (add, remove, token, get_segment, members, segments), code (a status or a short label), seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """Where retail.red is and how it is asked. Times in seconds; api_timeout_s is for a whole send, token included.

    run_in_background: sent with removals when it is not None. page_limit: members asked for in one page.
    """

    merchant: str
    credentials: Credentials
    auth_url: str = "https://auth.shopgate.io"
    segmentation_url: str = "https://segmentation.shopgate.io"
    customer_url: str = "https://customer.shopgate.io"
    allow_http: bool = False
    slots: int = 8
    api_timeout_s: float = 10.0
    connect_timeout_s: float = 5.0
    run_in_background: bool | None = None
    page_limit: int = 500


class Segment(NamedTuple):
    """A segment as retail.red has it; a value that the answer lacks is "" or None."""

    code: str
    name: str
    type: str
    status: str
    member_count: int | None


@dataclass(slots=True)
class _Sent:
    """What became of one call, for its outcome."""

    kind: OutcomeKind
    code: str
    message: str = ""
    answer: Answer | None = None
    after_s: float | None = None
    begun_s: float = field(default_factory=time.monotonic)


class RetailRed:
    """The client. `send` is called from many threads; lease() is asked right before a call's first byte is written."""

    def __init__(
        self,
        config: ApiConfig,
        *,
        lease: Callable[[], bool] = lambda: True,
        observe: Observe = lambda _operation, _code, _seconds: None,
    ) -> None:
        """Raise SettingsError for a merchant or URL that cannot be used; nothing is contacted yet."""
        if not _MERCHANT.fullmatch(config.merchant):
            raise SettingsError("retail_red.merchant: letters, digits, _ and - only, 1 to 64 of them")
        self._config = config
        self._lease = lease
        self._observe = observe
        self._closed = threading.Event()
        self._exchange = Exchange(connect_timeout_s=min(config.connect_timeout_s, config.api_timeout_s))
        auth = service("auth", config.auth_url, allow_http=config.allow_http)
        self._segmentation = service("segmentation", config.segmentation_url, allow_http=config.allow_http)
        self._customer = service("customer", config.customer_url, allow_http=config.allow_http)
        self._root = f"/v1/merchants/{config.merchant}"
        background = config.run_in_background
        self._remove_query = "" if background is None else f"?runInBackground={str(background).lower()}"
        self._token = Token(config.credentials, config.merchant, auth, self._exchange, observe)
        self._agent = (b"user-agent", f"segstream/{__version__}".encode("ascii"))

    @property
    def token_expires_at(self) -> float:
        """Seconds since the epoch; 0 before the first token."""
        return self._token.expires_at

    def send(self, call: Call) -> Outcome:
        """Make one call, by api_timeout_s at most (a slow resolver aside). Thread-safe.

        Raises ValueError, before anything is sent, for a segment code or member id that must never reach the wire;
        nothing else: whatever happens is an outcome.
        """
        target, body = self._target(call), members_body(call.members)
        begun_s = time.monotonic()
        try:
            sent = self._sent(call, target, body, begun_s + self._config.api_timeout_s)
        except Exception as error:  # noqa: BLE001 - a defect here must not lose a call: not knowing is an outcome, too
            sent = _Sent("unknown", "defect", type(error).__name__, begun_s=begun_s)
        answer, now_s = sent.answer, time.monotonic()
        if answer is None:
            if sent.kind != "unsent":
                self._observe(call.op, sent.code, now_s - sent.begun_s)
            return Outcome(call, sent.kind, 0, (), sent.after_s, sent.code, sent.message, now_s, now_s - sent.begun_s)
        self._observe(call.op, str(answer.status), now_s - sent.begun_s)
        reading = read_answer(answer)
        if not reading.readable and 200 <= answer.status < 300:
            # Accepted, but its errors[] cannot be known: that must not count as success.
            message = "the answer broke off or could not be read"
            return Outcome(call, "unknown", 0, (), None, "unreadable", message, now_s, now_s - sent.begun_s)
        return Outcome(
            call,
            "answered",
            answer.status,
            reading.errors,
            retry_after_s(answer),
            reading.code,
            reading.message,
            now_s,
            now_s - sent.begun_s,
        )

    def _target(self, call: Call) -> str:
        target = f"{self._root}{segment_path(call.segment)}/members"
        return target + self._remove_query if call.op == "remove" else target

    def _sent(self, call: Call, target: str, body: bytes, deadline_s: float) -> _Sent:
        method = "POST" if call.op == "add" else "DELETE"
        bearer: bytes | None = None
        sent = _Sent("unsent", "closed")
        for repeat in (False, True):
            if self._closed.is_set():
                return _Sent("unsent", "closed")
            if not self._lease():
                return _Sent("unsent", "lease")
            try:
                bearer = self._token.current(deadline_s) if bearer is None else self._token.renewed(bearer, deadline_s)
            except AuthError as error:
                return _Sent("unsent", "credentials", str(error))
            except TokenUnavailable as error:
                return _Sent("unsent", "token", str(error), after_s=error.retry_after_s)
            headers = [(b"authorization", bearer), (b"content-type", b"application/json"), self._agent]
            sent = _Sent("answered", "")
            try:
                sent.answer = self._exchange.send(
                    method, self._segmentation, target, headers, body, deadline_s=deadline_s, lease=self._lease
                )
            except NotSent as fact:
                sent.kind, sent.code = ("unsent" if fact.code == "lease" else "refused"), fact.code
            except MaybeSent as fact:
                sent.kind, sent.code = "unknown", fact.code
            if repeat or sent.answer is None or sent.answer.status != 401:
                break
            self._observe(call.op, "401", time.monotonic() - sent.begun_s)
        return sent

    # ---- reads, for commands and look-ups --------------------------------------------------------------------------

    def ping(self, attempts: int = READ_ATTEMPTS) -> None:
        """Fetch a token and list one segment; raise AuthError, Unavailable or SettingsError, saying what is wrong."""
        if self.read("segments", self._segmentation, "/segments", {"limit": "1"}, attempts=attempts) is None:
            raise SettingsError(
                f"retail.red knows no merchant {self._config.merchant}, or has no segments route there (HTTP 404)",
                advice="check retail_red.merchant and retail_red.urls.segmentation",
            )

    def get_segment(self, code: str) -> Segment | None:
        """Return the segment, None when there is none of this code; raise AuthError, Unavailable or DataError."""
        value = self.read("get_segment", self._segmentation, segment_path(code), {})
        if value is None:
            return None
        inner = value.get("segment")
        found = inner if isinstance(inner, dict) else value
        if found.get("code") != code:
            raise DataError(f"asked for segment {code}, the answer is of another one")
        count = found.get("memberCount")
        texts = [text if isinstance(text := found.get(key), str) else "" for key in ("name", "type", "status")]
        return Segment(code, texts[0], texts[1], texts[2], count if isinstance(count, int) else None)

    def members(self, code: str) -> Iterator[str]:
        """Yield the ids of the segment's customers, page by page: an id may come twice when members change meanwhile.

        Raises DataError when there is no such segment or the paging makes no sense, AuthError, Unavailable.
        """
        path, limit, offset, after, first = segment_path(code) + "/members", self._config.page_limit, 0, "", ""
        for _ in range(PAGES_MAX):
            place = {"after": after} if after else {"offset": str(offset)} if offset else {}
            page = self.read("members", self._segmentation, path, {"limit": str(limit), **place})
            if page is None:
                raise DataError(f"segment {code} does not exist at retail.red")
            meta, members = page.get("meta"), page.get("members")
            meta = meta if isinstance(meta, dict) else {}
            if not isinstance(members, list):
                raise DataError(f"the members of segment {code}: the answer holds no list of them")
            for member in members:
                if not isinstance(member, dict) or not isinstance(member.get("id"), str):
                    raise DataError(f"the members of segment {code}: the answer holds one without an id")
                if member.get("type", "customer") == "customer":
                    yield member["id"]
            cursors = [meta[key] for key in ("cursors", "cursor") if isinstance(meta.get(key), dict)]
            if cursors or after:
                beyond = cursors[0].get("after") if cursors else None
                if not beyond:
                    return
                if beyond == after or not isinstance(beyond, str):
                    raise DataError(f"the members of segment {code}: the cursor does not advance")
                after = beyond
                continue
            if offset and members and members[0]["id"] == first:
                raise DataError(f"the members of segment {code}: the server repeats its first page")
            offset += len(members)
            total, size = meta.get("totalItemCount"), meta.get("limit")
            size = size if isinstance(size, int) and size > 0 else limit
            if not members or (offset >= total if isinstance(total, int) else len(members) < size):
                return
            first = first or members[0]["id"]
        raise DataError(f"the members of segment {code}: more than {PAGES_MAX} pages")

    def customers(self, query: dict[str, str]) -> dict[str, Any]:
        """One page of the customer service's list, as it came; raise AuthError, Unavailable or DataError."""
        page = self.read("customers", self._customer, "/customers", query)
        if page is None:
            raise DataError("the customer service knows no customers route, or no such merchant")
        return page

    def read(
        self, operation: str, of: Service, path: str, query: dict[str, str], *, attempts: int = READ_ATTEMPTS
    ) -> dict[str, Any] | None:
        """GET an object, None for 404; trouble that may pass is waited for, some times and within limits."""
        target = self._root + path + (f"?{urlencode(query)}" if query else "")
        trouble, after_s = "closed", None
        for attempt in range(attempts):
            if attempt:
                self._closed.wait(min(READ_WAIT_S_MAX, max(0.2 * 2**attempt, after_s or 0.0)))
            if self._closed.is_set():
                raise Unavailable("the client was closed")
            try:
                answer = self._got(operation, of, target)
            except TokenUnavailable as error:
                trouble, after_s = str(error), error.retry_after_s
                continue
            except (NotSent, MaybeSent) as fact:
                trouble, after_s = f"{operation}: no answer ({fact.code})", None
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
                    advice=f"check the credentials' rights on merchant {self._config.merchant}",
                )
            elif answer.status not in {408, 425, 429} and answer.status < 500:
                raise DataError(f"{operation}: unexpected answer, HTTP {answer.status}")
        raise Unavailable(f"retail.red: {trouble}, {attempts} times")

    def _got(self, operation: str, of: Service, target: str) -> Answer:
        deadline_s = time.monotonic() + self._config.api_timeout_s
        bearer = self._token.current(deadline_s)
        for repeat in (False, True):
            begun_s, code = time.monotonic(), ""
            headers = [(b"authorization", bearer), (b"accept", b"application/json"), self._agent]
            try:
                answer = self._exchange.send("GET", of, target, headers, b"", deadline_s=deadline_s)
                code = str(answer.status)
            except (NotSent, MaybeSent) as fact:
                code = fact.code
                raise
            finally:
                self._observe(operation, code, time.monotonic() - begun_s)
            if answer.status != 401 or repeat:
                break
            bearer = self._token.renewed(bearer, deadline_s)
        return answer

    def close(self) -> None:
        """Send nothing any more. A call in flight ends as unknown."""
        self._closed.set()
        self._exchange.close()
