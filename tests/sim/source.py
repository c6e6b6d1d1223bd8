"""A simulated PostgreSQL with its Debezium connector: rows, a write-ahead log, and what of it reaches the topics."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from stream.core.mapping import Condition, RowMapping, TableRule
from stream.core.model import Change, Decoded, Membership, Tombstone, TopicPartition, Unreadable
from tests.sim.broker import Broker, Record, Says
from tests.sim.clock import Clock

BAD_CODE = "no/code"
"""A segment code that must never reach a URL's path: its rows become letters."""


@dataclass(frozen=True)
class Table:
    """surrogate: key id. composite: key (segment, member). routed: the same, by segment. tier: key member."""

    topic: str
    kind: Literal["surrogate", "composite", "routed", "tier"]
    full: bool
    soft: bool

    def rule(self) -> TableRule:
        return TableRule(
            segment=(("column", "segment"),),
            members=(("id", "member"),),
            present=(Condition("deleted_at", "in", (None,)),) if self.soft else (),
            replica_identity="full" if self.full else "default",
            partitioned_by={"composite": "membership", "routed": "segment"}.get(self.kind, "none"),  # type: ignore[arg-type]
        )

    @property
    def sole(self) -> bool:
        return self.kind in ("surrogate", "tier")


class Image(NamedTuple):
    """A row: its key's values, and its columns."""

    key: tuple[Any, ...]
    segment: str
    member: str
    deleted: bool


class Wal(NamedTuple):
    table: Table
    op: str
    before: Image | None
    after: Image | None
    position: str
    ts_ms: int


class Database:
    """Random transactions over a few tables."""

    def __init__(
        self, clock: Clock, rng: random.Random, tables: list[Table], segments: list[str], members: list[str]
    ) -> None:
        self.clock = clock
        self.rng = rng
        self.tables = tables
        self.segments = segments
        self.members = members
        self.rows: dict[Table, dict[tuple[Any, ...], Image]] = {table: {} for table in tables}
        self.wal: list[Wal] = []
        self._lsn = 1_000
        self._commit = 1_000
        self._id = 0

    def truth(self) -> set[Membership]:
        return {
            (row.segment, row.member)
            for rows in self.rows.values()
            for row in rows.values()
            if not row.deleted and row.segment != BAD_CODE
        }

    def fail_over(self) -> None:
        """A standby takes over: positions go back."""
        self._lsn = max(1_000, self._lsn - 500)
        self._commit = min(self._commit, self._lsn)

    def _image(self, table: Table, segment: str, member: str, key: tuple[Any, ...] | None = None) -> Image:
        if key is None:
            if table.kind == "surrogate":
                self._id += 1
                key = (self._id,)
            else:
                key = (member,) if table.kind == "tier" else (segment, member)
        return Image(key, segment, member, deleted=False)

    def _log(self, table: Table, op: str, before: Image | None, after: Image | None) -> None:
        image = after or before
        last = self.wal[-1].after or self.wal[-1].before if self.wal else None
        if self.rng.random() < 0.8 or (image is not None and last is not None and image.key == last.key):
            self._lsn += self.rng.randint(1, 40)
        position = f'["{self._commit}","{self._lsn}"]'
        self.wal.append(Wal(table, op, before, after, position, self.clock.wall_ms))
        rows = self.rows[table]
        if before is not None:
            rows.pop(before.key, None)
        if after is not None:
            rows[after.key] = after

    def transact(self) -> None:
        """One transaction of one or a few statements."""
        for _ in range(self.rng.choice((1, 1, 1, 2, 3))):
            self._statement()
        self._lsn += 8
        self._commit = self._lsn

    def _statement(self) -> None:
        rng = self.rng
        table = rng.choice(self.tables)
        rows = self.rows[table]
        what = rng.random()
        segment, member = rng.choice(self.segments), rng.choice(self.members)
        if what < 0.45 or not rows:
            image = self._image(table, segment, member)
            if image.key not in rows:
                self._log(table, "c", None, image)
            elif table.kind == "tier":
                self._log(table, "u", rows[image.key], image)
            return
        row = rows[rng.choice(list(rows))]
        if what < 0.70:
            self._log(table, "d", row, None)
            if rng.random() < 0.3:
                self._log(table, "c", None, row._replace(deleted=False))
        elif what < 0.80 and table.soft:
            self._log(table, "u", row, row._replace(deleted=not row.deleted))
        elif what < 0.92 and table.kind in ("surrogate", "tier"):
            self._log(table, "u", row, row._replace(segment=segment))
        elif what < 0.97:
            key = None if table.kind == "surrogate" else row.key
            moved = (
                self._image(table, row.segment, row.member, key) if key is None else self._image(table, segment, member)
            )
            if moved.key not in rows:
                self._log(table, "d", row, None)
                self._log(table, "c", None, moved._replace(deleted=row.deleted))
        else:
            self._log(table, "u", row, row)


class Connector:
    """Sends the log on, in order; after a restart it repeats what it had not noted as sent, byte for byte."""

    def __init__(self, clock: Clock, rng: random.Random, broker: Broker, database: Database) -> None:
        self.clock = clock
        self.rng = rng
        self.broker = broker
        self.database = database
        self.sent = 0
        self.noted = 0
        self.reached = 0
        self.up = True

    def pump(self, most: int = 1_000_000) -> None:
        """Send what is there."""
        while self.up and self.sent < len(self.database.wal) and most > 0:
            self._emit(self.database.wal[self.sent], repeat=self.sent < self.reached)
            self.sent += 1
            self.reached = max(self.reached, self.sent)
            most -= 1
            if self.rng.random() < 0.15:
                self.noted = self.sent

    def restart(self, back: int) -> None:
        """It was killed: it begins again where it had last noted."""
        self.sent = max(0, min(self.noted, self.sent - back))

    def snapshot(self) -> None:
        """A blocking snapshot: every row as it is now, though the log's end was perhaps not sent yet."""
        for table, rows in self.database.rows.items():
            for row in rows.values():
                change = Change("r", _key(table, row), None, _columns(table, row), self.clock.wall_ms, True, None)  # noqa: FBT003 - the struct's order
                self._append(table, row, change, _says(row), repeat=False)

    def garbage(self) -> None:
        """A record that cannot be read."""
        tp = self.rng.choice(list(self.broker.logs))
        item = Unreadable("garbage", "no json")
        self.broker.append(tp, lambda o: Record(o, None, item, self.clock.wall_ms, "garbage", repeat=False))

    def _emit(self, wal: Wal, *, repeat: bool) -> None:
        table, op, before, after = wal.table, wal.op, wal.before, wal.after
        row = after or before
        assert row is not None
        old: tuple[Any, ...] | None = None
        if before is not None:
            if table.full:
                old = _columns(table, before)
            elif op == "d":
                old = ("", "", None) if table.soft else ("", "")
        new = _columns(table, after) if after is not None else None
        change = Change(op, _key(table, row), old, new, wal.ts_ms, False, wal.position)  # noqa: FBT003 - the struct's order
        self._append(table, row, change, _says(after) if after is not None else None, repeat=repeat)
        if op == "d":
            self._append(table, row, Tombstone(_key(table, row)), None, repeat=repeat)

    def _append(self, table: Table, row: Image, item: Decoded, says: Says, *, repeat: bool) -> None:
        tp = place(table, row.key, self.broker.counts[table.topic])
        name = (table.topic, *row.key)
        at_ms = self.clock.wall_ms
        self.broker.append(tp, lambda offset: Record(offset, name, item, at_ms, says, repeat))


def place(table: Table, key: tuple[Any, ...], count: int) -> TopicPartition:
    routed = key[:1] if table.kind == "routed" else key
    return TopicPartition(table.topic, zlib.crc32(repr(routed).encode()) % count)


def mapping_of(table: Table) -> RowMapping:
    return RowMapping(table.rule())


def key_dict(table: Table, key: tuple[Any, ...]) -> dict[str, Any]:
    names = {"surrogate": ("id",), "tier": ("member",)}.get(table.kind, ("segment", "member"))
    return dict(zip(names, key, strict=True))


def _key(table: Table, row: Image) -> dict[str, Any]:
    return key_dict(table, row.key)


def _columns(table: Table, row: Image) -> tuple[Any, ...]:
    columns = (row.segment, row.member)
    return (*columns, "2026-11-01" if row.deleted else None) if table.soft else columns


def _says(row: Image) -> Says:
    if row.deleted:
        return None
    return "segment_code" if row.segment == BAD_CODE else (row.segment, row.member)
