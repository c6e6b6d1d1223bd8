"""One seed of one world, from its start to the comparison with the source."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable
from typing import Any, NamedTuple

from stream.core.decode.rowkey import row_key
from stream.core.effects import Commit
from stream.core.model import Membership, TopicPartition
from stream.core.owners import TableSpec
from stream.core.rowstate import decode_row, row_key_hash
from tests.sim import oracle
from tests.sim.broker import Broker
from tests.sim.clock import Clock
from tests.sim.instance import Instance
from tests.sim.shadow import Shadow
from tests.sim.shop import Shop, Weather
from tests.sim.source import BAD_CODE, Connector, Database, key_dict, mapping_of, place
from tests.sim.watch import Violation, Watch
from tests.sim.worlds import World

EVENTS_MAX = 400_000


class Note(NamedTuple):
    at_s: float
    text: str
    segment: str | None
    members: tuple[str, ...]


class Names(dict[Any, Any]):
    """Row by (topic, state key): filled as rows come to be."""


class Play:
    session_s = 6.0
    lease_s = 4.0
    drain_s = 5.0
    step_max_s = 0.5
    settle_within_s = 90.0

    def __init__(self, world: World, rng: random.Random, *, trace: bool = False) -> None:
        self.world = world
        self.rng = rng
        self.clock = Clock()
        self.calm_s = world.calm_s
        self.notes: list[Note] | None = [] if trace else None
        self.alarms: Counter[str] = Counter()
        self.epoch = 0
        self.unclean = 0
        self.names: dict[tuple[str, bytes], Any] = {}
        self.keys: dict[Any, bytes] = {}
        self.broker = Broker(self.clock, rng)
        self.sole = any(table.sole for table in world.tables)
        self.specs = self._specs()
        for topic in self.specs:
            self.broker.create(topic, world.partitions)
        self.codes = [f"s{i}" for i in range(world.segments)]
        self.people = [f"m{i}" for i in range(world.members)]
        offered = [*self.codes, BAD_CODE] if world.bad_codes else self.codes
        self.database, self.connector = self._source(offered)
        self.absent = set(self.codes[: world.missing])
        self.shop = self._shop()
        self.odd = self._odd()
        self.watch = self._watch()
        self.broker.applied = self._applied
        self.broker.on_append = self._appended
        if trace:
            self.shop.applied = lambda op, m, _s: self.note(f"shop {op} {m[0]} {m[1]}", m[0], (m[1],))
        self.instances: list[Instance] = []
        self._born = 0

    # ---- what there is -------------------------------------------------------------------------------------------

    def _specs(self) -> dict[str, TableSpec]:
        return {table.topic: TableSpec(mapping_of(table), self.sole) for table in self.world.tables}

    def _source(self, codes: list[str]) -> tuple[Database, Connector]:
        database = Database(self.clock, self.rng, self.world.tables, codes, self.people)
        return database, Connector(self.clock, self.rng, self.broker, database)

    def _shop(self) -> Shop:
        world, limits = self.world, self.world.limits
        odd = iter(self.people[: 3 * world.refused])
        groups = [frozenset(member for member, _ in zip(odd, range(world.refused), strict=False)) for _ in range(3)]
        return Shop(
            self.clock, self.rng, limits.api_timeout_s, limits.settle_s, world.weather,
            {code: set() for code in self.codes if code not in self.absent}, *groups, set(self.codes[: world.failing]),
        )  # fmt: skip

    def _odd(self) -> frozenset[str]:
        return self.shop.poison | self.shop.unknown | self.shop.forbidden

    def _watch(self) -> Watch:
        return Watch(self)

    def _instance(self) -> Instance:
        return Instance(self, f"i{self._born}")

    def new_shadow(self) -> Shadow:
        return Shadow(self)

    # ---- what others ask -----------------------------------------------------------------------------------------

    def spec_of(self, topic: str) -> TableSpec:
        return self.specs[topic]

    def home(self, membership: Membership) -> TopicPartition:
        """A partition by which the owner of a membership is known."""
        table = self.world.tables[0]
        if self.sole:
            return TopicPartition(table.topic, 0)
        return place(table, membership, self.broker.counts[table.topic])

    def home_of(self, tp: TopicPartition) -> Hashable:
        return TopicPartition(self.world.tables[0].topic, 0) if self.sole else tp

    def note(self, text: str, segment: str | None = None, members: tuple[str, ...] = ()) -> None:
        if self.notes is not None:
            self.notes.append(Note(self.clock.now_s, text, segment, members))

    def _applied(self, offsets: dict[TopicPartition, tuple[int, str]], commit: Commit) -> None:
        self.watch.applied(offsets, commit)
        if not self.world.compaction:
            oracle.check(self, list(self.broker.logs) if self.sole else list(offsets))

    def _name(self, tp: TopicPartition, row: tuple[Any, ...]) -> None:
        table = next(t for t in self.world.tables if t.topic == tp.topic)
        key = row_key_hash(row_key(key_dict(table, row[1:])), b"")
        self.keys[row] = key
        self.names[tp.topic, key] = row

    def _appended(self, tp: TopicPartition) -> None:
        record = self.broker.logs[tp].records[-1]
        if record.row is not None and record.row not in self.keys:
            self._name(tp, record.row)
        if self.notes is not None:
            says = record.says if isinstance(record.says, tuple) else (None, "")
            item = record.item
            op, position = getattr(item, "op", type(item).__name__), getattr(item, "position", None)
            self.note(
                f"{tp.topic}[{tp.partition}]@{record.offset} {op} {record.row} {position} says {record.says}"
                f"{' (repeat)' if record.repeat else ''}",
                says[0],
                (says[1],),
            )
        for instance in self.instances:
            if tp in instance.owned:
                instance.wake(0.01)

    # ---- the course of events ------------------------------------------------------------------------------------

    def run(self) -> None:
        """Raises Violation."""
        world, clock, rng = self.world, self.clock, self.rng
        for _ in range(world.history_n):
            self.database.transact()
        self.connector.pump()
        if world.compaction:
            for log in self.broker.logs.values():
                log.compact(rng.randint(0, log.end), tombstones=rng.random() < 0.5)
                log.history = list(log.records)
        for _ in range(world.instances):
            self._start()
        self._plan()
        while clock.now_s < self.calm_s:
            self._step()
        self._calm()
        if self.shop.failing:
            self._others_go_on()
        deadline_s = clock.now_s + self.settle_within_s
        check_s = 0.0
        while clock.now_s < deadline_s:
            self._step()
            if clock.now_s >= check_s:
                check_s = clock.now_s + 1.0
                if not self.unsettled():
                    break
        else:
            raise Violation("settles", f"after {self.settle_within_s:g} s without faults: {self.unsettled()}")
        until_s = clock.now_s + self.aftermath_s()
        while clock.now_s < until_s:
            self._step()
        self._compare()

    def _others_go_on(self) -> None:
        """One segment fails on: everything is read and durable all the same, and the others are as they should be."""
        deadline_s = self.clock.now_s + self.settle_within_s
        while behind := self._behind() or self._unlike(self.shop.failing):
            if self.clock.now_s > deadline_s:
                raise Violation("one fails", f"while {sorted(self.shop.failing)} fail: {behind}")
            self._step()
        self.note("no segment fails any more")
        self.shop.failing.clear()

    def aftermath_s(self) -> float:
        """Until nothing can change any more."""
        return self.world.limits.api_timeout_s + self.world.limits.settle_s

    def _step(self) -> None:
        if not self.clock.step():
            raise Violation("stuck", "nothing is planned any more")

    def _start(self) -> None:
        if self.sole and self.clock.now_s > self.calm_s and self._alive():
            return
        self._born += 1
        self.instances.append(self._instance())

    def _alive(self) -> list[Instance]:
        return [i for i in self.instances if i.alive and not i.stopping]

    def _plan(self) -> None:
        world, rng, at = self.world, self.rng, self.clock.after
        span_s = world.calm_s * 0.9

        def often(count: int, do: Any) -> None:
            for _ in range(count):
                at(rng.uniform(0.5, span_s), do)

        burst_s = 0.0
        for _ in range(world.transactions_n):
            if rng.random() > world.burst or not burst_s:
                burst_s = rng.uniform(0.1, span_s)
            at(burst_s + rng.uniform(0.0, 0.1), self._transact)
        often(world.repeats, lambda: self.connector_restarts(rng.uniform(0.0, 1.0)))
        often(world.snapshots, self.connector.snapshot)
        often(world.garbage, self.connector.garbage)
        often(world.fail_overs, self.database.fail_over)
        often(world.crashes, self._crash)
        often(world.stops, self._stop)
        often(world.joins, self._start)
        often(world.pauses, lambda: self._away("pause"))
        often(world.cuts, lambda: self._away("cut"))
        if world.compaction:
            often(3, self._compact)
        for code in sorted(self.absent):
            if not (world.missing_for_ever and code == min(self.absent)):
                at(rng.uniform(1.0, span_s), self._appears, code)

    def _transact(self) -> None:
        self.database.transact()
        self.clock.after(self.rng.choice((0.0, 0.05, 0.3)), self.connector.pump, self.rng.choice((1, 3, 1000)))
        self.clock.after(0.5, self.connector.pump)

    def connector_restarts(self, delay_s: float) -> None:
        self.note("connector restarts")
        self.connector.restart(self.rng.randint(1, 15))
        self.connector.up = False
        self.clock.after(delay_s, self._connector_up)

    def _connector_up(self) -> None:
        self.connector.up = True
        self.connector.pump(self.rng.randint(1, 20))
        self.clock.after(self.rng.uniform(0.05, 1.5), self.connector.pump)

    def _compact(self) -> None:
        """With crashes, only what was committed: whoever was away for longer than tombstones last may miss deletes."""
        for tp, log in self.broker.logs.items():
            most = self.broker.offsets.get(tp, (0, ""))[0] if self.world.crashes else log.end
            log.compact(self.rng.randint(0, most), tombstones=self.rng.random() < 0.3)

    def _appears(self, code: str) -> None:
        self.absent.discard(code)
        self.shop.segments[code] = set()

    def _crash(self) -> None:
        alive = self._alive()
        if alive:
            victim = self.rng.choice(alive)
            self.note(f"{victim.name} crashes")
            victim.crash()
            self.clock.after(self.rng.choice((0.1, 3.0, 8.0)), self._start)

    def _stop(self) -> None:
        alive = self._alive()
        if alive:
            victim = self.rng.choice(alive)
            self.note(f"{victim.name} stops")
            victim.stop()
            self.clock.after(self.rng.choice((0.0, 2.0, 7.0)), self._start)

    def _away(self, how: str) -> None:
        alive = self._alive()
        if alive:
            victim = self.rng.choice(alive)
            for_s = self.rng.choice((1.0, 5.0, 7.0, 12.0))
            self.note(f"{victim.name} {how} for {for_s:g} s")
            if how == "pause" and self.rng.random() < 0.7:
                victim.pause_at_send(for_s)
            else:
                getattr(victim, how)(self.clock.now_s + for_s)
            if self.sole:
                self.clock.after(self.rng.uniform(0.0, for_s), self._start)

    def _calm(self) -> None:
        """Faults end. Of a table with one owner, one instance stays."""
        self.note("calm")
        weather = self.world.weather
        self.shop.weather = Weather(late_removals=weather.late_removals)
        alive = self._alive()
        for extra in alive[:-1] if self.sole else ():
            extra.stop()
        if not alive:
            self._start()
        self.connector.up = True
        self.connector.pump()

    # ---- the end -------------------------------------------------------------------------------------------------

    def _behind(self) -> str:
        """Why not everything is read and durable yet; empty when it is."""
        if self.connector.sent < len(self.database.wal):
            return "the connector is behind"
        for tp, end in self.broker.ends().items():
            if self.broker.offsets.get(tp, (-1, ""))[0] != end:
                return f"{tp} is committed at {self.broker.offsets.get(tp)}, its end is {end}"
            parts = [part for i in self._alive() if (part := i.engine.part(tp)) is not None]
            if not parts or not parts[0].acked:
                return f"{tp} has no owner that acts"
        return ""

    def _unlike(self, without: set[str]) -> str:
        """What differs from the source's truth, these segments aside; empty when nothing does."""
        wrong = {m for m in self.database.truth() ^ self.shop.holds() if m[0] not in without}
        return f"{sorted(wrong)} differ" if wrong else ""

    def unsettled(self) -> str:
        """Why not everything is done yet; empty when it is."""
        if behind := self._behind():
            return behind
        for instance in self.instances:
            engine = instance.engine
            if instance.alive and instance.stopping:
                return f"{instance.name} is stopping"
            if instance.alive and (engine.standings() or engine.delivery.flights or engine.letters_open()):
                return f"{instance.name} works on {engine.standings()} memberships"
            if instance.alive and any(table.later or table.held for table in engine.tables()):
                return f"{instance.name} has put something off"
        return ""

    def _compare(self) -> None:
        truth, holds = self.database.truth(), self.shop.holds()
        missing = {m for m in truth if m[0] not in self.shop.segments}
        odd = {m for m in truth - missing if m[1] in self.odd}
        expected = truth - odd - missing
        if holds != expected:
            wrong = tuple(sorted(holds ^ expected))
            raise Violation(
                "end state", f"missing {sorted(expected - holds)}, too many {sorted(holds - expected)}", wrong
            )
        lettered = {
            record.says
            for (tp, offset) in self.broker.letters
            for record in self.broker.logs[tp].history
            if record.offset == offset
        }
        for membership in odd - lettered:
            raise Violation("refused", "refused, and no letter", (membership,))
        pending = {
            (state.segment, state.member)
            for rows in self.broker.state.values()
            for key, data in rows.items()
            if key != b"\0partition" and (state := decode_row(data)).pending is not None
        }
        for membership in missing - pending:
            raise Violation("pending", "its segment is missing, and no row is pending", (membership,))
