"""A loop in this process, on an embedded broker, with a destination that does as it is told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from stream.core.model import Call, Outcome
from stream.demo.broker import EmbeddedBroker
from stream.edge.health import Health
from stream.edge.metrics import Metrics
from stream.edge.senders import Lease
from stream.loop import Loop
from stream.settings import Settings

NUMBERS = count(1)


class Members:
    """Takes every call at once; while `hangs` it answers none."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.lease: Lease | None = None
        self.hangs = False
        self.token_expires_at = 4_000_000_000.0

    def __call__(self, lease: Lease) -> Members:
        self.lease = lease
        return self

    def send(self, call: Call) -> Outcome:
        assert self.lease is not None
        self.calls.append(call)
        while self.hangs:
            time.sleep(0.01)
        kind = "answered" if self.lease.valid() else "unsent"
        return Outcome(call, kind, 201 if kind == "answered" else 0, (), None, "", "", time.monotonic(), 0.0)

    def told(self) -> set[tuple[str, str]]:
        return {(call.segment, member) for call in self.calls for member in call.members}


class Trial:
    """One topic with one group; loops over it come and go."""

    def __init__(self, broker: EmbeddedBroker, folder: Path) -> None:
        self.topic = f"trial{next(NUMBERS)}"
        (folder / "secret").write_text("secret")
        self.producer = broker.producer()
        self.members = Members()
        self.values: dict[str, Any] = {
            "kafka": {"bootstrap.servers": broker.address, "group.id": f"group-{self.topic}", "session.timeout.ms": 6000},
            "retail_red": {
                "merchant": "1", "client_id": "c", "client_secret_file": str(folder / "secret"),
                "api_timeout_s": 0.5, "settle_s": 0.1,
            },
            "batch": {"linger_s": 0.05, "idle_s": 0.02},
            "commit_interval_s": 0.05,
            "drain_s": 4,
            "start": "beginning",
            "transactions": False,
            "state": {"create_topics": False, "verify_topics": False},
            "tables": {self.topic: {"segment": {"column": "segment"}, "member": {"id": "member"}}},
        }  # fmt: skip
        self.loops: list[Loop] = []

    def row(self, number: int, segment: str = "gold", partition: int = 0) -> None:
        after = {"id": number, "segment": segment, "member": f"c-{number}"}
        value = {"op": "c", "before": None, "after": after, "source": {"ts_ms": 1, "snapshot": "false"}}
        self.producer.produce(self.topic, key=json.dumps({"id": number}), value=json.dumps(value), partition=partition)
        assert self.producer.flush(10) == 0

    def loop(self, *, dry_run: bool = False) -> Loop:
        settings = Settings.model_validate(self.values)
        loop = Loop(settings, self.members, Metrics.fresh("0"), Health(30.0), dry_run=dry_run)
        self.loops.append(loop)
        return loop

    def begin(self, *, dry_run: bool = False) -> Loop:
        """A loop that has subscribed; turn it by `until`."""
        loop = self.loop(dry_run=dry_run)
        loop.begin()
        return loop

    def until(self, is_so: Callable[[], Any], patience_s: float = 15.0) -> None:
        deadline_s = time.monotonic() + patience_s
        while not is_so():
            assert time.monotonic() < deadline_s, "it did not come to be"
            for loop in self.loops:
                loop.once()

    def close(self) -> None:
        self.members.hangs = False
        for loop in self.loops:
            loop.close()
