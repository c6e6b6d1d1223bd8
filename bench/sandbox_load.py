"""CPU that the sandbox needs for a rate of member requests: python bench/sandbox_load.py [rate] [members] [seconds].

With a fourth argument `starlette` the requests go to the smallest Starlette route that decodes them.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

STARLETTE = """
import asyncio, msgspec, uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
class M(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    type: str
class B(msgspec.Struct, forbid_unknown_fields=True):
    members: list[M]
decode = msgspec.json.Decoder(B).decode
held = set()
async def members(request):
    held.update(m.id for m in decode(await request.body()).members)
    await asyncio.sleep(0.02)
    return Response(b'{"errors":[]}', 201, media_type="application/json")
async def token(request):
    return Response(b'{"access_token":"token-1"}', 200, media_type="application/json")
app = Starlette(routes=[Route("/v1/merchants/10006/segments/{code}/members", members, methods=["POST", "DELETE"]),
    Route("/oauth/token", token, methods=["POST"])])
config = uvicorn.Config(app, port=0, log_level="error", access_log=False)
server = uvicorn.Server(config)
async def main():
    task = asyncio.create_task(server.serve())
    while not server.started: await asyncio.sleep(0.01)
    print(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", flush=True)
    await task
asyncio.run(main())
"""
SLOTS = 16


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


async def slot(port: int, requests: list[bytes], until: float, per_s: float, done: list[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    turn, due = 0, time.monotonic()
    while time.monotonic() < until:
        writer.write(requests[turn % len(requests)])
        status, _ = await answer(reader)
        assert status in {201, 202}, status
        done[0] += 1
        turn, due = turn + 1, due + 1 / per_s
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    writer.close()


def request(method: str, segment: str, first: int, members: int, token: str) -> bytes:
    rows = ",".join(
        f'{{"id":"{i:08d}-aaaa-4bbb-8ccc-123456789abc","type":"customer"}}' for i in range(first, first + members)
    )
    body = f'{{"members":[{rows}]}}'.encode()
    head = (
        f"{method} /v1/merchants/10006/segments/{segment}/members HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\n"
        f"authorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def drive(url: str, rate: float, members: int, seconds: float) -> int:
    port = int(url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    form = b"grant_type=client_credentials"
    basic = b"c2FuZGJveDpzYW5kYm94LXNlY3JldA=="
    writer.write(
        b"POST /oauth/token HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic " + basic
        + b"\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: %d\r\n\r\n" % len(form) + form
    )  # fmt: skip
    _, body = await answer(reader)
    token = body.decode().partition('"access_token":"')[2].partition('"')[0]
    writer.close()
    done = [0]
    plans = [
        [
            request(method, f"s{n}", n * 100_000 + k * members, members, token)
            for k in range(20)
            for method in ("POST", "DELETE")
        ]
        for n in range(SLOTS)
    ]
    until = time.monotonic() + seconds
    await asyncio.gather(*(slot(port, plan, until, rate / SLOTS, done) for plan in plans))
    return done[0]


def main() -> None:
    rate, members, seconds = (
        (float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])) if sys.argv[3:] else (400.0, 500, 5.0)
    )
    command = [sys.executable, "-m", "stream.sandbox", "--port", "0", "--create-segments", "--latency-ms", "20"]
    if sys.argv[4:] == ["starlette"]:
        command = [sys.executable, "-c", STARLETTE]
    root = str(Path(__file__).parents[1])
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root})
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    start_s = _cpu(server.pid)
    done = asyncio.run(drive(url, rate, members, seconds))
    used_s = _cpu(server.pid) - start_s
    server.terminate()
    server.wait(10)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(
        f"{done / seconds:.0f} requests/s of {members} members: {used_s / done * 1e6:.0f} us CPU a request, "
        f"{used_s / seconds:.0%} of a core, {peak} MiB"
    )


def _cpu(pid: int) -> float:
    """Seconds of CPU that the process used."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
