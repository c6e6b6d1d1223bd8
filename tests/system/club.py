# ruff: noqa: S608 - SQL is made of its own names; values travel as parameters
"""The source as shops have it: segments, customers and memberships, three tables joined by ids of their own, seeded.

Who a member is stands in another table than the membership, and in the shop; both change while memberships do. No identity is
ever given to somebody else: whom a row found it keeps, though another may answer to that name later.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from typing import Any, Final, Literal

import psycopg
from cases import ROUTE, Encoding
from confluent_kafka import KafkaException
from people import PeopleShop
from shop import Segments
from stack.process import StackError
from stack.stack import Stack, json_converters
from writers import Writer, Writers

Layout = Literal["surrogate", "routed"]

CODES: Final = ("alpha", "beta", "gamma", "delta", "vip.2026", "news_letter", "a-z", "last")
FIRST: Final = 4
PEOPLE: Final = 30
TWINS: Final = 2
FOUND_TTL_S: Final = 1.0
WIDE: Final = 3_000  # bytes: stored out of line, so that other columns' updates bring Debezium's placeholder
SHOWN_MAX: Final = 1_000

DDL: Final = """
create table {n}_segments(id serial primary key, code text not null unique, name text, description text,
  active bool not null default true);
alter table {n}_segments alter column description set storage external;
create table {n}_customers(id serial primary key, email text, number bigint, note text);
alter table {n}_customers alter column note set storage external;
create table {n}_memberships({key},
  segment_id int not null references {n}_segments on delete cascade,
  customer_id int not null references {n}_customers on delete cascade, note text{more});
create index on {n}_memberships(segment_id, customer_id);
create table {n}_past(customer_id int, email text, number bigint);
create function {n}_remember() returns trigger language plpgsql as
  'begin insert into {n}_past values (new.id, new.email, new.number); return new; end';
create trigger remember after insert or update on {n}_customers for each row execute function {n}_remember()
"""

WHO: Final = """
with matched as (
  select c.id,
    (select array_agg(p.id) from {n}_people p
       where not p.anonymous and not p.deleted and p.number = c.number::text) n,
    (select array_agg(p.id) from {n}_people p
       where not p.anonymous and not p.deleted and p.email = lower(btrim(c.email))) e,
    c.number is null and coalesce(btrim(c.email), '') = '' blank,
    exists(select from {n}_people_past p where p.number = c.number::text or p.email = lower(btrim(c.email))) met
  from {n}_customers c),
who as (
  select id, met,
    case when cardinality(n) = 1 then n[1] when n is null and cardinality(e) = 1 then e[1] end found,
    case when blank then 'customer_reference'
         when cardinality(n) > 1 or (n is null and cardinality(e) > 1) then 'customer_ambiguous'
         when n is null and e is null then 'customer_missing' end why
  from matched)
"""

TRUTH: Final = (
    WHO
    + """
select distinct s.code, w.found from {n}_memberships m
  join {n}_segments s on s.id = m.segment_id join who w on w.id = m.customer_id
  where w.found is not null and {counts}
"""
)

# of a row whose customer is not found now: whoever one of that customer's identities ever meant
KEPT: Final = (
    WHO
    + """
select distinct s.code, p.id from {n}_memberships m
  join {n}_segments s on s.id = m.segment_id join who w on w.id = m.customer_id and w.found is null
  join {n}_past h on h.customer_id = m.customer_id
  join {n}_people_past p on p.number = h.number::text or p.email = lower(btrim(h.email))
"""
)

PENDING: Final = (
    WHO
    + """
select w.why, count(*) filter (where not w.met or w.why <> 'customer_missing'), count(*)
  from {n}_memberships m join who w on w.id = m.customer_id where w.why is not null group by 1
"""
)


class Club(Writers):
    """Three tables with their connector. on_delete: what segstream makes of a segment whose row ends."""

    def __init__(
        self,
        stack: Stack,
        shop: PeopleShop,
        encoding: Encoding,
        *,
        seed: int,
        layout: Layout = "surrogate",
        on_delete: str = "keep",
    ) -> None:
        super().__init__(stack, shop.name, seed)
        self.shop = shop
        self.encoding: Encoding = encoding
        self.layout: Layout = layout
        self.on_delete = on_delete
        self._numbers = itertools.count(1)

    def topic(self, table: str) -> str:
        return f"{self.name}.public.{self.name}_{table}"

    @property
    def settings(self) -> dict[str, Any]:
        """segstream's settings of the tables, and quick repetitions."""
        return {
            "tables": {
                self.topic("memberships"): {
                    "segment": {"reference": "segments", "by": "segment_id"},
                    "member": {"reference": "customers", "by": "customer_id"},
                    "partitioned_by": "segment" if self.layout == "routed" else "none",
                }
            },
            "references": {
                "segments": {"topic": self.topic("segments"), "key": "id", "code": "code"},
                "customers": {"topic": self.topic("customers"), "key": "id", "number": "number", "email": "email"},
            },
            "segments": {
                "topic": self.topic("segments"), "code": "code", "name": "name", "description": "description",
                "present": {"column": "active", "is": True}, "on_delete": self.on_delete,
            },
            "identity": {
                "missing_retry_s": 1, "missing_retry_cap_s": 2, "retries_per_s": 20, "found_ttl_s": FOUND_TTL_S,
            },
        }  # fmt: skip

    def create(self) -> None:
        """Make topics and tables, with rows that the connector's snapshot will read, and the shop's first customers."""
        for table in ("segments", "customers", "memberships"):
            self._stack.create_topic(self.topic(table))
        routed = self.layout == "routed"
        key = "part int default 0" if routed else "id serial primary key"
        more = ", primary key (segment_id, customer_id)" if routed else ""
        self._sql(DDL.replace("{key}", key).replace("{more}", more))
        chance = random.Random(f"{self.seed}-first")
        for twin in range(TWINS):
            for side in "ab":
                self.shop.put(f"twin-{twin}{side}", _twin(twin), f"9{twin}{'ab'.index(side)}")
        with self._stack.postgres.connect() as connection, connection.cursor() as cursor:
            for code in CODES[:FIRST]:
                cursor.execute(f"insert into {self.name}_segments(code, name) values (%s, %s)", (code, code.upper()))
            for _ in range(PEOPLE):
                self._customer(cursor, chance)
            for _ in range(PEOPLE * 3):
                self._join(cursor, chance)

    def connect(self, config: dict[str, str] | None = None) -> None:
        converters = self._stack.avro_converters() if self.encoding == "avro" else json_converters()
        tables = ",".join(f"public.{self.name}_{table}" for table in ("segments", "customers", "memberships"))
        config = {"table.include.list": tables} | (config or {})
        if self.layout == "routed":
            # routed records only: the transform leaves tombstones to the default partitioner, so there must be none
            config |= {
                "tombstones.on.delete": "false",
                "transforms": "route",
                "transforms.route.type": ROUTE,
                "transforms.route.partition.payload.fields": "change.segment_id",
                "transforms.route.partition.topic.num": "4",
                "transforms.route.predicate": "members",
                "predicates": "members",
                "predicates.members.type": "org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
                "predicates.members.pattern": ".*_memberships",
            }
        self._stack.connect(self.name, config | converters)

    def disconnect(self) -> None:
        """Delete the connector, but not its slot: without it, it would not start again from the place that it wrote down."""
        self._stack.worker.delete(self.name)

    def recreate_topic(self, table: str) -> None:
        """Nobody may be writing, and there may be no connector."""
        topic = self.topic(table)
        self._stack.broker.admin.delete_topics([topic])[topic].result(10)
        for _ in range(50):
            try:
                self._stack.create_topic(topic)
            except KafkaException:  # it is being deleted still
                time.sleep(0.1)
            else:
                return
        raise StackError(f"{topic} could not be made anew")

    def drop(self) -> None:
        """Delete the connector, its slot, and the tables; the topics stay."""
        self.stop()
        self._stack.delete_connector(self.name)
        for table in ("memberships", "customers", "segments", "past", "people", "people_past"):
            self._sql("drop table {n}_" + table)

    # ---- what is true ----------------------------------------------------------------------------------------------

    def truth(self) -> Segments:
        """Who is to be in which segment, as the databases say: the source's memberships of the shop's customers."""
        # a segment that does not count any more is deleted with its members, or keeps them
        counts = "s.active" if self.on_delete == "delete" else "true"
        return self._found(TRUTH.replace("{counts}", counts))

    def wanted(self) -> Segments:
        """The truth as far as it can be told.

        With those in the shop whom a row found before its customer's identity came to mean nobody, and without the segments that
        ceased to count before they were ever created.
        """
        wanted, kept, there = self.truth(), self._found(KEPT), self.shop.segments()
        for segment, members in self.shop.members().items():
            if left := members & kept.get(segment, set()):
                wanted.setdefault(segment, set()).update(left)
        counts = {code for code, (_, _, active) in self.catalog().items() if active}
        return {segment: members for segment, members in wanted.items() if segment in counts or segment in there}

    def pending(self) -> dict[str, tuple[int, float]]:
        """For each reason how many rows must and may be pending.

        A row whose customer was found once, and is not any more, keeps its member as long as nothing changes. And a row that is
        deleted before anybody could tell whom it meant waits for the answer: an earlier life may have added that customer.
        """
        return {
            why: (least, most if why == "customer_missing" else float("inf")) for why, least, most in self._sql(PENDING)
        }

    def guests(self) -> set[str]:
        return {one for (one,) in self._sql("select id from {n}_people where anonymous")}

    def catalog(self) -> dict[str, tuple[str, str | None, bool]]:
        """What each segment is called and described as, and whether it counts."""
        rows = self._sql("select code, name, description, active from {n}_segments")
        return {code: (name or code, text, active) for code, name, text, active in rows}

    def _found(self, query: str) -> Segments:
        found: Segments = {}
        for segment, member in self._sql(query):
            found.setdefault(segment, set()).add(member)
        return found

    def _sql(self, statement: str) -> list[tuple[Any, ...]]:
        return self._stack.sql(statement.replace("{n}", self.name))

    # ---- writing ---------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Whoever registered anew gets another number, there and here: only then the source's rows mean the new account."""
        time.sleep(FOUND_TTL_S + 0.5)
        for person, email in self._sql("select id, email from {n}_people where id like 'anew-%' and not deleted"):
            number = next(self._numbers) + 1_000_000
            self.shop.put(person, email, str(number))
            self._stack.sql(
                f"update {self.name}_customers set number = %s where lower(btrim(email)) = %s", (number, email)
            )

    def _steps(self) -> dict[str, tuple[int, Writer]]:
        return {
            "join": (30, self._join),
            "leave": (8, self._leave),
            "move": (6, self._move),
            "note": (3, self._note),
            "new segment": (3, self._new_segment),
            "rename segment": (3, self._rename_segment),
            "delete segment": (1, self._delete_segment),
            "toggle segment": (2, self._toggle_segment),
            "customer": (7, self._customer),
            "delete customer": (1, self._delete_customer),
            "change identity": (5, self._change_identity),
            "null identity": (1, self._null_identity),
        }

    def _beside(self) -> list[Callable[[int], None]]:
        return [self._live]

    def _live(self, transactions: int) -> None:
        """What customers do at the shop while the source is written to."""
        chance = random.Random(f"{self.seed}-live")
        acts = (self._register, self._register, self._guest, self._close_account, self._register_anew)
        with self._stack.postgres.connect() as connection:
            while sum(self.outcomes.values()) < transactions and not self._stopping.wait(chance.uniform(0, 0.15)):
                with connection.cursor() as cursor:
                    chance.choice(acts)(cursor, chance)
                connection.commit()

    def _one(self, cursor: psycopg.Cursor[Any], chance: random.Random, query: str) -> Any:
        rows = cursor.execute(query.replace("{n}", self.name) + " order by 1").fetchall()
        return chance.choice(rows) if rows else None

    def _register(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        """Somebody of the source's, never seen at the shop, registers at last."""
        late = self._one(
            cursor, chance,
            "select c.email, c.number from {n}_customers c where c.number is not null and c.email like '%@example.com' and"
            " not exists(select from {n}_people_past p where p.number = c.number::text or p.email = lower(btrim(c.email)))",
        )  # fmt: skip
        if late is not None:
            self.shop.put(f"late-{next(self._numbers)}", late[0].strip().lower(), str(late[1]))

    def _guest(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        """Somebody orders as a guest with an email that the source knows."""
        known = self._one(cursor, chance, "select email from {n}_customers where email is not null")
        if known is not None:
            self.shop.put(f"guest-{next(self._numbers)}", known[0].strip().lower(), guest=True)

    def _close_account(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        one = self._person(cursor, chance)
        if one is not None and chance.random() < 0.5:
            self.shop.delete_person(one[0])

    def _register_anew(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        one = self._person(cursor, chance)
        if one is not None:
            self.shop.delete_person(one[0])
            number = next(self._numbers) + 1_000_000
            self.shop.put(f"anew-{next(self._numbers)}", one[1], str(number))

    def _person(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> Any:
        return self._one(
            cursor, chance,
            "select id, email from {n}_people where not anonymous and not deleted and id not like 'twin-%'",
        )  # fmt: skip

    def _customer(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        """A new one of the source: known to the shop, a guest there, ambiguous, or nobody yet; or one that it has already."""
        number = next(self._numbers)
        email: str | None = f"m{number}@example.com"
        kind = chance.choices(("known", "guest", "twin", "twin number", "nobody", "again"), (8, 1, 1, 1, 3, 2))[0]
        wanted: int | None = 10_000 + number
        if kind == "known":
            self.shop.put(f"c-{number}", email, str(wanted))
        elif kind == "guest":
            self.shop.put(f"guest-{number}", email, guest=True)
            wanted = None
        elif kind.startswith("twin"):
            email = _twin(chance.randrange(TWINS))
            wanted = 900 if kind == "twin number" else None
        elif kind == "again":
            email, wanted = self._one(cursor, chance, "select email, number from {n}_customers") or (email, wanted)
        if email is not None and chance.random() < 0.2:
            email = f" {email.title()} "
        cursor.execute(
            f"insert into {self.name}_customers(email, number) values (%s, %s)", (email, wanted), prepare=False
        )

    def _delete_customer(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        self._on_one(cursor, chance, "customers", "delete from {t} where id = %s")

    def _change_identity(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        """A customer gets another email and number, at the shop and at the source, at either first."""
        one = self._one(
            cursor, chance,
            "select c.id, p.id from {n}_customers c join {n}_people p on p.number = c.number::text"
            " where not p.anonymous and not p.deleted and p.id not like 'twin-%'",
        )  # fmt: skip
        if one is None:
            return
        number = next(self._numbers)
        email = f"m{number}@example.com"
        steps = [
            lambda: self.shop.put(one[1], email, str(10_000 + number)),
            lambda: self._do(
                cursor, f"update {self.name}_customers set email = %s, number = %s where id = %s",
                email, 10_000 + number, one[0],
            ),
        ]  # fmt: skip
        chance.shuffle(steps)
        for step in steps:
            step()

    def _null_identity(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        column = chance.choice(("email", "number"))
        self._on_one(cursor, chance, "customers", f"update {{t}} set {column} = null where id = %s")

    def _join(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        values = (self._id(cursor, chance, "segments"), self._id(cursor, chance, "customers"))
        if None not in values:
            again = "" if self.layout == "surrogate" else " on conflict do nothing"
            self._do(
                cursor, f"insert into {self.name}_memberships(segment_id, customer_id) values (%s, %s){again}", *values
            )

    def _leave(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        pair = self._pair(cursor, chance)
        if pair is not None:
            self._do(cursor, f"delete from {self.name}_memberships where segment_id = %s and customer_id = %s", *pair)

    def _move(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        pair, parent = self._pair(cursor, chance), chance.choice(("segment", "customer"))
        target = self._id(cursor, chance, f"{parent}s")
        if pair is not None and target is not None:
            self._do(
                cursor,
                f"update {self.name}_memberships set {parent}_id = %s where segment_id = %s and customer_id = %s",
                target, *pair,
            )  # fmt: skip

    def _note(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        """What changes no membership, and brings placeholders."""
        table = chance.choice(("customers", "memberships"))
        note = "".join(chance.choices("abcdefgh", k=WIDE))
        if table == "customers":
            self._on_one(cursor, chance, table, "update {t} set note = %s where id = %s", note)
        elif (pair := self._pair(cursor, chance)) is not None:
            where = "segment_id = %s and customer_id = %s"
            self._do(cursor, f"update {self.name}_memberships set note = %s where {where}", note, *pair)

    def _new_segment(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        code = chance.choice(CODES)
        if self.layout == "routed":
            code = f"{code}-{next(self._numbers)}"  # two of one code would be two partitions that feed one segment
        self._do(
            cursor, f"insert into {self.name}_segments(code, name) values (%s, %s) on conflict do nothing",
            code, f"{code} {chance.randrange(100)}",
        )  # fmt: skip

    def _rename_segment(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        if chance.random() < 0.5:
            text = "".join(chance.choices("abcdefgh", k=WIDE))
            self._on_one(cursor, chance, "segments", "update {t} set description = %s where id = %s", text)
        else:
            name = chance.choice((None, f"name {chance.randrange(1000)}"))
            self._on_one(cursor, chance, "segments", "update {t} set name = %s where id = %s", name)

    def _delete_segment(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        self._on_one(cursor, chance, "segments", "delete from {t} where id = %s")

    def _toggle_segment(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> None:
        self._on_one(cursor, chance, "segments", "update {t} set active = %s where id = %s", chance.random() < 0.7)

    def _on_one(
        self, cursor: psycopg.Cursor[Any], chance: random.Random, table: str, statement: str, *values: Any
    ) -> None:
        one = self._id(cursor, chance, table)
        if one is not None:
            self._do(cursor, statement.replace("{t}", f"{self.name}_{table}"), *values, one)

    def _id(self, cursor: psycopg.Cursor[Any], chance: random.Random, table: str) -> int | None:
        row = self._one(cursor, chance, f"select id from {{n}}_{table}")
        return None if row is None else int(row[0])

    def _pair(self, cursor: psycopg.Cursor[Any], chance: random.Random) -> tuple[int, int] | None:
        pair: tuple[int, int] | None = self._one(cursor, chance, "select segment_id, customer_id from {n}_memberships")
        return pair

    def _do(self, cursor: psycopg.Cursor[Any], statement: str, *values: Any) -> None:
        cursor.execute(statement, values, prepare=False)


def _twin(number: int) -> str:
    return f"twin{number}@example.com"
