"""python -m bench.walk [--records 1000000] [--formats json,avro] [--slots 32]

On a real broker, in one run: the ceiling of consume(10000), decoding alone, each step of the core alone, the whole walk of
`segstream run` against a sink in another process with 20 ms latency, and freshness at a steady 2,000 events/s. Figures are of this
machine in this run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import confluent_kafka as ck

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from stack.broker import Broker  # noqa: E402 - behind the path that it needs
from stack.kit import kit  # noqa: E402 - behind the path that it needs

from bench.walk.events import SCHEMAS, Table, avro_records, inserted, json_records  # noqa: E402 - behind the path that it needs
from bench.walk.steps import steps  # noqa: E402 - behind the path that it needs
from stream.core.decode import DecodeSpec, TopicDecoder  # noqa: E402 - behind the path that it needs
from stream.core.model import SchemaId, Slice, TopicPartition  # noqa: E402 - behind the path that it needs

PARTITIONS = 4
WARM_S = 8.0
"""Events before the measured ones: a broker that has just started takes seconds until it keeps up."""


class Registry(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"schema": SCHEMAS[int(self.path.split("?")[0].rsplit("/", 1)[1])]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Walk:
    """One `segstream run` process and what it cost."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        (folder / "secret").write_text("bench")
        settings["retail_red"]["client_secret_file"] = str(folder / "secret")
        self._file = folder / "segstream.json"
        self._file.write_text(json.dumps(settings))
        self._log = folder / "log.json"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "stream", "run", "-c", str(self._file)], stderr=log, cwd=ROOT
            )
        self.wait_log("partition restored", PARTITIONS)

    def wait_log(self, event: str, count: int, deadline_s: float = 60) -> float:
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            lines = [json.loads(x) for x in self._log.read_text().splitlines() if x.startswith("{") and x.endswith("}")]
            hits = [x for x in lines if x["event"] == event]
            if len(hits) >= count:
                return time.time()
            assert self._process is not None
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise SystemExit(f"segstream run did not get to {event!r}:\n{self._log.read_text()[-3000:]}")

    def metrics(self) -> str:
        first = json.loads(self._log.read_text().splitlines()[0])
        return urllib.request.urlopen(f"{first['metrics']}/metrics", timeout=5).read().decode()

    def stop(self) -> tuple[float, float]:
        """CPU seconds and peak RSS in MB."""
        assert self._process is not None
        self._process.terminate()
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if self._process.returncode:
            raise SystemExit(f"segstream run ended with {self._process.returncode}:\n{self._log.read_text()[-3000:]}")
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def produce(address: str, topic: str, records: Iterator[tuple[bytes, bytes | None]]) -> int:
    producer = ck.Producer(
        {
            "bootstrap.servers": address,
            "enable.idempotence": True,
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 500_000,
            "log_level": 0,
        }
    )
    count = 0
    for key, value in records:
        while True:
            try:
                producer.produce(topic, key=key, value=value)
                break
            except BufferError:
                producer.poll(0.1)
        count += 1
        if count % 1000 == 0:
            producer.poll(0)
    producer.flush(60)
    return count


def ceiling(address: str, topic: str, count: int) -> tuple[float, list[Any]]:
    consumer = ck.Consumer(
        {"bootstrap.servers": address, "group.id": "ceiling", "enable.auto.commit": False, "log_level": 0}
    )
    consumer.assign([ck.TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    kept: list[Any] = []
    seen = 0
    started = time.perf_counter()
    while seen < count:
        batch = consumer.consume(10_000, 0.5)
        seen += len(batch)
        if len(kept) < 100_000:
            kept += batch
    spent = time.perf_counter() - started
    consumer.close()
    return count / spent, kept


def decoding(topic: str, messages: list[Any]) -> tuple[float, list[Any]]:
    """Microseconds a record, and what the records mean."""
    decoded: list[Any] = []
    decoder = TopicDecoder(DecodeSpec(topic, ("segment", "customer_id")))
    for number, text in SCHEMAS.items():
        decoder.learn(SchemaId("id", number), text)
    runs = [messages[i : i + 5_000] for i in range(0, len(messages), 5_000)]
    spent = 0.0
    for run in runs:
        taken = Slice(
            TopicPartition(topic, 0),
            1,
            [m.offset() for m in run],
            [m.key() for m in run],
            [m.value() for m in run],
            [0] * len(run),
            run,
            lambda _: (),
        )
        started = time.perf_counter()
        found = decoder.decode(taken)
        spent += time.perf_counter() - started
        assert found.needs is None, found.needs
        assert len(found.items) == len(run)
        decoded += found.items
    return spent / len(messages) * 1e6, decoded


def settings(address: str, topic: str, sink: str, registry: str, slots: int, group: str) -> dict[str, Any]:
    return {
        "kafka": {"bootstrap.servers": address, "group.id": group, "session.timeout.ms": 6000, "heartbeat.interval.ms": 1000},
        "registry": {"url": registry},
        "retail_red": {"merchant": "10006", "client_id": "bench", "slots": slots, "settle_s": 1, "api_timeout_s": 5,
                       "urls": {"auth": sink, "segmentation": sink, "customer": sink}},
        "start": "beginning",
        "tables": {topic: {"segment": {"column": "segment"}, "member": {"id": "customer_id"}}},
        "metrics": {"host": "127.0.0.1", "port": 0},
        "log": {"format": "json"},
    }  # fmt: skip


def get(url: str) -> Any:
    return json.loads(urllib.request.urlopen(url, timeout=10).read())


def walk(address: str, broker: Broker, kind: str, count: int, slots: int, registry: str) -> dict[str, Any]:
    topic = f"bench.{kind}"
    broker.create_topic(topic, PARTITIONS, {})
    with tempfile.TemporaryDirectory() as name:
        sink = subprocess.Popen(
            [sys.executable, str(ROOT / "bench/walk/sink.py"), "0.02"], stdout=subprocess.PIPE, text=True
        )
        try:
            assert sink.stdout is not None
            url = f"http://127.0.0.1:{int(sink.stdout.readline())}"
            run = Walk(Path(name), settings(address, topic, url, registry, slots, f"bench-{kind}"))
            # the first start is over before the backlog comes: it would fold everything before it sends anything
            run.start()
            time.sleep(2)
            run.stop()
            table = Table(1, 200, 20_000)
            make = json_records if kind == "json" else avro_records
            total = produce(address, topic, make(table, count))
            raw, messages = ceiling(address, topic, total)
            decode_us, decoded = decoding(topic, messages)
            # of one partition: positions of several, mixed, would go back at each change
            alone = steps(topic, [item for m, item in zip(messages, decoded, strict=True) if m.partition() == 0])
            del messages, decoded
            truth = {k: len(v) for k, v in table.truth().items()}
            begun = time.time()
            run.start()
            started = run.wait_log("partition restored", PARTITIONS)
            deadline = time.monotonic() + 300
            while time.monotonic() < deadline:
                stats = get(f"{url}/stats")
                if {k: v for k, v in stats["sizes"].items() if v} == truth:
                    break
                time.sleep(0.2)
            else:
                raise SystemExit("the sink never became equal to the table")
            equal = all(set(get(f"{url}/members?{code}")) == ids for code, ids in table.truth().items())
            time.sleep(1.5)
            text = run.metrics()
            cpu_s, rss_mb = run.stop()
            spent = stats["last_s"] - started
            loop = {
                m[0]: round(float(m[1]), 2) for m in re.findall(r'loop_seconds_total{state="(\w+)"} ([\d.e+-]+)', text)
            }
            return {
                "format": kind, "records": total, "equal": equal, "consume_per_s": round(raw), "decode_us": round(decode_us, 2),
                "steps_us": alone,
                "walk_per_s": round(total / spent), "seconds": round(spent, 1), "start_s": round(started - begun, 1),
                "ratio_to_consume": round(total / spent / raw, 2), "requests": stats["requests"],
                "rows_per_request": round(stats["rows"] / stats["requests"]),
                "requests_per_record": round(stats["requests"] / total, 5), "cpu_s": round(cpu_s, 1),
                "cpu_us_per_record": round(cpu_s / total * 1e6, 1), "rss_mb": round(rss_mb), "loop_s": loop,
            }  # fmt: skip
        finally:
            sink.kill()
            sink.wait()


def freshness(address: str, broker: Broker, rate: int, seconds: float, registry: str, slots: int) -> dict[str, Any]:
    """New members of 200 segments at a steady rate: from the source's commit to the accepted call, each one timed."""
    topic = "bench.fresh"
    broker.create_topic(topic, PARTITIONS, {})
    with tempfile.TemporaryDirectory() as name:
        sink = subprocess.Popen(
            [sys.executable, str(ROOT / "bench/walk/sink.py"), "0.02", "timed"], stdout=subprocess.PIPE, text=True
        )
        try:
            assert sink.stdout is not None
            url = f"http://127.0.0.1:{int(sink.stdout.readline())}"
            run = Walk(Path(name), settings(address, topic, url, registry, slots, "bench-fresh"))
            run.start()
            producer = ck.Producer({"bootstrap.servers": address, "linger.ms": 1, "log_level": 0})
            # how long a start takes (the broker's first transaction among it) is another figure
            producer.produce(topic, key=inserted("warm", 1, 1)[0], value=inserted("warm", 1, 1)[1])
            producer.flush(10)
            while not get(f"{url}/accepted"):
                time.sleep(0.05)
            time.sleep(1)
            begun = time.monotonic()
            made: dict[str, float] = {}
            while (passed := time.monotonic() - begun) < WARM_S + seconds:
                while len(made) < passed * rate:
                    member = len(made) + 2
                    made[str(member)] = time.time()
                    key, value = inserted(f"seg-{member % 200}", member, 26_000_000 + member * 112)
                    producer.produce(topic, key=key, value=value)
                producer.poll(0)
                time.sleep(0.002)
            producer.flush(10)
            time.sleep(3)
            accepted = get(f"{url}/accepted")
            stats = get(f"{url}/stats")
            cpu_s, rss_mb = run.stop()
            assert len(accepted) == len(made) + 1, f"{len(accepted) - 1} of {len(made)} arrived"
            first = min(made.values()) + WARM_S
            late = sorted(accepted[member] - at for member, at in made.items() if at >= first)
            return {"events_per_s": rate, "members": len(late), "p50_s": round(late[len(late) // 2], 3),
                    "p99_s": round(late[int(len(late) * 0.99)], 3), "max_s": round(late[-1], 3), "slots": slots,
                    "requests_per_s": round(stats["requests"] / (WARM_S + seconds)), "cpu_s": round(cpu_s, 1),
                    "of_s": WARM_S + seconds,
                    "rss_mb": round(rss_mb)}  # fmt: skip
        finally:
            sink.kill()
            sink.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--formats", default="json,avro")
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--fresh-s", type=float, default=20.0)
    args = parser.parse_args()
    registry = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=registry.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{registry.server_port}"
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        broker = Broker(kit(), Path(name) / "kafka", heap_mb=1024)
        broker.format()
        broker.start()
        try:
            broker.wait()
            for kind in [x for x in args.formats.split(",") if x]:
                print(json.dumps(walk(broker.address, broker, kind, args.records, args.slots, url)), flush=True)
            if args.fresh_s:
                print(
                    json.dumps({"freshness": freshness(broker.address, broker, 2_000, args.fresh_s, url, args.slots)}),
                    flush=True,
                )
        finally:
            broker.server.stop()
            registry.shutdown()
    print(f"this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


if __name__ == "__main__":
    main()
