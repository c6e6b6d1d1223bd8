"""A destination in a process of its own: the member routes and the token, 20 ms late, every row applied. Costs little.

GET /stats gives what was done to it; GET /members?SEGMENT the ids of one segment. Single-threaded, keep-alive only.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time


class Sink:
    def __init__(self, latency_s: float, *, timed: bool = False) -> None:
        self.latency_s = latency_s
        self.timed = timed
        self.members: dict[str, set[str]] = {}
        self.requests = 0
        self.rows = 0
        self.first_s = 0.0
        self.last_s = 0.0
        self.accepted: dict[str, float] = {}

    def answer(self, method: bytes, path: str, body: bytes) -> tuple[float, bytes]:
        if path.startswith("/oauth"):
            return 0.0, reply(200, {"access_token": "t", "token_type": "Bearer", "expires_in": 3600})
        if path == "/stats":
            return 0.0, reply(
                200,
                {
                    "requests": self.requests,
                    "rows": self.rows,
                    "first_s": self.first_s,
                    "last_s": self.last_s,
                    "sizes": {k: len(v) for k, v in self.members.items()},
                },
            )
        if path == "/accepted":
            return 0.0, reply(200, self.accepted)
        if path.startswith("/members?"):
            return 0.0, reply(200, sorted(self.members.get(path.split("?", 1)[1], ())))
        code = path.split("/segments/", 1)[1].split("/", maxsplit=1)[0]
        ids = [member["id"] for member in json.loads(body)["members"]]
        present = self.members.setdefault(code, set())
        if method == b"POST":
            present.update(ids)
        else:
            present.difference_update(ids)
        now = time.time()
        if self.timed:
            for member in ids:
                self.accepted.setdefault(member, now + self.latency_s)
        self.first_s = self.first_s or now
        self.last_s = now
        self.requests += 1
        self.rows += len(ids)
        return self.latency_s, reply(201 if method == b"POST" else 200, {"errors": []})


def reply(status: int, body: object) -> bytes:
    data = json.dumps(body).encode()
    return (
        b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(data)) + data
    )


class Connection(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line[15:])
            if len(self.buffer) < end + 4 + length:
                return
            body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
            method, path, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
            wait_s, answer = self.sink.answer(method, path.decode(), body)
            assert self.transport is not None
            if wait_s:
                asyncio.get_running_loop().call_later(wait_s, self.transport.write, answer)
            else:
                self.transport.write(answer)


async def serve(latency_s: float, *, timed: bool) -> None:
    sink = Sink(latency_s, timed=timed)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(sink), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), timed="timed" in sys.argv))
