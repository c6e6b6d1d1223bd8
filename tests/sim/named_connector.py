"""What carries a source with parents to the topics: rows to the group's, customers to those that are read outside it."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from typing import Any

from stream.core.model import Change, Decoded, Tombstone, TopicPartition, Unreadable
from tests.sim.broker import Log, Record
from tests.sim.clock import Clock
from tests.sim.named import NamedDatabase, NamedTable, Row, columns, place, said
from tests.sim.source import Connector, Wal


class NamedConnector(Connector):
    """outside: the logs of the customers, which the group does not consume."""

    database: NamedDatabase  # type: ignore[assignment]  # a source of its own

    def __init__(
        self, clock: Clock, rng: random.Random, broker: Any, database: Any, note: Callable[[str], None]
    ) -> None:
        super().__init__(clock, rng, broker, database)
        self.outside: dict[TopicPartition, Log] = {}
        self._note = note

    def snapshot(self) -> None:
        wall_ms = self.clock.wall_ms
        for name, parents in self.database.parents.items():
            for key, values in parents.items():
                self._parent(name, (key,), Change("r", {"id": key}, None, (key, *values), wall_ms, True, None))  # noqa: FBT003 - the struct's order
        for table, rows in self.database.rows.items():
            for row in rows.values():
                change = Change("r", table.key(row.key), None, columns(table, row), wall_ms, True, None)  # noqa: FBT003 - the struct's order
                self._row(table, row, change, said(table, row), repeat=False)

    def garbage(self) -> None:
        topics = {table.topic for table in self.database.tables}
        tp = self.rng.choice([tp for tp in self.broker.logs if tp.topic in topics])
        item = Unreadable("garbage", "no json")
        self.broker.append(tp, lambda o: Record(o, None, item, self.clock.wall_ms, "garbage", repeat=False))

    def _emit(self, wal: Wal, *, repeat: bool) -> None:
        table: Any = wal.table
        op, before, after = wal.op, wal.before, wal.after
        row: Any = after or before
        if isinstance(table, str):
            new = (*row.key, *row.values) if after is not None else None
            change = Change(op, {"id": row.key[0]}, None, new, wal.ts_ms, False, wal.position)  # noqa: FBT003 - the struct's order
            self._parent(table, row.key, change)
            if op == "d":
                self._parent(table, row.key, Tombstone({"id": row.key[0]}))
            return
        old: Any = None
        if before is not None:
            if table.full:
                old = columns(table, before)  # type: ignore[arg-type]
            elif op == "d":
                old = ("",) * (1 + len(table.who)) + ((None,) if table.soft else ())
        new = columns(table, after) if after is not None else None  # type: ignore[arg-type]
        change = Change(op, table.key(row.key), old, new, wal.ts_ms, False, wal.position)  # noqa: FBT003 - the struct's order
        self._row(table, row, change, said(table, row) if after is not None else None, repeat=repeat)
        if op == "d":
            self._row(table, row, Tombstone(table.key(row.key)), None, repeat=repeat)

    def _row(self, table: NamedTable, row: Row, item: Decoded, says: Any, *, repeat: bool) -> None:
        tp = place(table, row.key, self.broker.counts[table.topic])
        name = (table.topic, *row.key)
        at_ms = self.clock.wall_ms
        self.broker.append(tp, lambda offset: Record(offset, name, item, at_ms, says, repeat))

    def _parent(self, name: str, key: tuple[Any, ...], item: Decoded) -> None:
        count = self.broker.counts.get(name) or len(self.outside)
        tp = TopicPartition(name, zlib.crc32(repr(key).encode()) % count)
        at_ms = self.clock.wall_ms

        def make(offset: int) -> Record:
            return Record(offset, None, item, at_ms, None, repeat=False)

        self._note(f"{tp.topic}[{tp.partition}] {getattr(item, 'op', 'tombstone')} {key} {getattr(item, 'after', '')}")
        if tp in self.outside:
            self.outside[tp].append(make, self.rng.choice((0, 0, 1)))
        else:
            self.broker.append(tp, make)
