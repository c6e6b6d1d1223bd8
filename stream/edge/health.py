"""The port with /metrics, /livez and /readyz. It only answers; nothing on it changes anything."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self

from prometheus_client.exposition import choose_encoder

from stream.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

CONNECTIONS_MAX: Final = 16
CONNECTION_TIMEOUT_S: Final = 5.0


class Health:
    """Whether the loop lives and is ready, as it says itself. Safe to use from any thread.

    Alive means that the loop beat within limit_s: never Kafka, the API, lag or commits, whose trouble a restart only
    makes worse. Ready means that no named obstacle is left. clock: monotonic seconds.
    """

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit_s = limit_s
        self._clock = clock
        self._beat_s = clock()
        self._obstacles: dict[str, str] = {"start": "has not started yet"}
        self._lock = threading.Lock()

    def beat(self) -> None:
        """Note that the loop came by."""
        self._beat_s = self._clock()

    def age_s(self) -> float:
        """Seconds since the last beat."""
        return max(0.0, self._clock() - self._beat_s)

    def alive(self) -> bool:
        return self.age_s() <= self.limit_s

    def not_ready(self, name: str, why: str) -> None:
        """Name an obstacle; `why` is shown to everybody who can reach the port."""
        with self._lock:
            self._obstacles[name] = why

    def ready(self, name: str) -> None:
        """Take an obstacle away; the one called start is there from the beginning."""
        with self._lock:
            self._obstacles.pop(name, None)

    def obstacles(self) -> dict[str, str]:
        with self._lock:
            return dict(self._obstacles)


class HealthServer:
    """Serves one registry and one Health on a thread of its own, to at most CONNECTIONS_MAX at a time.

    Raises Unavailable when the address cannot be listened on. Port 0 takes a free one: see `port`.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, health: Health) -> None:
        class Handler(_Handler):
            pass

        Handler.registry, Handler.health = registry, health
        try:
            self._server = _Server((host, port), Handler)
        except OSError as error:
            raise Unavailable(
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                advice="another process has the port, or metrics.host is no address of this machine",
            ) from error
        self.host = host
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="health", daemon=True
        )

    def start(self) -> Self:
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop serving; safe to call twice."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._room = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        # whoever holds connections open must not be able to take the process's threads or memory
        if not self._room.acquire(timeout=CONNECTION_TIMEOUT_S):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore it: a client that went away is no event."""


class _Handler(BaseHTTPRequestHandler):
    registry: CollectorRegistry
    health: Health
    timeout = CONNECTION_TIMEOUT_S
    server_version = "segstream"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, kind = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, kind, encode(self.registry))
        elif path == "/livez":
            alive = self.health.alive()
            age_s = round(self.health.age_s(), 3)
            self._json(200 if alive else 503, {"alive": alive, "beat_age_s": age_s, "limit_s": self.health.limit_s})
        elif path == "/readyz":
            obstacles = self.health.obstacles()
            self._json(503 if obstacles else 200, {"ready": not obstacles, "obstacles": obstacles})
        else:
            self._json(404, {"paths": ["/metrics", "/livez", "/readyz"]})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _json(self, status: int, body: dict[str, Any]) -> None:
        self._answer(status, "application/json", json.dumps(body).encode() + b"\n")

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Probes come every few seconds: nothing is logged."""
