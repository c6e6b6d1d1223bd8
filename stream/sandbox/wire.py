"""HTTP/1.1 on asyncio: h11 reads and writes it, a callback instead of a task answers it.

No framework in between: the faults need the bare connection (to cut it, to say nothing), and a request
costs a fraction of what it costs through ASGI (docs/decisions/sandbox-server.md).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import h11

from stream.sandbox.messages import Reply, Request, reply_json

if TYPE_CHECKING:
    from stream.sandbox.config import SandboxConfig

_REASONS = {200: b"OK", 201: b"Created", 202: b"Accepted", 204: b"No Content"}


class App(Protocol):
    def begin(self, request: Request, wire: Wire) -> None: ...


class Server:
    """Every open connection, so that a stop can end them."""

    def __init__(self, config: SandboxConfig, app: App) -> None:
        self.config = config
        self.app = app
        self.wires: set[Wire] = set()
        self.numbers = 0
        self.loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen; the port. Raises OSError when the address is taken."""
        config = self.config
        self._server = await self.loop.create_server(lambda: Wire(self), config.host, config.port, backlog=512)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for wire in list(self.wires):
            wire.cut()
        if self._server is not None:
            await self._server.wait_closed()


class Wire(asyncio.Protocol):
    """One connection. One request at a time is with the app; what was sent ahead waits in h11."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=65_536)
        self.transport: asyncio.Transport | None = None
        self.request: Request | None = None  # the one that the app has
        self.head: h11.Request | None = None
        self.parts: list[bytes] = []
        self.bytes = 0
        self.idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - create_server gives no other
        self.transport = transport
        self.server.wires.add(self)
        if len(self.server.wires) > self.server.config.connections_max:
            self.cut()
            return
        self._wait_idle()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.server.wires.discard(self)
        if self.idle is not None:
            self.idle.cancel()
        self.transport = None
        if self.request is not None and self.request.on_gone is not None:
            self.request.on_gone()

    def data_received(self, data: bytes) -> None:
        try:
            self.http.receive_data(data)
            self._read()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, str(error))

    def _read(self) -> None:
        while self.request is None and self.transport is not None:
            event = self.http.next_event()
            if isinstance(event, h11.Request):
                self.head = event
                if self.http.they_are_waiting_for_100_continue:
                    self._write(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
            elif isinstance(event, h11.Data):
                self.parts.append(bytes(event.data))
                self.bytes += len(event.data)
                if self.bytes > self.server.config.buffer_bytes_max:
                    self._refuse(413, "more than this server holds")
            elif isinstance(event, h11.EndOfMessage):
                self._begin()
            else:  # NEED_DATA, PAUSED or ConnectionClosed
                if isinstance(event, h11.ConnectionClosed):
                    self.cut()
                return

    def _begin(self) -> None:
        head, server = self.head, self.server
        assert head is not None  # noqa: S101 - h11 gives the head before the end
        if self.idle is not None:
            self.idle.cancel()
            self.idle = None
        server.numbers += 1
        self.request = Request(
            server.numbers,
            server.loop.time(),
            head.method.decode("ascii"),
            head.target.decode("ascii"),
            dict(head.headers),
            b"".join(self.parts),
        )
        self.head, self.parts, self.bytes = None, [], 0
        server.app.begin(self.request, self)

    def answer(self, reply: Reply) -> None:
        """Write the reply, unless the client is gone; then read what it sent ahead."""
        request, self.request = self.request, None
        if self.transport is None or request is None:
            return
        if reply.cut:
            self.cut()
            return
        body = b"" if reply.status == 204 or request.method == "HEAD" else reply.body
        headers = [*reply.headers, (b"content-length", str(len(reply.body)).encode())] if reply.status != 204 else []
        reason = _REASONS.get(reply.status, b"")
        head = self.http.send(h11.Response(status_code=reply.status, headers=headers, reason=reason)) or b""
        data = self.http.send(h11.Data(data=body)) or b"" if body else b""
        end = self.http.send(h11.EndOfMessage()) or b""
        self.transport.write(head + data + end)
        if self.http.our_state is h11.MUST_CLOSE:
            self.transport.close()
            return
        self.http.start_next_cycle()
        self._wait_idle()
        try:
            self._read()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, str(error))

    def cut(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def _wait_idle(self) -> None:
        self.idle = self.server.loop.call_later(self.server.config.idle_s, self.cut)

    def _write(self, event: h11.InformationalResponse) -> None:
        if self.transport is not None:
            self.transport.write(self.http.send(event) or b"")

    def _refuse(self, status: int, why: str) -> None:
        """Say what was wrong with the bytes, where HTTP still allows it, and close."""
        if self.transport is None:
            return
        if self.http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            reply = reply_json(status, {"code": "BadRequest", "message": why})
            headers = [*reply.headers, (b"content-length", str(len(reply.body)).encode()), (b"connection", b"close")]
            parts = [
                self.http.send(h11.Response(status_code=status, headers=headers)),
                self.http.send(h11.Data(data=reply.body)),
                self.http.send(h11.EndOfMessage()),
            ]
            self.transport.write(b"".join(part or b"" for part in parts))
        self.transport.close()
