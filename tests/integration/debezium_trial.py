"""Tables whose changes are written to Kafka as Debezium's PostgreSQL connector writes them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from itertools import count
from typing import Any, Literal

import confluent_kafka as ck

Row = dict[str, Any]
Write = Callable[[dict[str, Any], Any], tuple[bytes, bytes | None]]

PARTITIONS = 4
STAND_INS: dict[type, Any] = {str: "", int: 0, bool: False}
"""What stands in `before` for a column that REPLICA IDENTITY DEFAULT does not log, where the column is NOT NULL."""


def as_json(key: dict[str, Any], value: Any) -> tuple[bytes, bytes | None]:
    return json.dumps(key).encode(), json.dumps(value).encode() if value is not None else None


class Table:
    """One table with a primary key. identity: its REPLICA IDENTITY. route: columns that choose the partition instead of the key."""

    def __init__(
        self,
        producer: ck.Producer,
        topic: str,
        *key: str,
        identity: Literal["default", "full"] = "default",
        unwrapped: bool = False,
        route: tuple[str, ...] = (),
        write: Write = as_json,
    ) -> None:
        self.producer = producer
        self.topic = topic
        self.key = key
        self.full = identity == "full"
        self.unwrapped = unwrapped
        self.route = route
        self.write = write
        self.rows: dict[tuple[Any, ...], Row] = {}
        self.positions = count(1_000)

    def insert(self, **row: Any) -> None:
        assert self._place(row) not in self.rows, "there is such a row"
        self.rows[self._place(row)] = row
        self._change("c", None, row)

    def update(self, *key: Any, **changed: Any) -> None:
        """The row with this key changes. When the key itself changes, Debezium writes a delete and an insert."""
        old = self.rows.pop(key)
        new = {**old, **changed}
        self.rows[self._place(new)] = new
        if self._place(new) == key:
            self._change("u", old if self.full else None, new)
        else:
            self._end(old)
            self._change("c", None, new)

    def delete(self, *key: Any) -> None:
        self._end(self.rows.pop(key))

    def _place(self, row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in self.key)

    def _end(self, row: Row) -> None:
        stood = {
            name: value if self.full or name in self.key else STAND_INS.get(type(value)) for name, value in row.items()
        }
        self._change("d", stood, None)
        if not self.route:
            self._send(row, None)

    def _change(self, op: str, before: Row | None, after: Row | None) -> None:
        row = after or before or {}
        if self.unwrapped:
            source = {"__op": op, "__deleted": "true" if op == "d" else "false", "__source_ts_ms": 1}
            self._send(row, {**row, **source} if op != "d" else None)
            return
        place = next(self.positions)
        source = {"connector": "postgresql", "ts_ms": 1, "snapshot": "false", "sequence": f'["{place}","{place}"]'}
        self._send(row, {"op": op, "before": before, "after": after, "source": source, "ts_ms": 1})

    def _send(self, row: Row, value: Any) -> None:
        key, body = self.write({name: row[name] for name in self.key}, value)
        routed = json.dumps([row[name] for name in self.route]).encode() if self.route else key
        self.producer.produce(self.topic, key=key, value=body, partition=zlib.crc32(routed) % PARTITIONS)
        assert self.producer.flush(10) == 0
