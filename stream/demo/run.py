"""What `segstream demo` does: start everything, stir, kill, stop, compare."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx

from stream.demo.broker import EmbeddedBroker
from stream.demo.shop import SEGMENTS, TOPIC, Shop
from stream.errors import Unavailable

MERCHANT: Final = "10006"
SETTLE_DEADLINE_S: Final = 60.0
SESSION_S: Final = 6
API_TIMEOUT_S: Final = 3
SETTLE_S: Final = 1
LATE_S: Final = API_TIMEOUT_S + SETTLE_S
FAULTS: Final = ("removal_delay_s=[0.1,0.8]", "error_share=0.01", "row_error_share=0.002")


class Sandbox:
    """The sandbox in a process of its own, and its public API."""

    def __init__(self, folder: Path, faults: tuple[str, ...]) -> None:
        (folder / "secret").write_text("sandbox-secret")
        command = [sys.executable, "-m", "stream.sandbox", "--port", "0", "--merchant", MERCHANT, "--latency-ms", "20"]
        for code in SEGMENTS:
            command += ["--segment", code]
        for fault in faults:
            command += ["--fault", fault]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own command
        line = (self._process.stdout.readline() if self._process.stdout else "").strip()
        if "http://" not in line:
            raise Unavailable("the sandbox did not start")
        self.url = "http://" + line.split("http://", 1)[1].split()[0].rstrip("/")
        self._client = httpx.Client(base_url=self.url, timeout=10, trust_env=False)
        answer = self._client.post(
            "/oauth/token", data={"grant_type": "client_credentials"}, auth=("sandbox", "sandbox-secret")
        )
        answer.raise_for_status()
        self._client.headers["authorization"] = f"Bearer {answer.json()['access_token']}"

    def members(self, code: str) -> set[str]:
        """A segment's members, by the public GET, page by page."""
        found: set[str] = set()
        after: str | None = None
        while True:
            query: dict[str, Any] = {"limit": 1000, **({"after": after} if after else {})}
            answer = self._client.get(f"/v1/merchants/{MERCHANT}/segments/{code}/members", params=query)
            if answer.status_code != 200:
                time.sleep(0.05)  # the faults are for everybody
                continue
            page = answer.json()
            found.update(member["id"] for member in page["members"])
            after = page["meta"]["cursors"]["after"]
            if not after:
                return found

    def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.get("/_sandbox/stats").json()
        return found

    def close(self) -> None:
        self._client.close()
        _end(self._process)


def _end(process: subprocess.Popen[Any], patience_s: float = 15.0) -> int:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def settings_text(broker: str, sandbox: str, secret: Path) -> str:
    """The settings file of the demo's consumer: the shortest that works, plus what the embedded broker cannot do."""
    return json.dumps(
        {
            "kafka": {"bootstrap.servers": broker, "group.id": "demo", "session.timeout.ms": SESSION_S * 1000,
                      "heartbeat.interval.ms": 1000, "topic.metadata.refresh.interval.ms": 1000},
            "transactions": False,
            "state": {"create_topics": False},
            "retail_red": {
                "merchant": MERCHANT, "client_id": "sandbox", "client_secret_file": str(secret),
                "urls": {"auth": sandbox, "segmentation": sandbox, "customer": sandbox},
                "api_timeout_s": API_TIMEOUT_S, "settle_s": SETTLE_S,
            },
            "start": "beginning",
            "drain_s": 10,
            "tables": {TOPIC: {"segment": {"column": "segment_code"}, "member": {"id": "customer_id"}}},
            "metrics": {"host": "127.0.0.1", "port": 0},
        },
        indent=2,
    )  # fmt: skip


class Consumer:
    """`segstream run` in a process of its own, its log in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.log = folder / "consumer.log"
        self._process: subprocess.Popen[Any] | None = None

    def start(self) -> None:
        with self.log.open("a") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "stream", "run", "-c", str(self._folder / "segstream.yaml")],
                stderr=log, stdout=log, env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        return _end(self._process, 30) if self._process is not None else 0


def demo(duration_s: float, rate: float, seed: int, say: Callable[[str], None]) -> int:
    """Run it. 0 when the segments equal the table at the end, 1 when they differ. Raises SegstreamError."""
    with tempfile.TemporaryDirectory(prefix="segstream-demo-") as name:
        folder = Path(name)
        broker = EmbeddedBroker()
        sandbox = Sandbox(folder, FAULTS)
        consumer = Consumer(folder)
        try:
            shop = Shop(broker.producer(), seed)
            (folder / "segstream.yaml").write_text(settings_text(broker.address, sandbox.url, folder / "secret"))
            say(f"broker {broker.address}  sandbox {sandbox.url}  {rate:g} changes/s for {duration_s:g} s, seed {seed}")
            _stir(shop, consumer, sandbox, duration_s, rate, say)
            return _compare(shop, consumer, sandbox, broker, say)
        finally:
            consumer.stop()
            sandbox.close()
            broker.close()


def _stir(
    shop: Shop, consumer: Consumer, sandbox: Sandbox, duration_s: float, rate: float, say: Callable[[str], None]
) -> None:
    for _ in range(500):
        shop.act()
    shop.flush()
    consumer.start()
    say("500 changes are there; the consumer joins its group, reads them to the end, and begins to send")
    started_s = time.monotonic()
    killed = False
    said_s = started_s
    done = 0
    try:
        while (passed_s := time.monotonic() - started_s) < duration_s:
            while done < passed_s * rate:
                shop.act()
                done += 1
            shop.flush()
            if not killed and passed_s > duration_s * 0.5:
                say("kill -9: the consumer dies in the middle of its work, and is started again")
                say(f"  Kafka keeps its partitions for its session, {SESSION_S} s; then it waits {LATE_S} s")
                say("  before it sends, so that no request of its former self can land after its own")
                consumer.kill()
                consumer.start()
                killed = True
            if not consumer.alive:
                raise Unavailable(f"the consumer ended by itself: {consumer.log.read_text()[-2000:]}")
            if time.monotonic() - said_s >= 3:
                said_s = time.monotonic()
                _line(shop, sandbox, passed_s, say)
            time.sleep(0.02)
    except KeyboardInterrupt:
        say("stopping")


def _line(shop: Shop, sandbox: Sandbox, passed_s: float, say: Callable[[str], None]) -> None:
    truth = shop.truth()
    wanted = sum(map(len, truth.values()))
    there = sum(len(truth[code] & sandbox.members(code)) for code in SEGMENTS)
    stats = sandbox.stats()
    say(f"{passed_s:5.1f} s  {shop.events:6d} changes  {there} of {wanted} members there  {stats['requests']} requests")


def _compare(
    shop: Shop, consumer: Consumer, sandbox: Sandbox, broker: EmbeddedBroker, say: Callable[[str], None]
) -> int:
    truth = shop.truth()
    deadline_s = time.monotonic() + SETTLE_DEADLINE_S
    while True:
        found = {code: sandbox.members(code) for code in SEGMENTS}
        if found == truth or time.monotonic() > deadline_s:
            break
        time.sleep(0.25)
    code = consumer.stop()
    broker.check_whole()
    # once more, after the consumer ended: nothing of it may still change anything
    time.sleep(1.0)
    found = {code: sandbox.members(code) for code in SEGMENTS}
    for segment in SEGMENTS:
        missing, extra = truth[segment] - found[segment], found[segment] - truth[segment]
        mark = "equal" if not missing and not extra else f"DIFFERS: {len(missing)} missing, {len(extra)} too many"
        say(f"  {segment:14s} {len(truth[segment]):6d} members  {mark}")
    equal = found == truth
    say(
        f"{'equal' if equal else 'NOT EQUAL'}: {sum(map(len, truth.values()))} members after {shop.events} changes "
        f"({shop.records} records), consumer exit code {code}"
    )
    if not equal or code:
        say(consumer.log.read_text()[-3000:])
    return 0 if equal and code == 0 else 1
