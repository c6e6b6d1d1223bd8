"""python -m bench.identity [--members 20000] [--pending 200000] [--repeat 3] [--latency-ms 20] [--lookup-slots 2]

What it costs to know customers by email. A first load: the loop, an embedded broker, and the sandbox in another process; the same
members by id beside it. Then, in the core alone: rows that nobody is found for, their memory and a simulated day of looking for
them; and a look through all rows because a reference changed. Each part runs in a process of its own. Figures are of this machine
in this run.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from stream import wiring
from stream.core.claims import mapping
from stream.core.effects import Ask, Commit, Restored
from stream.core.engine import Engine
from stream.core.limits import Limits, LookupLimits
from stream.core.mapping import TableRule
from stream.core.model import Change, Lookup, LookupOutcome, TopicPartition
from stream.core.owners import TableSpec
from stream.core.resolver import NO_CUSTOMER_ROW, Identities, Reference
from stream.core.rowstate import PartitionState, encode
from stream.core.verdict import VerdictPolicy
from stream.demo.broker import EmbeddedBroker
from stream.edge.api import RetailRed
from stream.edge.health import Health
from stream.edge.metrics import Metrics
from stream.edge.senders import Destination, Lease
from stream.loop import Loop
from stream.sandbox.config import CLIENT_ID, CLIENT_SECRET
from stream.sandbox.server import SandboxProcess
from stream.settings import Settings

TOPIC = "shop.public.segment_members"
SEGMENTS = 20
PATIENCE_S = 300.0
LOOK_S = 0.2
DAY_S = 86_400
YEAR_S = 365 * DAY_S


def email(number: int, *, capitals: bool = False) -> str:
    text = f"customer.{number:07d}@mail{number % 97:02d}.example.com"
    return text.title() if capitals else text


# ---- a first load ----------------------------------------------------------------------------------------------------


def load(kind: str, members: int, latency_ms: float, slots: int) -> dict[str, float]:
    """kind: id, email, or capitals: emails that the table writes with capitals."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "shop.jsonl").open("w") as file:
            for number in range(SEGMENTS):
                file.write(json.dumps({"segment": {"code": f"s{number}"}}) + "\n")
            for number in range(members):
                file.write(json.dumps({"customer": {"id": f"c-{number}", "emailAddress": email(number)}}) + "\n")
        (folder / "secret").write_text(CLIENT_SECRET)
        arguments = ("--load", str(folder / "shop.jsonl"), "--latency-ms", f"{latency_ms:g}")
        broker = EmbeddedBroker()
        with SandboxProcess(*arguments) as sandbox:
            _write(broker, kind, members)
            found = _walk(broker, folder, sandbox.url, "id" if kind == "id" else "email", members, slots)
        broker.close()
    return found


def _write(broker: EmbeddedBroker, kind: str, members: int) -> None:
    producer = broker.producer()
    source = {"connector": "postgresql", "ts_ms": 1, "snapshot": "true"}
    for number in range(members):
        member = f"c-{number}" if kind == "id" else email(number, capitals=kind == "capitals")
        after = {"id": number, "segment": f"s{number % SEGMENTS}", "member": member}
        value = {"op": "r", "before": None, "after": after, "source": source}
        producer.produce(TOPIC, key=json.dumps({"id": number}), value=json.dumps(value), partition=number % 4)
        producer.poll(0)
    assert producer.flush(60) == 0
    broker.check_whole()


def _walk(broker: EmbeddedBroker, folder: Path, url: str, kind: str, members: int, slots: int) -> dict[str, float]:
    settings = Settings.model_validate({
        "kafka": {"bootstrap.servers": broker.address, "group.id": "bench", "session.timeout.ms": 6000},
        "retail_red": {
            "merchant": "10006", "client_id": CLIENT_ID, "client_secret_file": str(folder / "secret"),
            "urls": dict.fromkeys(("auth", "segmentation", "customer"), url), "settle_s": 0.1,
            "lookup_slots": slots,
        },
        "start": "beginning", "transactions": False, "state": {"create_topics": False, "verify_topics": False},
        "tables": {TOPIC: {"segment": {"column": "segment"}, "member": {kind: "member"}}},
    })  # fmt: skip
    metrics = Metrics.fresh("0")
    apis: list[RetailRed] = []

    def destination(lease: Lease) -> Destination:
        apis.append(RetailRed(wiring.api_config(settings), lease=lease.valid, observe=metrics.requested))
        return apis[-1]

    loop = Loop(settings, destination, metrics, Health(30.0))
    loop.begin()
    with httpx.Client(base_url=url, trust_env=False) as shop:
        while not loop.engine.parts():
            loop.once()
        began_s, used_s, looked_s = time.monotonic(), time.process_time(), 0.0
        while True:
            loop.once()
            if time.monotonic() - looked_s > LOOK_S:
                looked_s = time.monotonic()
                if shop.get("/_sandbox/stats").json()["members"] == members:
                    break
                assert looked_s - began_s < PATIENCE_S, "the members are not there"
    seconds, used_s = time.monotonic() - began_s, time.process_time() - used_s
    counts = {
        sample.labels["operation"]: sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "segstream_api_requests_total"
    }
    loop.stop()
    loop.close()
    apis[0].close()
    return {"seconds": seconds, "cpu_us": used_s / members * 1e6, "lookups": counts.get("lookup", 0.0),
            "adds": counts.get("add", 0.0)}  # fmt: skip


# ---- rows that nobody is found for ------------------------------------------------------------------------------------


class Pending:
    """An engine whose rows name customers that nobody has. Times are simulated; what it stores is dropped."""

    def __init__(self, kind: str = "email") -> None:
        spec = TableSpec(mapping(TableRule((("column", "segment"),), ((kind, "member"),))), sole=True)
        # no limit on repetitions: how often they are due is what is asked for
        limits = LookupLimits(retries_per_s=100.0)
        self.engine = Engine(
            lambda _topic: spec,
            Limits(commit_interval_s=1.0),
            VerdictPolicy(),
            identities=Identities(references={"customers": Reference(lambda _: None, ("email",))}, limits=limits),
        )
        self.engine.references_ready = True
        self.tp = TopicPartition(TOPIC, 0)
        self.now_s = 1_000.0
        self.asked = 0
        self.values = 0
        self.engine.partitions_known(TOPIC, 1)
        self.engine.assigned([self.tp])
        self.turn()
        meta = encode(PartitionState(1, "id", "print", 1))
        self.engine.restored(
            Restored(self.tp, epoch=1, rows={}, position=0, metadata="", fresh=True, end=0, meta=meta), self.now_s
        )
        self.settle(20.0)

    def turn(self) -> int:
        """One turn of the loop; every question is answered with nobody. Returns how much there was to do."""
        wall_ms = int(self.now_s * 1000)
        effects = self.engine.effects(self.now_s, wall_ms)
        for effect in effects:
            if isinstance(effect, Ask):
                self._answer(effect.lookup, wall_ms)
            elif isinstance(effect, Commit):
                self.engine.committed(effect.number, ok=True)
        return len(effects)

    def _answer(self, lookup: Lookup, wall_ms: int) -> None:
        self.asked += 1
        self.values += len(lookup.values)
        outcome = LookupOutcome(lookup, "answered", (), True, 200, "", "", None, self.now_s, 0.0)  # noqa: FBT003 - a tuple
        self.engine.looked_up(outcome, self.now_s, wall_ms, 0.5)

    def settle(self, seconds: float) -> None:
        """Pass this time, a second at a time, each until there is nothing to do."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s += 1.0
            while self.turn():
                pass

    def feed(self, count: int, age_s: float) -> None:
        """So many rows, written so long ago; then until all are durable."""
        part = self.engine.part(self.tp)
        assert part is not None
        at_ms = int((self.now_s - age_s) * 1000)
        for start in range(0, count, 10_000):
            numbers = range(start, min(start + 10_000, count))
            items = [Change("c", {"id": n}, None, (f"s{n % SEGMENTS}", email(n)), 1, False, None) for n in numbers]  # noqa: FBT003 - a tuple
            same = [at_ms] * len(items)
            self.engine.feed(self.tp, part.epoch, items, numbers, same, [300] * len(items), numbers, self.now_s)
            self.settle(1.0)
        self.settle(2.0)
        assert sum(self.engine.pending().values()) == count, self.engine.pending()


def memory() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def pending(count: int, age_s: float) -> dict[str, float]:
    waiting = Pending()
    waiting.now_s += age_s
    waiting.settle(1.0)
    before, used_s = memory(), time.process_time()
    waiting.feed(count, age_s)
    used_s = time.process_time() - used_s
    grown = memory() - before
    first = waiting.asked
    asked, values = waiting.asked, waiting.values
    day_used_s = time.process_time()
    waiting.settle(DAY_S)
    day_used_s = time.process_time() - day_used_s
    asked, values = waiting.asked - asked, waiting.values - values
    return {
        "bytes_a_row": grown / count, "first_us": used_s / count * 1e6, "first_requests": first,
        "day_requests": asked, "values_a_request": values / max(1, asked), "day_asks_a_row": values / count,
        "ask_us": day_used_s / max(1, values) * 1e6,
    }  # fmt: skip


def sweep(count: int) -> dict[str, float]:
    """So many rows are looked through because one row of a reference changed."""
    waiting = Pending("ref:customers")
    waiting.feed(count, 0.0)
    assert waiting.engine.pending()[NO_CUSTOMER_ROW] == count
    used_s = time.process_time()
    waiting.engine.references_changed("customers", ["4711"])
    turns = 0
    while waiting.engine.resolving.busy or not turns:
        waiting.turn()
        turns += 1
    return {"row_us": (time.process_time() - used_s) / count * 1e6, "turns": turns}


# ---- all of it -------------------------------------------------------------------------------------------------------


def part(*arguments: str) -> dict[str, float]:
    """One part in a process of its own."""
    command = [sys.executable, "-m", "bench.identity", "--part", *arguments]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return found


def shown(title: str, found: dict[str, float]) -> None:
    print(f"{title:24}" + "  ".join(f"{name} {value:,.4g}" for name, value in found.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--pending", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--latency-ms", type=float, default=20.0)
    parser.add_argument("--lookup-slots", type=int, default=2)
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        name, *values = arguments.part
        if name == "load":
            print(json.dumps(load(values[0], int(values[1]), float(values[2]), int(values[3]))))
        elif name == "sweep":
            print(json.dumps(sweep(int(values[0]))))
        else:
            print(json.dumps(pending(int(values[0]), float(values[1]))))
        return
    budget = (str(arguments.members), str(arguments.latency_ms), str(arguments.lookup_slots))
    for _ in range(arguments.repeat):
        for kind in ("id", "email", "capitals"):
            shown(f"first load, {kind}", part("load", kind, *budget))
    shown("sweep", part("sweep", str(arguments.pending)))
    for title, age_s in (("pending, written now", 0), ("pending, a year old", YEAR_S)):
        shown(title, part("pending", str(arguments.pending), str(age_s)))


if __name__ == "__main__":
    main()
