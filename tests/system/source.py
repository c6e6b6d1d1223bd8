# ruff: noqa: S608 - SQL is made of its own names; values travel as parameters
"""The source system: a table of one case, written to by several connections at once, seeded."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import psycopg
from cases import CASES, Case, Encoding
from stack.process import StackError
from stack.stack import Stack, json_converters
from writers import Writer, Writers

SEGMENTS: Final = ("alpha", "beta", "gamma", "delta", "vip.2026", "news_letter")
TIERS: Final = ("gold", "silver", "bronze", "none")
MEMBERS: Final = 60  # few, so that writers meet on the same rows
WIDE_NOTE: Final = 9_000  # bytes: above what PostgreSQL keeps in the row


class Source(Writers):
    """One table with its connector. name is the table's, the slot's and the topic prefix's: unique in a stack.

    alter_key: make the key alteration too. In JSON without schemas, where it moves no key, it is always made.
    """

    def __init__(
        self,
        stack: Stack,
        case: str,
        encoding: Encoding,
        *,
        seed: int,
        name: str | None = None,
        alter_key: bool = False,
    ) -> None:
        name = name or f"{case}_{encoding}_{seed}"
        self.topic = f"{name}.public.{name}"
        super().__init__(stack, name, seed, self.topic)
        self.case: Case = CASES[case]
        self.encoding: Encoding = encoding
        self.alters_key = bool(self.case.key_alteration) and (alter_key or encoding == "json")

    @property
    def segments(self) -> tuple[str, ...]:
        """Every code that a row may ever mean."""
        return tuple(f"tier-{tier}" for tier in TIERS) if self.case.kind == "tier" else SEGMENTS

    @property
    def alterations(self) -> tuple[str, ...]:
        return (*self.case.alterations, self.case.key_alteration) if self.alters_key else self.case.alterations

    @property
    def partitions(self) -> int:
        """One where a schema change would send the same key to another partition: no order would be left to keep."""
        return 1 if self.alters_key and self.encoding != "json" else 4

    @property
    def tables(self) -> dict[str, Any]:
        """segstream's `tables` setting."""
        return {self.topic: dict(self.case.table)}

    def create(self, rows: int = 0) -> None:
        """Make the topic, and the table with rows that the connector's snapshot will read."""
        self._stack.create_topic(self.topic, self.partitions)
        self._stack.sql(self._named(self.case.ddl))
        self.fill(rows, "first")

    def fill(self, rows: int, name: str) -> None:
        """Insert up to so many rows: some meet one that is there."""
        chance = random.Random(f"{self.seed}-{name}")
        with self._stack.postgres.connect() as connection, connection.cursor() as cursor:
            for _ in range(rows):
                self._insert(cursor, chance)

    def connect(self, config: dict[str, str] | None = None) -> None:
        converters = (
            self._stack.avro_converters()
            if self.encoding == "avro"
            else json_converters(schemas=self.encoding == "json_schemas")
        )
        case = {key: self._named(value) for key, value in self.case.connector.items()}
        table = {"table.include.list": f"public.{self.name}"}
        self._stack.connect(self.name, table | converters | case | (config or {}))

    def drop(self) -> None:
        """Delete the connector, its slot, and the table; the topic stays."""
        self.stop()
        self._stack.delete_connector(self.name)
        self._stack.sql(self._named("drop table {table}"))

    def truth(self) -> dict[str, set[str]]:
        """Segment to member ids, as the database says now; segments without members are left out."""
        found: dict[str, set[str]] = {}
        for segment, member in self._stack.sql(self._named(self.case.truth)):
            found.setdefault(segment, set()).add(member)
        return found

    def _beside(self) -> list[Callable[[int], None]]:
        return [self._alter]

    def _alter(self, transactions: int) -> None:
        """Make the schema changes one after another, spread over the transactions."""
        parts = len(self.alterations) + 1
        for number, alteration in enumerate(self.alterations, start=1):
            due = transactions * number // parts
            while sum(self.outcomes.values()) < due:
                if self._stopping.wait(0.02):
                    return
            self._alter_now(alteration)

    def _alter_now(self, alteration: str) -> None:
        with self._stack.postgres.connect() as connection:
            for _ in range(200):
                try:
                    # a short wait: whoever writes queues behind it meanwhile
                    connection.execute("set local lock_timeout = '300ms'")
                    connection.execute(self._named(alteration))
                    connection.commit()
                except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                    connection.rollback()
                else:
                    self.outcomes["altered"] += 1
                    return
        raise StackError(f"{self.name} could not be altered: {alteration}")

    def _named(self, text: str) -> str:
        return text.replace("{table}", self.name)

    def _steps(self) -> dict[str, tuple[int, Writer]]:
        """What a transaction is made of, with weights."""
        steps: dict[str, tuple[int, Writer]] = {
            "insert": (10, self._insert),
            "insert many": (3, self._insert_many),
            "delete": (8, self._delete),
            "delete many": (1, self._delete_many),
            "update": (6, self._update),
            "move": (6, self._move),
            "move many": (1, self._move_many),
            "change key": (4, self._change_key),
            "delete and insert": (5, self._delete_and_insert),
            "insert and delete": (3, self._insert_and_delete),
        }
        if self.case.soft:
            steps["end"] = (8, self._end)
            steps["revive"] = (6, self._revive)
        if self.case.kind == "tier":
            steps["no tier"] = (4, self._no_tier)
        if self.case.surrogate:
            steps["change member"] = (4, self._change_member)
        return steps

    # One row is named by `where`: by its membership, and where duplicates may be, at times one of them only.
    def _where(self, chance: random.Random) -> tuple[str, tuple[Any, ...]]:
        if self.case.kind == "tier":
            return "customer_id = %s", (_number(chance),)
        pair = (chance.choice(SEGMENTS), _member(chance))
        if self.case.surrogate and chance.random() < 0.7:
            one = f"id = (select min(id) from {self.name} where segment_code = %s and customer_id = %s)"
            return one, pair
        return "segment_code = %s and customer_id = %s", pair

    def _values(self, chance: random.Random) -> tuple[Any, ...]:
        note = _note(chance)
        if self.case.kind == "tier":
            return (_number(chance), None if chance.random() < 0.1 else chance.choice(TIERS), note)
        return (chance.choice(SEGMENTS), _member(chance), note)

    @property
    def _columns(self) -> str:
        return "customer_id, tier, note" if self.case.kind == "tier" else "segment_code, customer_id, note"

    @property
    def _on_conflict(self) -> str:
        if self.case.surrogate and not self.case.unique:
            return ""
        target = "customer_id" if self.case.kind == "tier" else "segment_code, customer_id"
        back = ", deleted_at = null" if self.case.soft else ""
        return f"on conflict ({target}) do update set note = excluded.note{back}"

    def _put(self, cursor: psycopg.Cursor[Any], values: tuple[Any, ...]) -> None:
        cursor.execute(
            f"insert into {self.name}({self._columns}) values (%s, %s, %s) {self._on_conflict}", values, prepare=False
        )

    def _do(self, cursor: psycopg.Cursor[Any], statement: str, values: tuple[Any, ...]) -> None:
        cursor.execute(statement, values, prepare=False)

    def _insert(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        self._put(cursor, self._values(chance))

    def _insert_many(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        """Several rows by one statement or by COPY: they all have one position in the log."""
        rows = {
            row[:2] if self.case.kind == "pair" else row[:1]: row for row in (self._values(chance) for _ in range(8))
        }
        if chance.random() < 0.5 and self.case.surrogate and not self.case.unique:
            with cursor.copy(f"copy {self.name}({self._columns}) from stdin") as copy:
                for row in rows.values():
                    copy.write_row(row)
            return
        places = ", ".join(["(%s, %s, %s)"] * len(rows))
        values = tuple(value for row in rows.values() for value in row)
        self._do(cursor, f"insert into {self.name}({self._columns}) values {places} {self._on_conflict}", values)

    def _delete(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        where, values = self._where(chance)
        self._do(cursor, f"delete from {self.name} where {where}", values)

    def _delete_many(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        self._do(
            cursor,
            f"delete from {self.name} where mod(abs(hashtext(customer_id::text)), 7) = %s",
            (chance.randrange(7),),
        )

    def _update(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        """An update that changes no membership."""
        where, values = self._where(chance)
        if chance.random() < 0.5:
            self._do(cursor, f"update {self.name} set points = points + 1 where {where}", values)
        else:
            self._do(cursor, f"update {self.name} set note = %s where {where}", (_note(chance), *values))

    def _move(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        """A row to another segment; where the segment is in the primary key this changes the key."""
        where, values = self._where(chance)
        column, target = self._target(chance)
        self._do(cursor, f"update {self.name} set {column} = %s where {where}", (target, *values))

    def _target(self, chance: random.Random) -> tuple[str, str]:
        return ("tier", chance.choice(TIERS)) if self.case.kind == "tier" else ("segment_code", chance.choice(SEGMENTS))

    def _move_many(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        column, target = self._target(chance)
        self._do(
            cursor,
            f"update {self.name} set {column} = %s"
            f" where {column} = %s and mod(abs(hashtext(customer_id::text)), 5) = %s",
            (target, self._target(chance)[1], chance.randrange(5)),
        )

    def _change_key(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        if not self.case.surrogate:
            self._change_member(cursor, chance)
        else:
            where, values = self._where(chance)
            key = f"nextval(pg_get_serial_sequence('{self.name}', 'id'))"
            self._do(cursor, f"update {self.name} set id = {key} where {where}", values)

    def _change_member(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        where, values = self._where(chance)
        member: Any = _number(chance) if self.case.kind == "tier" else _member(chance)
        self._do(cursor, f"update {self.name} set customer_id = %s where {where}", (member, *values))

    def _delete_and_insert(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        """The nightly export's habit, in one transaction."""
        values = self._values(chance)
        if self.case.kind == "tier":
            self._do(cursor, f"delete from {self.name} where customer_id = %s", values[:1])
        else:
            self._do(cursor, f"delete from {self.name} where segment_code = %s and customer_id = %s", values[:2])
        self._put(cursor, values)

    def _insert_and_delete(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        values = self._values(chance)
        self._put(cursor, values)
        if self.case.kind == "tier":
            self._do(cursor, f"delete from {self.name} where customer_id = %s", values[:1])
        else:
            self._do(cursor, f"delete from {self.name} where segment_code = %s and customer_id = %s", values[:2])

    def _end(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        where, values = self._where(chance)
        self._do(cursor, f"update {self.name} set deleted_at = now() where {where}", values)

    def _revive(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        where, values = self._where(chance)
        self._do(cursor, f"update {self.name} set deleted_at = null where {where}", values)

    def _no_tier(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        where, values = self._where(chance)
        self._do(cursor, f"update {self.name} set tier = null where {where}", values)


def _number(chance: random.Random) -> int:
    return 1000 + chance.randrange(MEMBERS)


def _member(chance: random.Random) -> str:
    return f"c-{_number(chance)}"


def _note(chance: random.Random) -> str | None:
    picked = chance.random()
    if picked < 0.1:
        return None
    return "".join(chance.choices("abcdefgh", k=WIDE_NOTE)) if picked < 0.15 else f"note {chance.randrange(1000)}"
