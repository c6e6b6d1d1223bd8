"""POST /oauth/token by both grants, and the check of bearer tokens."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from stream.sandbox.bodies import plain, unauthorized
from stream.sandbox.messages import Reply, Request, reply_json

if TYPE_CHECKING:
    from stream.sandbox.config import SandboxConfig
    from stream.sandbox.faults import Faults

TOKENS_MAX = 10_000


class Tokens:
    """Tokens are numbered, so that runs repeat: they guard nothing."""

    def __init__(self, config: SandboxConfig, faults: Faults) -> None:
        self.config = config
        self.faults = faults
        self.secret = config.client_secret
        self.good_until_s: dict[bytes, float] = {}
        self.refreshes: set[str] = set()
        self.issued = 0

    def rotate(self, secret: str, *, revoke: bool) -> None:
        """From now on only `secret` gives tokens; `revoke` ends those that are out, refresh tokens included."""
        self.secret = secret
        if revoke:
            self.revoke()

    def revoke(self) -> None:
        self.good_until_s.clear()
        self.refreshes.clear()

    def good(self, request: Request) -> bool:
        scheme, _, token = request.headers.get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and self.good_until_s.get(token.strip(), 0.0) > request.at_s

    def grant(self, request: Request) -> Reply:
        """The answer to POST /oauth/token."""
        form = dict(parse_qsl(request.body.decode("utf-8", "replace")))
        if not self._client_good(request.headers.get(b"authorization", b"")):
            return unauthorized("Client authentication failed", self.faults)
        kind = form.get("grant_type", "")
        allowed = self.faults.word("grants")
        if kind == "client_credentials":
            if allowed == "password":
                return plain(400, "unsupported_grant_type", "This grant is not allowed")
            if form.get("tenantId", self.config.merchant) != self.config.merchant:
                return plain(403, "Forbidden", f"No access to merchant {form['tenantId']}")
            return self._issue(request.at_s, refresh=False)
        if kind not in {"password", "refresh_token"} or allowed == "client_credentials":
            return plain(400, "unsupported_grant_type", "This grant is not allowed")
        if form.get("tenantType") != "merchant" or not form.get("tenantId"):
            return plain(400, "invalid_request", "tenantType and tenantId are needed")
        if form["tenantId"] != self.config.merchant:
            return plain(403, "Forbidden", f"No access to merchant {form['tenantId']}")
        if kind == "refresh_token":
            if form.get("refresh_token") not in self.refreshes:
                return plain(400, "invalid_grant", "The refresh token is not known")
            return self._issue(request.at_s, refresh=False)
        if (form.get("username"), form.get("password")) != (self.config.username, self.config.password):
            return plain(400, "invalid_grant", "User name or password is wrong")
        return self._issue(request.at_s, refresh=True)

    def _client_good(self, header: bytes) -> bool:
        scheme, _, coded = header.partition(b" ")
        if scheme.lower() != b"basic":
            return False
        try:
            given = base64.b64decode(coded, validate=True)
        except binascii.Error:
            return False
        return hmac.compare_digest(given, f"{self.config.client_id}:{self.secret}".encode())

    def _issue(self, at_s: float, *, refresh: bool) -> Reply:
        self.issued += 1
        token = f"token-{self.issued}"
        expires_s = self.faults.number("token_expires_s")
        self.good_until_s[token.encode()] = at_s + expires_s
        if len(self.good_until_s) > TOKENS_MAX:
            del self.good_until_s[next(iter(self.good_until_s))]
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": int(expires_s)}
        if refresh:
            answer["refresh_token"] = f"refresh-{self.issued}"
            self.refreshes.add(f"refresh-{self.issued}")
        return reply_json(200, answer)
