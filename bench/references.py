"""python -m bench.references [--rows 1000000] [--formats json,avro] [--memory-max N]

On a real broker: seconds and memory to read a customers reference (key, email, number) whole, the longest step, and get().
Figures are of this machine in this run.
"""

from __future__ import annotations

import argparse
import io
import json
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import confluent_kafka as ck
import fastavro

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from stack.broker import Broker  # noqa: E402 - behind the path that it needs
from stack.kit import kit  # noqa: E402 - behind the path that it needs

from bench.walk.events import SCHEMAS  # noqa: E402 - behind the path that it needs
from stream.core.decode.spec import DecodeSpec  # noqa: E402 - behind the path that it needs
from stream.core.engine import Engine  # noqa: E402 - behind the path that it needs
from stream.core.model import SchemaId  # noqa: E402 - behind the path that it needs
from stream.core.references import ReferenceRule  # noqa: E402 - behind the path that it needs
from stream.edge.metrics import Metrics  # noqa: E402 - behind the path that it needs
from stream.edge.references import References  # noqa: E402 - behind the path that it needs
from stream.edge.spill import Spill  # noqa: E402 - behind the path that it needs

FIELDS = [
    {"name": "id", "type": "long"}, {"name": "email", "type": "string"}, {"name": "shop_number", "type": "string"},
    {"name": "name", "type": "string"}, {"name": "created_at", "type": "string"},
]  # fmt: skip


def schemas() -> dict[int, dict[str, Any]]:
    key = json.loads(SCHEMAS[1]) | {"fields": FIELDS[:1]}
    value = json.loads(SCHEMAS[2])
    value["fields"][0]["type"][1]["fields"] = FIELDS
    return {1: key, 2: value}


def rows(count: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for number in range(count):
        email = f"customer.{number:07d}@mail{number % 97}.example.com"
        after = {
            "id": 100_000 + number, "email": email, "shop_number": f"K{10_000_000 + number}",
            "name": f"Customer {number}", "created_at": "2026-01-01T00:00:00.000000Z",
        }  # fmt: skip
        source = {
            "version": "3.6.3.Final", "connector": "postgresql", "name": "bench", "ts_ms": 1_760_000_000_000, "snapshot": "true",
            "db": "bench", "sequence": '["26378024","26378024"]', "schema": "public", "txId": 7, "lsn": 26_378_024,
            "table": "customers",
        }  # fmt: skip
        yield (
            {"id": after["id"]},
            {"before": None, "after": after, "source": source, "op": "r", "ts_ms": 1_760_000_000_000},
        )


def avro(parsed: Any, number: int, record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    out.write(struct.pack(">bI", 0, number))
    fastavro.schemaless_writer(out, parsed, record)
    return out.getvalue()


def fill(broker: Broker, topic: str, form: str, count: int) -> None:
    broker.create_topic(topic, 4, {"cleanup.policy": "compact"})
    producer = ck.Producer({"bootstrap.servers": broker.address, "linger.ms": 20, "compression.type": "lz4"})
    parsed = {n: fastavro.parse_schema(schema) for n, schema in schemas().items()}
    for key, value in rows(count):
        k, v = json.dumps(key).encode(), json.dumps(value).encode()
        if form == "avro":
            k, v = avro(parsed[1], 1, key), avro(parsed[2], 2, value)
        while True:
            try:
                producer.produce(topic, key=k, value=v)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush(60)


class Known:
    def fetch(self, schema_id: SchemaId) -> str | None:
        return json.dumps(schemas()[int(schema_id.value)])


def memory() -> int:
    """Own memory in bytes, without the file's pages."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


def read(broker: Broker, topic: str, count: int, memory_max: int, folder: Path) -> None:
    engine: Any = type("Nothing", (Engine,), {"__init__": lambda _: None, "parts": list, "tables": list})()
    spill = Spill(folder, memory_max, lambda _, text: print(text))
    rule = ReferenceRule("customers", "id", ("email", "shop_number"))
    references = References(
        {"bootstrap.servers": broker.address}, "bench", [(rule, DecodeSpec(topic, ()))], Known(),
        metrics=Metrics.fresh("0"), spill=spill, log=print, now=time.monotonic,
    )  # fmt: skip
    before, started_s = memory(), time.monotonic()
    references.check({topic: 4}, {})
    steps: list[float] = []
    turned_s, used_s = started_s, time.process_time()
    while not references.ready:
        step_s = time.monotonic()
        references.step()
        if step_s - turned_s > 1 or spill.moving:
            turned_s = step_s
            spill.turn(engine, {})
            references.report()
        steps.append(time.monotonic() - step_s)
        if not references.busy:
            time.sleep(0.001)
    seconds = time.monotonic() - started_s
    used_s = time.process_time() - used_s
    assert len(references.tables["customers"]) == count
    steps.sort()
    print(f"{topic}: {count} rows in {seconds:.1f} s, {used_s:.1f} s of CPU, {used_s / count * 1e6:.1f} µs a row; longest step "
          f"{steps[-1] * 1e3:.0f} ms, p99 {steps[int(len(steps) * 0.99)] * 1e3:.0f} ms")  # fmt: skip
    print(
        f"  own memory {(memory() - before) / 1e6:.0f} MB, {(memory() - before) / count:.0f} bytes a row with the client's buffers"
    )
    started_s = time.monotonic()
    for number in range(0, count, 7):
        references.get("customers", str(100_000 + number))
    print(f"  get {(time.monotonic() - started_s) / (count / 7) * 1e6:.1f} µs")
    references.close()
    spill.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--formats", default="json,avro")
    parser.add_argument("--memory-max", type=int, default=2_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = Broker(kit(), folder / "kafka")
        broker.format()
        broker.start()
        try:
            broker.wait()
            for form in arguments.formats.split(","):
                fill(broker, f"customers.{form}", form, arguments.rows)
                read(broker, f"customers.{form}", arguments.rows, arguments.memory_max, folder)
        finally:
            broker.server.stop()


if __name__ == "__main__":
    main()
