"""A shop's membership table, simulated: rows come, move and go, in Debezium's wire shapes. Knows the truth."""

from __future__ import annotations

import json
import random
import time
from typing import Any, Final

import confluent_kafka as ck

TOPIC: Final = "shop.public.segment_members"
CHANGES_MAX: Final = 35_000  # the embedded broker keeps 5 MB a partition: some 45,000 changes
SEGMENTS: Final = ("gold", "newsletter", "bought-twice", "vip", "sleeping", "tier-silver")


class Shop:
    """segment_members(id primary key, segment_code, customer_id) under REPLICA IDENTITY DEFAULT: the common case."""

    def __init__(self, producer: ck.Producer, seed: int, customers: int = 3_000) -> None:
        self._producer: Final = producer
        self._random: Final = random.Random(seed)  # noqa: S311 - a seeded run repeats
        self._customers: Final = customers
        self._rows: dict[int, tuple[str, int]] = {}
        self._next_id = 1
        self._lsn = 26_000_000
        self.events = 0
        self.records = 0

    def truth(self) -> dict[str, set[str]]:
        """What a SELECT would say: the members of each segment."""
        found: dict[str, set[str]] = {code: set() for code in SEGMENTS}
        for segment, customer in self._rows.values():
            found[segment].add(str(customer))
        return found

    @property
    def changes(self) -> int:
        return self.events

    def summary(self) -> str:
        return f"{self.events} changes ({self.records} records)"

    def act(self) -> None:
        """One random change of one row, committed."""
        roll = self._random.random()
        if roll < 0.55 or not self._rows:
            self._insert(self._segment(), self._random.randint(1, self._customers))
            return
        key = self._random.choice(list(self._rows)) if len(self._rows) < 50 else self._some_row()
        if roll < 0.72:
            self._update(key, self._segment(), self._rows[key][1])
        elif roll < 0.92:
            self._delete(key)
        else:
            segment, customer = self._rows[key]
            self._delete(key)
            self._insert(segment, customer)

    def _some_row(self) -> int:
        while True:
            key = self._random.randint(1, self._next_id - 1)
            if key in self._rows:
                return key

    def _segment(self) -> str:
        return self._random.choices(SEGMENTS, weights=(5, 20, 8, 2, 3, 4))[0]

    def _insert(self, segment: str, customer: int) -> None:
        key = self._next_id
        self._next_id += 1
        self._rows[key] = (segment, customer)
        self._event("c", key, None, self._row(key))

    def _update(self, key: int, segment: str, customer: int) -> None:
        self._rows[key] = (segment, customer)
        self._event("u", key, None, self._row(key))

    def _delete(self, key: int) -> None:
        del self._rows[key]
        # under REPLICA IDENTITY DEFAULT everything but the key is a stand-in
        self._event("d", key, {"id": key, "segment_code": "", "customer_id": 0}, None)
        self._send(key, None)

    def _row(self, key: int) -> dict[str, Any]:
        segment, customer = self._rows[key]
        return {"id": key, "segment_code": segment, "customer_id": customer}

    def _event(self, op: str, key: int, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        self._lsn += self._random.randint(56, 400)
        now_ms = int(time.time() * 1000)
        source = {
            "version": "3.6.3.Final", "connector": "postgresql", "name": "shop", "ts_ms": now_ms, "snapshot": "false",
            "db": "shop", "sequence": f'["{self._lsn}","{self._lsn}"]', "schema": "public", "table": "segment_members",
            "txId": self._lsn // 100, "lsn": self._lsn, "xmin": None,
        }  # fmt: skip
        envelope = {
            "before": before, "after": after, "source": source, "transaction": None, "op": op, "ts_ms": now_ms,
        }  # fmt: skip
        self.events += 1
        self._send(key, json.dumps(envelope, separators=(",", ":")))

    def _send(self, key: int, value: str | None) -> None:
        self.records += 1
        self._producer.produce(TOPIC, key=json.dumps({"id": key}), value=value)
        self._producer.poll(0)

    def flush(self) -> None:
        """Raises RuntimeError when the broker does not take the records."""
        if self._producer.flush(10):
            raise RuntimeError("the broker did not take the records in 10 s")
