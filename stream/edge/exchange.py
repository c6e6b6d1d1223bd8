"""One HTTP/1.1 exchange over httpcore: an absolute deadline, and certainty whether anything was written.

Above httpcore stand clients that follow redirects, read proxies from the environment and rewrite paths;
here is none of that, so the target that is checked is the target that is sent.
"""

from __future__ import annotations

import re
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import certifi
import httpcore

from stream.errors import SettingsError

ANSWER_BYTES_MAX = 8 * 1024 * 1024
"""Of an answer's body, decompressed. 500 item errors with long messages are a tenth of it."""

SERVICES = 3
KEEPALIVE_S = 4.0
"""Idle connections are given up before a Node server does it (5 s): a request written into a closing connection
would end unknown."""

WRITE_BYTES = 65536
"""Per write, so that the deadline is looked at between writes of a long body."""

_TARGET = re.compile(r"/[A-Za-z0-9._~/-]*(\?[A-Za-z0-9._~%=&+-]*)?")
_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")


class NotSent(Exception):
    """Nothing of the request was written. code is a short label."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class MaybeSent(Exception):
    """Some of the request was written and no whole answer was read: it may still be applied. code is a short label."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Service(NamedTuple):
    """Where one service listens; path is the prefix of all its targets, without a slash at its end."""

    scheme: bytes
    host: bytes
    port: int | None
    path: str
    host_header: bytes


class Answer(NamedTuple):
    """status, the headers with lower-case names, the decompressed body; `whole` when all of it was read and decoded."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    whole: bool


def service(name: str, url: str, *, allow_http: bool = False) -> Service:
    """Take a base URL apart; raise SettingsError when it is not https (http: loopback only, unless allowed) or odd."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        port = parts.port
        host_bytes = host.encode("ascii")
    except ValueError as error:
        raise SettingsError(f"retail_red.urls.{name}: the host or port is not valid") from error
    if parts.username or parts.password or parts.query or parts.fragment or not host:
        raise SettingsError(f"retail_red.urls.{name}: expected https://host[:port][/path] and nothing else")
    if parts.scheme != "https" and not (parts.scheme == "http" and (allow_http or _LOOPBACK.fullmatch(host))):
        raise SettingsError(f"retail_red.urls.{name}: must be https", advice="http needs a loopback host or allow_http")
    path = parts.path.rstrip("/")
    try:
        check_target(path + "/")
    except ValueError:
        raise SettingsError(f"retail_red.urls.{name}: its path may hold plain segments only") from None
    literal = f"[{host}]" if ":" in host else host
    header = literal if port is None else f"{literal}:{port}"
    return Service(parts.scheme.encode(), host_bytes, port, path, header.encode())


def check_target(target: str) -> None:
    """Raise ValueError unless the target is plain: no dot segment, empty segment, fragment, or escape in its path."""
    path = target.partition("?")[0]
    if not _TARGET.fullmatch(target) or "//" in path or any(part in {".", ".."} for part in unquote(path).split("/")):
        raise ValueError("a request target that could be read as another one was refused")


class _Attempt:
    """What the wire must know of the request that its thread is making."""

    __slots__ = ("deadline_s", "lease", "wrote")

    def __init__(self, deadline_s: float, lease: Callable[[], bool] | None) -> None:
        self.deadline_s = deadline_s
        self.lease = lease
        self.wrote = False

    def left_s(self) -> float:
        left_s = self.deadline_s - time.monotonic()
        if left_s <= 0:
            raise httpcore.ReadTimeout("deadline")
        return left_s

    def before_write(self) -> None:
        """Ask for the lease at the last moment: after the wait for a connection, its handshake, a paused process."""
        if not self.wrote:
            if self.lease is not None and not self.lease():
                raise NotSent("lease")
            self.wrote = True


class _Wire(httpcore.NetworkStream):
    """A stream whose operations end by the deadline of its thread's attempt (httpcore's time-outs are per read)."""

    def __init__(self, inner: httpcore.NetworkStream, local: threading.local) -> None:
        self._inner = inner
        self._local = local

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the deadline replaces it
        return self._inner.read(max_bytes, self._local.attempt.left_s())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - the deadline replaces it
        attempt: _Attempt = self._local.attempt
        left_s = attempt.left_s()
        attempt.before_write()
        if len(buffer) <= WRITE_BYTES:
            self._inner.write(buffer, left_s)
            return
        view = memoryview(buffer)
        for start in range(0, len(view), WRITE_BYTES):
            self._inner.write(bytes(view[start : start + WRITE_BYTES]), attempt.left_s())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left_s = self._local.attempt.left_s()
        limit_s = left_s if timeout is None else min(timeout, left_s)
        return _Wire(self._inner.start_tls(ssl_context, server_hostname, limit_s), self._local)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Network(httpcore.SyncBackend):
    def __init__(self, local: threading.local) -> None:
        self._local = local

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left_s = self._local.attempt.left_s()
        limit_s = left_s if timeout is None else min(timeout, left_s)
        return _Wire(super().connect_tcp(host, port, limit_s, local_address, socket_options), self._local)


class Exchange:
    """Connections for many threads, each thread with its own.

    One pool for all would take its lock, and ask every idle connection whether it still lives, for each request: with 32 threads
    that cost more than the requests themselves.
    """

    def __init__(self, *, connect_timeout_s: float) -> None:
        # Made once: httpcore would read the certificates again for each connection. The system's are trusted, too.
        self._tls = ssl.create_default_context()
        self._tls.load_verify_locations(cafile=certifi.where())
        self._local = threading.local()
        self._timeout = {"connect": connect_timeout_s, "pool": connect_timeout_s, "read": None, "write": None}
        self._pools: list[httpcore.ConnectionPool] = []
        self._pools_lock = threading.Lock()

    def _pool(self) -> httpcore.ConnectionPool:
        """This thread's connections: one to each service (auth, segmentation, customer), and one to spare."""
        pool: httpcore.ConnectionPool | None = getattr(self._local, "pool", None)
        if pool is None:
            pool = self._local.pool = httpcore.ConnectionPool(
                ssl_context=self._tls,
                max_connections=SERVICES + 1,
                max_keepalive_connections=SERVICES + 1,
                keepalive_expiry=KEEPALIVE_S,
                network_backend=_Network(self._local),
            )
            with self._pools_lock:
                self._pools.append(pool)
        return pool

    def send(
        self,
        method: str,
        to: Service,
        target: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        *,
        deadline_s: float,
        lease: Callable[[], bool] | None = None,
    ) -> Answer:
        """Send one request and read its answer before the monotonic time deadline_s. The target excludes to.path.

        Raises NotSent, MaybeSent, and ValueError for a target that is not plain.
        """
        raw = to.path + target
        check_target(raw)
        request = httpcore.Request(
            method,
            httpcore.URL(scheme=to.scheme, host=to.host, port=to.port, target=raw.encode("ascii")),
            headers=[(b"host", to.host_header), (b"content-length", b"%d" % len(body)), *headers],
            content=body,
            extensions={"timeout": self._timeout},
        )
        attempt = self._local.attempt = _Attempt(deadline_s, lease)
        try:
            response = self._pool().handle_request(request)
        except NotSent:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, only whether something was written counts
            raise (MaybeSent if attempt.wrote else NotSent)(_label(error)) from None
        try:
            return self._read(response)
        finally:
            response.close()

    def _read(self, response: httpcore.Response) -> Answer:
        headers = {name.lower(): value for name, value in response.headers}
        chunks: list[bytes] = []
        size = 0
        whole = True
        try:
            for chunk in response.iter_stream():
                size += len(chunk)
                if size > ANSWER_BYTES_MAX:
                    whole = False
                    break
                chunks.append(chunk)
        except Exception:  # noqa: BLE001 - the status is known: a body that broke off is only not whole
            whole = False
        body = b"".join(chunks)
        encoding = headers.get(b"content-encoding", b"identity").lower()
        if encoding != b"identity" and whole:
            body, whole = _decompressed(body, encoding)
        return Answer(response.status, headers, body, whole)

    def close(self) -> None:
        """Close every connection; a request in flight ends as MaybeSent."""
        with self._pools_lock:
            pools, self._pools = self._pools, []
        for pool in pools:
            pool.close()


def _decompressed(body: bytes, encoding: bytes) -> tuple[bytes, bool]:
    """Undo an encoding that was never asked for, within the limit: errors[] inside must not be overlooked."""
    if encoding not in {b"gzip", b"x-gzip", b"deflate"}:
        return b"", False
    inflate = zlib.decompressobj(wbits=47)  # gzip or zlib, by its header
    try:
        plain = inflate.decompress(body, ANSWER_BYTES_MAX)
    except zlib.error:
        return b"", False
    return plain, inflate.eof


def _label(error: Exception) -> str:
    if isinstance(error, httpcore.TimeoutException):
        return "timeout"
    if isinstance(error, httpcore.ConnectError):
        return "tls" if isinstance(error.__cause__ or error.__context__, ssl.SSLError) else "connect"
    if isinstance(error, httpcore.LocalProtocolError):
        return "local"
    return "dropped"
