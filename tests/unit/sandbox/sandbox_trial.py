import time
from collections.abc import Callable
from typing import Any, Self

import httpx

from stream.sandbox import Sandbox, SandboxConfig
from stream.sandbox.config import CLIENT_SECRET

BASE = "/v1/merchants/10006"


def wait_until(what: Callable[[], bool], limit_s: float = 10.0) -> None:
    """For what ends in its own time: the sandbox goes on after it has answered."""
    end = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < end, f"it did not happen within {limit_s:g} s"
        time.sleep(0.01)


class Trial:
    """A running sandbox and a client with a token."""

    def __init__(self, **config: Any) -> None:
        self.sandbox = Sandbox(SandboxConfig(**{"segments": ("vip",), **config}))

    def __enter__(self) -> Self:
        self.sandbox.__enter__()
        self.http = httpx.Client(base_url=self.sandbox.url, timeout=5, trust_env=False)
        self.sign_in()
        return self

    def __exit__(self, *error: object) -> None:
        self.http.close()
        self.sandbox.__exit__(*error)

    def token(self, secret: str = CLIENT_SECRET, **form: str) -> httpx.Response:
        form = form or {"grant_type": "client_credentials"}
        return self.http.post("/oauth/token", auth=("sandbox", secret), data=form, headers={"authorization": ""})

    def sign_in(self, secret: str = CLIENT_SECRET) -> None:
        self.http.headers["authorization"] = "Bearer " + self.token(secret).json()["access_token"]

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        return self.http.request(method, BASE + path, json=body, params=query or None)

    def add(self, *ids: str, code: str = "vip", **query: Any) -> httpx.Response:
        return self.call("POST", f"/segments/{code}/members", body(*ids), **query)

    def remove(self, *ids: str, code: str = "vip", **query: Any) -> httpx.Response:
        return self.call("DELETE", f"/segments/{code}/members", body(*ids), **query)

    def in_flight(self, phase: str) -> int:
        """Rows of requests that are open, accepted, or given up by their client and landing late."""
        return int(self.sandbox.stats()["in_flight_rows"][phase])

    def members(self, code: str = "vip") -> set[str]:
        return self.sandbox.members(code)

    def faults(self, **values: Any) -> None:
        self.sandbox.faults(**values)


def body(*ids: str, kind: str = "customer") -> dict[str, Any]:
    return {"members": [{"id": one, "type": kind} for one in ids]}
