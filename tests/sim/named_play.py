"""One seed of a world whose rows name customers and segments by something else."""

from __future__ import annotations

import random
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from stream.core.claims import mapping
from stream.core.decode.rowkey import row_key
from stream.core.effects import Commit
from stream.core.mapping import RowMapping, TableRule
from stream.core.model import Membership, TopicPartition
from stream.core.owners import TableSpec
from stream.core.rowstate import META_KEY, decode_row, row_key_hash
from tests.sim import truth
from tests.sim.broker import Log
from tests.sim.customers import Customers, LookWeather
from tests.sim.instance import Instance
from tests.sim.named import CUSTOMERS, SEGMENTS, NamedDatabase, NamedTable, Person, place
from tests.sim.named_connector import NamedConnector
from tests.sim.named_instance import NamedInstance, NamedShadow, NamedWatch
from tests.sim.play import Play
from tests.sim.segments import About, Definer, NamedShop, Nobody
from tests.sim.shadow import Shadow
from tests.sim.watch import Watch

if TYPE_CHECKING:
    from tests.sim.named_worlds import NamedWorld


class NamedPlay(Play):
    world: NamedWorld
    shop: NamedShop
    database: NamedDatabase  # type: ignore[assignment]  # a source of its own
    connector: NamedConnector

    def __init__(self, world: NamedWorld, rng: random.Random, *, trace: bool = False) -> None:
        self.step_max_s = world.step_max_s
        self.accepted: list[str] = []
        super().__init__(world, rng, trace=trace)
        self.settle_within_s = 90.0 + 3 * world.lookups.retry_cap_s
        self.definer.note = self.note
        self.strict = world.instances == 1 and not (world.crashes or world.stops or world.pauses or world.cuts)

    # ---- what there is -------------------------------------------------------------------------------------------

    def _specs(self) -> dict[str, TableSpec]:
        specs = {table.topic: TableSpec(mapping(table.rule()), self.sole) for table in self.world.tables}
        if self.world.catalog or self.world.segments_table:
            unread = TableRule((("text", "-"),), (("id", "code"),), partitioned_by="segment")
            specs[SEGMENTS] = TableSpec(RowMapping(unread), sole=False, unread=True)
        return specs

    def _source(self, codes: list[str]) -> tuple[Any, Any]:
        """People at retail.red first: the source knows some of them."""
        world, rng = self.world, self.rng
        self.customers = Customers(self.clock, rng, world.match, world.looks)
        self.customers.note = self.note
        people: list[Person] = []
        for n in range(world.members):
            email = f"p{n}@x" if world.match.sensitive else rng.choice((f"p{n}@x", f"P{n}@x"))
            number = str(100 + n)
            steady = ""
            there = rng.random()
            if n < world.steady:
                steady = self.customers.register(email, number)
            elif there < world.there:
                self._register(email, number)
            if there > 1.0 - world.guests:
                self.customers.register(email, None, guest=True)
            people.append(Person(n + 1, number, email, steady))
        self.persons = people
        self.clock.now_s = 5.0  # the index knows those
        database = NamedDatabase(
            self.clock, rng, world.tables, people, codes,
            any_case=world.match.rule == "lower" and not world.match.sensitive, acts=world.acts,
        )  # fmt: skip
        connector = NamedConnector(self.clock, rng, self.broker, database, self.note)
        if world.customers_table:
            connector.outside = {TopicPartition(CUSTOMERS, n): Log() for n in range(world.partitions)}
            for person in people:
                if rng.random() < 0.7:
                    database.parent(CUSTOMERS, person.key, (rng.choice((None, person.number)), person.email))
        if world.catalog or world.segments_table:
            for key, code in enumerate(codes, 1):
                if rng.random() < 0.7:
                    database.parent(SEGMENTS, key, (code, f"name {key}"))
        return database, connector

    def _register(self, email: str, number: str) -> None:
        """Some registered with an email alone, some have another case of it."""
        rng, world = self.rng, self.world
        if not world.match.sensitive and rng.random() < 0.3:
            email = rng.choice((email.upper(), email.lower()))
        self.customers.register(email, number if world.numbered or rng.random() < 0.7 else None)

    def _shop(self) -> NamedShop:
        world, limits = self.world, self.world.limits
        catalog = world.catalog
        there = [code for code in self.codes if code not in self.absent and not (catalog and self.rng.random() < 0.7)]
        shop = NamedShop(
            self.clock, self.rng, limits.api_timeout_s, limits.settle_s, world.weather,
            {code: set() for code in there}, unknown=Nobody(self.customers),  # type: ignore[arg-type]
            customers=self.customers,
        )  # fmt: skip
        shop.about = {code: About(f"old {code}") for code in there}
        if world.dynamic:
            code = self.rng.choice(self.codes)
            shop.segments[code], shop.about[code] = {"somebody"}, About(code, "dynamic")
            self.dynamic = code
            self.absent.discard(code)
        self.customers.gone = shop.customer_gone
        shop.moving = self._moving
        self.definer = Definer(self.clock, self.rng, shop, world.define_fails)
        return shop

    dynamic = ""

    def _odd(self) -> frozenset[str]:
        return frozenset()

    def _watch(self) -> Watch:
        return NamedWatch(self)

    def _instance(self) -> Instance:
        return NamedInstance(self, f"i{self._born}")

    def new_shadow(self) -> Shadow:
        return NamedShadow(self)

    def note(self, text: str, segment: str | None = None, members: tuple[Any, ...] = ()) -> None:
        # what concerns a row that is not resolved is told whomever it is about
        super().note(text, None if segment is not None and ":" in segment else segment, members)

    # ---- what others ask -----------------------------------------------------------------------------------------

    def home(self, membership: Membership) -> TopicPartition:
        table: NamedTable = self.world.tables[0]  # type: ignore[assignment]  # a table of its own
        if self.sole:
            return TopicPartition(table.topic, 0)
        code, member = membership
        if table.kind == "composite":
            key: tuple[Any, ...] = (code, self.customers.now(member).number)
        else:
            key = (self.codes.index(code) + 1 if table.refers else code,)
        return place(table, key, self.broker.counts[table.topic])

    def home_of(self, tp: TopicPartition) -> Hashable:
        return super().home_of(tp) if tp.topic != SEGMENTS else tp

    def _name(self, tp: TopicPartition, row: tuple[Any, ...]) -> None:
        table = next(t for t in self.world.tables if t.topic == tp.topic)
        key = row_key_hash(row_key(table.key(row[1:])), b"")  # type: ignore[attr-defined]  # a table of its own
        self.keys[row] = key
        self.names[tp.topic, key] = row

    def _moving(self, code: str, member: str) -> str:
        """Why this addition would move a member to a changed code that nobody accepted."""
        if not code.endswith("-new") or code in self.accepted:
            return ""
        old = (code.removesuffix("-new"), member)
        if old in self.shop.holds() and self._stored(old):
            return f"{member} moves to {code}, which nobody accepted"
        return ""

    def _stored(self, membership: tuple[str, str]) -> bool:
        """Whether a stored row says it: a code that none says is not in use, and its last members may be on their way out."""
        return any(
            ((state := decode_row(data)).segment, state.member) == membership
            for rows in self.broker.state.values()
            for key, data in rows.items()
            if key != META_KEY
        )

    def _applied(self, offsets: dict[TopicPartition, tuple[int, str]], commit: Commit) -> None:
        self.watch.applied(offsets, commit)
        tps = list(self.broker.logs) if self.sole else list(offsets)
        truth.crash_now(self, [tp for tp in tps if tp.topic != SEGMENTS])

    # ---- the course of events ------------------------------------------------------------------------------------

    def _plan(self) -> None:
        super()._plan()
        world, rng = self.world, self.rng
        span_s = world.calm_s * 0.9
        for act, count in world.happens.items():
            for _ in range(count):
                self.clock.after(rng.uniform(0.5, span_s), getattr(self, f"_happens_{act}"))
        if world.accepts:
            self.clock.after(rng.uniform(span_s / 2, span_s), self._accept)

    def _happens_register(self) -> None:
        """Somebody who was not there, or was deleted, registers: a new id."""
        rng = self.rng
        person = rng.choice(self.persons)
        index = [self.customers.now(name) for name in self.customers.alive()]
        if not self.customers.holders("email", person.email, index) | self.customers.holders(
            "number", person.number, index
        ):
            self._register(person.email, person.number)

    def _happens_guest(self) -> None:
        self.customers.register(self.rng.choice(self.persons).email, None, guest=True)

    def _happens_twin(self) -> None:
        """A second one registers with the same email, or number."""
        person = self.rng.choice(self.persons)
        self.customers.register(
            *self.rng.choice(((person.email, None), (None, person.number), (person.email, person.number)))
        )

    def _loose(self) -> list[str]:
        steady = {person.steady for person in self.persons}
        return [name for name in self.customers.alive() if name not in steady]

    def _happens_delete(self) -> None:
        loose = self._loose()
        if loose:
            name = self.rng.choice(loose)
            self.customers.delete(name)
            if self.rng.random() < 0.6:
                now = self.customers.now(name)
                if now.email:
                    self.clock.after(self.rng.uniform(0.0, 8.0), self.customers.register, now.email, now.number)

    def _happens_email(self) -> None:
        loose = self._loose()
        if loose:
            name = self.rng.choice(loose)
            self.customers.change(name, self.rng.choice((self.rng.choice(self.persons).email, f"other{name}@x")))

    def _happens_merge(self) -> None:
        """Of two, one goes, and the other takes the email over."""
        loose = self._loose()
        if len(loose) > 1:
            kept, gone = self.rng.sample(loose, 2)
            email = self.customers.now(gone).email
            self.customers.delete(gone)
            if email is not None:
                self.customers.change(kept, email)

    def _accept(self) -> None:
        """The operator accepts each code that changed; whoever starts later is told again."""
        for (name, _), values in sorted(self.database.last.items()):
            if name == SEGMENTS and values[0].endswith("-new"):
                self.note(f"{values[0]} is accepted")
                self.accepted.append(values[0])
        for instance in self.instances:
            if instance.alive:
                instance.told.extend(self.accepted)  # type: ignore[attr-defined]  # one of ours

    def _appears(self, code: str) -> None:
        self.absent.discard(code)
        if code not in self.shop.segments:
            self.shop.create(code, f"by hand {code}")

    def _calm(self) -> None:
        super()._calm()
        self.definer.fails = 0.0
        weather = self.customers.weather
        self.customers.weather = LookWeather(lag_s=0.0, list_max=weather.list_max)

    def aftermath_s(self) -> float:
        return super().aftermath_s() + 5.0 + self.world.lookups.retry_s * 2

    # ---- the end -------------------------------------------------------------------------------------------------

    def unsettled(self) -> str:
        why = super().unsettled()
        if why:
            return why
        for instance in self.instances:
            if instance.alive and instance.reader.behind():  # type: ignore[attr-defined]  # one of ours
                return f"{instance.name} reads references"
        return truth.wrong(self)[0]

    def _compare(self) -> None:
        truth.compare(self)
