"""The bearer token: fetched once for all threads, renewed early, its secrets read from their files at each fetch."""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

from stream.edge.answers import read_json, retry_after_s
from stream.edge.exchange import Exchange, MaybeSent, NotSent, Service
from stream.errors import AuthError, Unavailable

Grant = Literal["password", "client_credentials"]

EARLY_S_MAX = 300.0
EARLY_SHARE = 0.2
"""A token is renewed when less than the smaller of these is left of it, while the others go on with the old one."""

FAILURE_HOLD_S = 1.0
"""A failed fetch answers everybody for so long: eight threads must not knock eight times."""

LIFETIME_DEFAULT_S = 300.0
LIFETIME_S_MAX = 86_400.0
SECRET_BYTES_MAX = 16_384

_BEARER = re.compile(r"[\x21-\x7e]{1,16384}")
_OAUTH_ERRORS = frozenset(
    {
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who this program is to retail.red. Secrets are named by their files and never held longer than a fetch."""

    client_id: str
    client_secret_file: Path
    grant: Grant = "client_credentials"
    username: str = ""
    password_file: Path | None = None


class TokenUnavailable(Unavailable):
    """No token now; retry_after_s is what the answer asked for, None when it did not."""

    def __init__(self, message: str, *, after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = after_s


class Token:
    """`current` for a call, `renewed` after a 401. Both raise AuthError (credentials refused) or TokenUnavailable."""

    def __init__(
        self,
        credentials: Credentials,
        merchant: str,
        auth: Service,
        exchange: Exchange,
        observe: Callable[[str, str, float], None],
    ) -> None:
        self._credentials = credentials
        self._merchant = merchant
        self._auth = auth
        self._exchange = exchange
        self._observe = observe
        self._fetching = threading.Lock()
        self._bearer: bytes | None = None
        self._refresh_token: str | None = None
        self._until_s = 0.0
        self._early_s = 0.0
        self._failure: AuthError | TokenUnavailable | None = None
        self._failure_until_s = 0.0
        self.expires_at = 0.0
        """Seconds since the epoch, for a gauge; 0 before the first token."""

    def current(self, deadline_s: float) -> bytes:
        """Return the Authorization header's value, fetching when there is none, it expired, or soon will."""
        bearer, now_s = self._bearer, time.monotonic()
        if bearer is not None and now_s < self._early_s:
            return bearer
        if bearer is not None and now_s < self._until_s:
            self._renew_early(deadline_s)
            return self._bearer or bearer
        with _held(self._fetching, deadline_s):
            if self._bearer is None or time.monotonic() >= self._until_s:
                self._fetch(deadline_s, fresh=False)
            return self._bearer or b""

    def renewed(self, stale: bytes, deadline_s: float) -> bytes:
        """Return another token than the one that was refused; whoever comes first fetches it, by the full grant."""
        with _held(self._fetching, deadline_s):
            if self._bearer is None or self._bearer == stale:
                self._fetch(deadline_s, fresh=True)
            return self._bearer or b""

    def _renew_early(self, deadline_s: float) -> None:
        """Renew if nobody else does. A failure is no news yet: the token in hand is good until it expires."""
        if not self._fetching.acquire(blocking=False):
            return
        try:
            if time.monotonic() >= self._early_s:
                self._fetch(deadline_s, fresh=False)
        except (AuthError, TokenUnavailable):
            self._early_s = min(self._until_s, time.monotonic() + 5 * FAILURE_HOLD_S)
        finally:
            self._fetching.release()

    def _fetch(self, deadline_s: float, *, fresh: bool) -> None:
        if self._failure is not None and time.monotonic() < self._failure_until_s:
            raise self._failure.with_traceback(None)
        self._failure = None
        try:
            answer = self._granted(deadline_s, fresh=fresh)
        except (AuthError, TokenUnavailable) as failure:
            self._failure, self._failure_until_s = failure, time.monotonic() + FAILURE_HOLD_S
            raise
        lifetime_s = answer.get("expires_in")
        if isinstance(lifetime_s, bool) or not isinstance(lifetime_s, (int, float)) or not lifetime_s > 0:
            lifetime_s = LIFETIME_DEFAULT_S
        lifetime_s = min(float(lifetime_s), LIFETIME_S_MAX)
        now_s = time.monotonic()
        refresh_token = answer.get("refresh_token")
        if isinstance(refresh_token, str) and refresh_token:
            self._refresh_token = refresh_token  # an answer without one leaves the old one valid
        self._until_s = now_s + lifetime_s
        self._early_s = self._until_s - min(EARLY_S_MAX, EARLY_SHARE * lifetime_s)
        self.expires_at = time.time() + lifetime_s
        self._bearer = b"Bearer " + answer["access_token"].encode("ascii")

    def _granted(self, deadline_s: float, *, fresh: bool) -> dict[str, Any]:
        own = self._credentials
        if own.grant == "client_credentials":
            return self._post({"grant_type": "client_credentials"}, deadline_s)
        tenant = {"tenantType": "merchant", "tenantId": self._merchant}
        if self._refresh_token is not None and not fresh:
            try:
                form = {"grant_type": "refresh_token", "refresh_token": self._refresh_token, **tenant}
                return self._post(form, deadline_s)
            except AuthError:
                self._refresh_token = None  # too old or revoked: the password says it anew
        if own.password_file is None:
            raise AuthError("the password grant needs retail_red.password_file")
        password = _secret("retail_red.password_file", own.password_file)
        form = {"grant_type": "password", "username": own.username, "password": password, **tenant}
        return self._post(form, deadline_s)

    def _post(self, form: dict[str, str], deadline_s: float) -> dict[str, Any]:
        secret = _secret("retail_red.client_secret_file", self._credentials.client_secret_file)
        basic = base64.b64encode(f"{self._credentials.client_id}:{secret}".encode())
        headers = [
            (b"authorization", b"Basic " + basic),
            (b"content-type", b"application/x-www-form-urlencoded"),
            (b"accept", b"application/json"),
        ]
        begun_s = time.monotonic()
        code = ""
        try:
            body = urlencode(form).encode("ascii")
            answer = self._exchange.send("POST", self._auth, "/oauth/token", headers, body, deadline_s=deadline_s)
            code = str(answer.status)
        except (NotSent, MaybeSent) as failure:
            code = failure.code
            raise TokenUnavailable(f"the token service did not answer ({code})") from None
        finally:
            self._observe("token", code, time.monotonic() - begun_s)
        try:
            value = read_json(answer)
        except ValueError:
            value = None
        value = value if isinstance(value, dict) else {}
        if answer.status in {400, 401, 403}:
            name = value.get("error")
            name = f", {name}" if isinstance(name, str) and name in _OAUTH_ERRORS else ""
            raise AuthError(
                f"the token service refused the credentials (HTTP {answer.status}{name}, {form['grant_type']})",
                advice="check retail_red.client_id, the secret files and the grant",
            )
        if answer.status not in {200, 201}:
            raise TokenUnavailable(f"the token service answered HTTP {answer.status}", after_s=retry_after_s(answer))
        token, kind = value.get("access_token"), value.get("token_type", "Bearer")
        if not (isinstance(token, str) and _BEARER.fullmatch(token) and str(kind).lower() == "bearer"):
            raise TokenUnavailable("the token service's answer holds no bearer token")
        return value


class _held:  # noqa: N801 - reads as a participle: with _held(lock, deadline_s)
    """Hold a lock, waiting no longer than a call may take; raise TokenUnavailable when that time is over."""

    def __init__(self, lock: threading.Lock, deadline_s: float) -> None:
        self._lock = lock
        self._deadline_s = deadline_s

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=max(0.0, self._deadline_s - time.monotonic())):
            raise TokenUnavailable("no token yet: another thread still waits for the token service")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _secret(name: str, path: Path) -> str:
    """Read a secret file without its line end; raise AuthError that names the file, never its text."""
    try:
        with path.open("rb") as file:
            raw = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise AuthError(f"{name}: cannot read {path}: {error.strerror}") from None
    try:
        text = raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise AuthError(f"{name}: {path} is not UTF-8 text") from None
    if not text or len(raw) > SECRET_BYTES_MAX:
        raise AuthError(f"{name}: {path} is empty or larger than {SECRET_BYTES_MAX} bytes")
    return text
