"""A simulated source whose rows name the customer by email, number or key, and the segment by code or key."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from stream.core.mapping import Condition, TableRule
from stream.core.model import TopicPartition
from tests.sim.clock import Clock
from tests.sim.source import Wal

Said = tuple[str, Any] | str | None
"""What a row says: a segment's term with the customer's terms, a membership where it names both, nothing, or why not."""

CUSTOMERS, SEGMENTS = "customers", "segments"
COLUMNS = {CUSTOMERS: ("id", "number", "email"), SEGMENTS: ("id", "code", "name")}


@dataclass(frozen=True)
class NamedTable:
    """who: kind and column of each identity, in order of preference. refers: the segment is a key.

    surrogate: key id. routed: key (segment, number of the row), by segment. composite: key (segment, the one identity).
    """

    topic: str
    kind: Literal["surrogate", "routed", "composite"]
    who: tuple[tuple[str, str], ...]
    full: bool = False
    soft: bool = False
    refers: bool = False

    @property
    def sole(self) -> bool:
        return self.kind == "surrogate"

    def rule(self) -> TableRule:
        return TableRule(
            segment=(("column", "segment"),),
            members=self.who,
            present=(Condition("deleted_at", "in", (None,)),) if self.soft else (),
            replica_identity="full" if self.full else "default",
            partitioned_by={"composite": "membership", "routed": "segment"}.get(self.kind, "none"),  # type: ignore[arg-type]
            segment_reference=SEGMENTS if self.refers else "",
        )

    def key(self, key: tuple[Any, ...]) -> dict[str, Any]:
        names = {"surrogate": ("id",), "routed": ("segment", "id")}.get(self.kind, ("segment", self.who[0][1]))
        return dict(zip(names, key, strict=True))


class Row(NamedTuple):
    """who: the value of each identity's column."""

    key: tuple[Any, ...]
    segment: Any
    who: tuple[Any, ...]
    deleted: bool = False


class Parent(NamedTuple):
    """A row of the customers or of the segments: what its columns hold beside the key."""

    name: str
    key: tuple[Any, ...]
    values: tuple[Any, ...]


class Person(NamedTuple):
    """Somebody whom the source knows. steady: the id of a customer who stays as they are, "" for the others."""

    key: int
    number: str
    email: str
    steady: str


def said(table: NamedTable, row: Row) -> Said:
    if row.deleted:
        return None
    if table.who == (("id", "member"),) and not table.refers:
        return (row.segment, row.who[0])
    terms = tuple(f"{kind}:{value}" for (kind, _), value in zip(table.who, row.who, strict=True) if value is not None)
    if not terms:
        return "identity_null"
    return (f"ref:segments:{row.segment}" if table.refers else f"code:{row.segment}", terms)


def columns(table: NamedTable, row: Row) -> tuple[Any, ...]:
    plain = (row.segment, *row.who)
    return (*plain, "2026-11-01" if row.deleted else None) if table.soft else plain


def place(table: NamedTable, key: tuple[Any, ...], count: int) -> TopicPartition:
    routed = key[:1] if table.kind == "routed" else key
    return TopicPartition(table.topic, zlib.crc32(repr(routed).encode()) % count)


class NamedDatabase:
    """Random transactions. parents: the rows of customers and segments; last: what each held last, deleted or not.

    since: when a row's customer began to be named so. acts: what may happen to parents, by name and weight.
    """

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        tables: list[NamedTable],
        people: list[Person],
        codes: list[str],
        *,
        any_case: bool,
        acts: dict[str, float],
    ) -> None:
        self.clock, self.rng = clock, rng
        self.tables, self.people, self.codes = tables, people, codes
        self.any_case = any_case
        self.acts = acts
        self.rows: dict[NamedTable, dict[tuple[Any, ...], Row]] = {table: {} for table in tables}
        self.since: dict[tuple[NamedTable, tuple[Any, ...]], float] = {}
        self.parents: dict[str, dict[int, tuple[Any, ...]]] = {CUSTOMERS: {}, SEGMENTS: {}}
        self.last: dict[tuple[str, int], tuple[Any, ...]] = {}
        self.held: dict[tuple[str, int], list[tuple[Any, ...]]] = {}
        self.wal: list[Wal] = []
        self._lsn = self._commit = 1_000
        self._id = 0

    # ---- the log -------------------------------------------------------------------------------------------------

    def _log(self, table: Any, op: str, before: Any, after: Any) -> None:
        image = after or before
        last = (self.wal[-1].after or self.wal[-1].before) if self.wal else None
        if self.rng.random() < 0.8 or (last is not None and image.key == last.key):
            self._lsn += self.rng.randint(1, 40)
        self.wal.append(Wal(table, op, before, after, f'["{self._commit}","{self._lsn}"]', self.clock.wall_ms))

    def _put(self, table: NamedTable, before: Row | None, after: Row | None) -> None:
        self._log(table, "d" if after is None else "c" if before is None else "u", before, after)
        rows = self.rows[table]
        if before is not None:
            rows.pop(before.key, None)
        if after is not None:
            rows[after.key] = after
            if before is None or before.deleted or before.who != after.who:
                self.since[table, after.key] = self.clock.now_s

    def parent(self, name: str, key: int, values: tuple[Any, ...] | None) -> None:
        """A row of the customers or segments is this now."""
        old = self.parents[name].get(key)
        before = Parent(name, (key,), old) if old is not None else None
        after = Parent(name, (key,), values) if values is not None else None
        self._log(name, "d" if after is None else "c" if before is None else "u", before, after)
        if values is None:
            self.parents[name].pop(key)
        else:
            self.parents[name][key] = self.last[name, key] = values
            self.held.setdefault((name, key), []).append(values)

    def fail_over(self) -> None:
        """A standby takes over: positions go back."""
        self._lsn = max(1_000, self._lsn - 500)
        self._commit = min(self._commit, self._lsn)

    # ---- transactions --------------------------------------------------------------------------------------------

    def transact(self) -> None:
        for _ in range(self.rng.choice((1, 1, 1, 2, 3))):
            names = ["row", *self.acts]
            act = self.rng.choices(names, [1.0, *self.acts.values()])[0]
            if act == "row":
                self._statement()
            else:
                getattr(self, f"_{act}")()
        self._lsn += 8
        self._commit = self._lsn

    def _segment(self, table: NamedTable) -> Any:
        if not table.refers:
            return self.rng.choice(self.codes)
        # mostly a segment that is there: some databases have no foreign keys
        there = list(self.parents[SEGMENTS])
        if there and self.rng.random() < 0.9:
            return self.rng.choice(there)
        return self.rng.randint(1, len(self.codes) + 2)

    def _who(self, table: NamedTable) -> tuple[Any, ...]:
        rng = self.rng
        people = self.people
        if any(kind == "id" for kind, _ in table.who):
            people = [person for person in people if person.steady]
        person = rng.choice(people)
        values: list[Any] = []
        for kind, _ in table.who:
            if kind == "email":
                email = person.email
                if self.any_case and rng.random() < 0.3:
                    email = rng.choice((email.upper(), f" {email}", email.lower()))
                values.append(email)
            elif kind == "number":
                values.append(person.number)
            elif kind == "id":
                values.append(person.steady)
            else:
                values.append(person.key)
        if len(values) > 1:
            values = [None if rng.random() < 0.25 else value for value in values]
        return tuple(values)

    def _statement(self) -> None:
        rng = self.rng
        table = rng.choice(self.tables)
        rows = self.rows[table]
        what = rng.random()
        if what < 0.45 or not rows:
            segment, who = self._segment(table), self._who(table)
            self._id += 1
            key = {"surrogate": (self._id,), "routed": (segment, self._id)}.get(table.kind, (segment, who[0]))
            if key not in rows:
                self._put(table, None, Row(key, segment, who))
            return
        row = rows[rng.choice(list(rows))]
        if what < 0.68:
            self._put(table, row, None)
            if rng.random() < 0.3:
                self._put(table, None, row._replace(deleted=False))
        elif what < 0.78 and table.soft:
            self._put(table, row, row._replace(deleted=not row.deleted))
        elif what < 0.86 and table.kind == "surrogate":
            self._put(table, row, row._replace(segment=self._segment(table)))
        elif what < 0.96 and table.kind != "composite":
            self._put(table, row, row._replace(who=self._who(table)))
        else:
            self._put(table, row, row)

    # ---- parents -------------------------------------------------------------------------------------------------

    def _customer_in(self) -> None:
        """A person's row appears, or is there again."""
        person = self.rng.choice(self.people)
        if person.key not in self.parents[CUSTOMERS]:
            self.parent(CUSTOMERS, person.key, (person.number if self.rng.random() < 0.5 else None, person.email))

    def _customer_change(self) -> None:
        """A person's row names somebody else, or nobody, or has one identity less."""
        rng = self.rng
        if self.parents[CUSTOMERS]:
            key = rng.choice(list(self.parents[CUSTOMERS]))
            other = rng.choice(self.people)
            email = rng.choice((other.email, other.email, f"new{key}@x", None))
            self.parent(CUSTOMERS, key, (other.number if rng.random() < 0.3 else None, email))

    def _customer_out(self) -> None:
        """The parent goes first, then whatever points at it."""
        if self.parents[CUSTOMERS]:
            key = self.rng.choice(list(self.parents[CUSTOMERS]))
            self.parent(CUSTOMERS, key, None)
            self._cascade(
                lambda table, row: ("ref:customers", key) in zip([k for k, _ in table.who], row.who, strict=True)
            )

    def _segment_in(self) -> None:
        key = self.rng.randint(1, len(self.codes))
        if (SEGMENTS, key) not in self.last:
            self.parent(SEGMENTS, key, (self.codes[key - 1], f"name {key}"))

    def _segment_name(self) -> None:
        if self.parents[SEGMENTS]:
            key = self.rng.choice(list(self.parents[SEGMENTS]))
            self.parent(SEGMENTS, key, (self.last[SEGMENTS, key][0], f"name {self.rng.randint(0, 99)}"))

    def _segment_out(self) -> None:
        if self.parents[SEGMENTS]:
            key = self.rng.choice(list(self.parents[SEGMENTS]))
            self.parent(SEGMENTS, key, None)
            self._cascade(lambda table, row: table.refers and row.segment == key)

    def _segment_back(self) -> None:
        """A segment that was deleted is there again, by the same key and code."""
        gone = [key for name, key in self.last if name == SEGMENTS and key not in self.parents[SEGMENTS]]
        if gone:
            key = self.rng.choice(gone)
            self.parent(SEGMENTS, key, self.last[SEGMENTS, key])

    def _segment_code(self) -> None:
        """A segment gets another code: nothing moves until the operator accepts it."""
        if self.parents[SEGMENTS]:
            key = self.rng.choice(list(self.parents[SEGMENTS]))
            code, name = self.last[SEGMENTS, key]
            if code == self.codes[key - 1]:
                self.parent(SEGMENTS, key, (f"{code}-new", name))

    def _cascade(self, hit: Callable[[NamedTable, Row], bool]) -> None:
        for table, rows in self.rows.items():
            for row in list(rows.values()):
                if hit(table, row):
                    self._put(table, row, None)
