"""Any request of one merchant, its answer as it came: for a command that asks what retail.red does, never for the walk."""

from __future__ import annotations

import time
from typing import Final, Literal

from stream import __version__
from stream.edge.api import ApiConfig
from stream.edge.exchange import Answer, Exchange, service
from stream.edge.token import Token

Which = Literal["segmentation", "customer"]


class Direct:
    """One connection's worth of requests, from one thread, each made once."""

    def __init__(self, config: ApiConfig) -> None:
        """Raise SettingsError for a URL that cannot be used; nothing is contacted yet."""
        self._timeout_s = config.api_timeout_s
        self._exchange = Exchange(connect_timeout_s=min(config.connect_timeout_s, config.api_timeout_s))
        auth = service("auth", config.auth_url, allow_http=config.allow_http)
        self._services: Final = {
            "segmentation": service("segmentation", config.segmentation_url, allow_http=config.allow_http),
            "customer": service("customer", config.customer_url, allow_http=config.allow_http),
        }
        self._root = f"/v1/merchants/{config.merchant}"
        self._token = Token(config.credentials, config.merchant, auth, self._exchange, lambda *_: None)
        self._agent = (b"user-agent", f"segstream/{__version__}".encode("ascii"))

    def target(self, of: Which, path: str, query: str = "") -> str:
        """The request target as it goes over the wire: its length is what a server's limit counts."""
        return self._services[of].path + self._target(path, query)

    def _target(self, path: str, query: str) -> str:
        return self._root + path + (f"?{query}" if query else "")

    def ask(self, method: str, of: Which, path: str, query: str = "", body: bytes = b"") -> Answer:
        """Make one request within api_timeout_s, with a fresh token after a 401; query is encoded already.

        Raises AuthError and TokenUnavailable of the token, NotSent, MaybeSent, and ValueError for an odd target.
        """
        deadline_s = time.monotonic() + self._timeout_s
        target = self._target(path, query)
        bearer = self._token.current(deadline_s)
        for repeat in (False, True):
            headers = [(b"authorization", bearer), (b"accept", b"application/json"), self._agent]
            if body:
                headers.append((b"content-type", b"application/json"))
            answer = self._exchange.send(method, self._services[of], target, headers, body, deadline_s=deadline_s)
            if answer.status != 401 or repeat:
                break
            bearer = self._token.renewed(bearer, deadline_s)
        return answer

    def close(self) -> None:
        self._exchange.close()
