"""Requests to retail.red with a token: each is made once, and once more with a fresh token after a 401. It decides nothing."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from stream import __version__
from stream.core.model import OutcomeKind
from stream.edge.exchange import Answer, Exchange, MaybeSent, NotSent, Service, service
from stream.edge.token import Credentials, Token, TokenUnavailable
from stream.errors import AuthError, SettingsError

_MERCHANT = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

Observe = Callable[[str, str, float], None]
"""operation (add, remove, token, lookup, get_segment …), code (a status or a short label), seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """Where retail.red is and how it is asked. Times in seconds; api_timeout_s is for a whole send, token included.

    run_in_background: sent with removals when it is not None. page_limit: members asked for in one page.
    filter_parameter: what carries the filter of a list.
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
    filter_parameter: Literal["filters", "filter"] = "filters"


@dataclass(slots=True)
class Sent:
    """What became of one request. Without an answer, code is a short label, and error what was wrong with the token, if that."""

    kind: OutcomeKind
    code: str
    answer: Answer | None = None
    error: AuthError | TokenUnavailable | None = None
    begun_s: float = field(default_factory=time.monotonic)
    duration_s: float = 0.0

    @property
    def message(self) -> str:
        return "" if self.error is None else str(self.error)

    @property
    def after_s(self) -> float | None:
        """The token service's Retry-After."""
        return self.error.retry_after_s if isinstance(self.error, TokenUnavailable) else None


class Session:
    """One merchant's requests, from many threads. lease() is asked right before the first byte of one that wants it."""

    def __init__(self, config: ApiConfig, lease: Callable[[], bool], observe: Observe) -> None:
        """Raise SettingsError for a merchant or URL that cannot be used; nothing is contacted yet."""
        if not _MERCHANT.fullmatch(config.merchant):
            raise SettingsError("retail_red.merchant: letters, digits, _ and - only, 1 to 64 of them")
        self.config: Final = config
        self.observe: Final = observe
        self.closed: Final = threading.Event()
        self.segmentation: Final = service("segmentation", config.segmentation_url, allow_http=config.allow_http)
        self.customer: Final = service("customer", config.customer_url, allow_http=config.allow_http)
        self._lease = lease
        self._exchange = Exchange(connect_timeout_s=min(config.connect_timeout_s, config.api_timeout_s))
        auth = service("auth", config.auth_url, allow_http=config.allow_http)
        self._root = f"/v1/merchants/{config.merchant}"
        self._token = Token(config.credentials, config.merchant, auth, self._exchange, observe)
        self._agent = (b"user-agent", f"segstream/{__version__}".encode("ascii"))

    @property
    def token_expires_at(self) -> float:
        """Seconds since the epoch; 0 before the first token."""
        return self._token.expires_at

    def deadline_s(self) -> float:
        """The monotonic time by which something that begins now must have ended."""
        return time.monotonic() + self.config.api_timeout_s

    def ask(
        self,
        operation: str,
        method: str,
        of: Service,
        path: str,
        body: bytes = b"",
        *,
        deadline_s: float,
        leased: bool = False,
    ) -> Sent:
        """Make one request below the merchant's path. Raises ValueError for a path that is not plain, nothing else.

        Every attempt that was or may have been made is observed.
        """
        lease = self._lease if leased else None
        bearer: bytes | None = None
        sent = Sent("unsent", "closed")
        for repeat in (False, True):
            if self.closed.is_set():
                return Sent("unsent", "closed")
            if lease is not None and not lease():
                return Sent("unsent", "lease")
            try:
                bearer = self._token.current(deadline_s) if bearer is None else self._token.renewed(bearer, deadline_s)
            except AuthError as error:
                return Sent("unsent", "credentials", error=error)
            except TokenUnavailable as error:
                return Sent("unsent", "token", error=error)
            form = (b"content-type" if body else b"accept", b"application/json")
            headers = [(b"authorization", bearer), form, self._agent]
            sent = Sent("answered", "")
            try:
                sent.answer = self._exchange.send(
                    method, of, self._root + path, headers, body, deadline_s=deadline_s, lease=lease
                )
                sent.code = str(sent.answer.status)
            except NotSent as fact:
                sent.kind, sent.code = ("unsent" if fact.code == "lease" else "refused"), fact.code
            except MaybeSent as fact:
                sent.kind, sent.code = "unknown", fact.code
            sent.duration_s = time.monotonic() - sent.begun_s
            if sent.kind != "unsent":
                self.observe(operation, sent.code, sent.duration_s)
            if repeat or sent.answer is None or sent.answer.status != 401:
                break
        return sent

    def close(self) -> None:
        """Send nothing any more. A request in flight ends as unknown."""
        self.closed.set()
        self._exchange.close()


def trouble(sent: Sent) -> str:
    """Why a request did not do what it should, as a short label."""
    if sent.answer is None:
        return sent.code
    status = sent.answer.status
    if status in {401, 403}:
        return "auth"
    if status == 429:
        return "throttled"
    if status == 404:
        return "not_found"
    if status in {408, 425} or status >= 500:
        return "server_error"
    return "refused" if 400 <= status < 500 else "unexpected"
