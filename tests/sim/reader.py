"""How one process reads the references whole and goes on: the core's tables, and a much simpler fold beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream.core.catalog import CatalogRule, Plan
from stream.core.identity import IdentityRule
from stream.core.model import Change, TopicPartition
from stream.core.references import Reference as Table
from stream.core.references import ReferenceRule
from stream.core.resolver import Identities, Reference
from tests.sim.broker import Log, Record
from tests.sim.named import COLUMNS, CUSTOMERS, SEGMENTS

if TYPE_CHECKING:
    from stream.core.engine import Engine
    from tests.sim.named_play import NamedPlay

CATALOG = "_segments"


class Reader:
    """seen: each parent as this process read it, None where it was deleted. ready: every table was read to its end."""

    def __init__(self, play: NamedPlay) -> None:
        self.play = play
        self.rng = play.rng
        world = play.world
        self.rule = CatalogRule("code", "name", on_delete=world.on_delete)
        self.tables: dict[str, Table] = {}
        if world.customers_table:
            rule = ReferenceRule(CUSTOMERS, "id", ("number", "email"))
            self.tables[CUSTOMERS] = Table(rule, COLUMNS[CUSTOMERS])
        if world.segments_table:
            self.tables[SEGMENTS] = Table(ReferenceRule(SEGMENTS, "id", ("code",)), COLUMNS[SEGMENTS])
        if world.catalog:
            rule = ReferenceRule(CATALOG, "", self.rule.columns(), tells_deletes=True)
            self.tables[CATALOG] = Table(rule, COLUMNS[SEGMENTS])
        self.seen: dict[tuple[str, int], tuple[Any, ...] | None] = {}
        self.codes: dict[int, str] = {}
        self.logs: dict[TopicPartition, Log] = {}
        if CUSTOMERS in self.tables:
            self.logs.update(play.connector.outside)
        if SEGMENTS in self.tables or CATALOG in self.tables:
            self.logs.update({tp: log for tp, log in play.broker.logs.items() if tp.topic == SEGMENTS})
        self.positions = dict.fromkeys(self.logs, 0)
        self.ends = {tp: log.end for tp, log in self.logs.items()}
        self.ready = False
        self._next_s = play.clock.now_s + self.rng.choice((0.0, 0.1, 1.0))

    def identities(self) -> Identities:
        world, kinds = self.play.world, {CUSTOMERS: ("number", "email"), SEGMENTS: ("code",)}
        found = {name: Reference(self.tables[name].get, kinds[name]) for name in kinds if name in self.tables}
        return Identities(IdentityRule(world.match.rule, world.match.tie_break), found, world.lookups)

    def plan(self) -> Plan:
        world = self.play.world
        if not world.catalog:
            return Plan(world.create_missing)
        return Plan(world.create_missing, SEGMENTS, self.rule, self.tables[CATALOG])

    def step(self, engine: Engine, now_s: float) -> None:
        """Read on, some records at a time and not at each turn."""
        if now_s < self._next_s:
            return
        for tp, log in self.logs.items():
            records = log.read(self.positions[tp], self.rng.choice((1, 5, 100)))
            if not records:
                self.positions[tp] = max(self.positions[tp], log.end)
                continue
            self.positions[tp] = records[-1].offset + 1
            self._fold(engine, tp, records)
        if not self.ready and all(self.positions[tp] >= end for tp, end in self.ends.items()):
            self.ready = True
        engine.references_ready = self.ready
        calm = now_s > self.play.calm_s
        self._next_s = now_s + (0.1 if calm else self.rng.choice((0.0, 0.0, 0.2, 1.5)))

    def _fold(self, engine: Engine, tp: TopicPartition, records: list[Record]) -> None:
        items = [record.item for record in records]
        for item in items:
            assert item.key is not None  # type: ignore[union-attr]  # they have no other records
            key = item.key["id"]  # type: ignore[union-attr]  # as above
            self.seen[tp.topic, key] = None
            if type(item) is Change and item.after is not None:
                self.seen[tp.topic, key] = item.after[1:]
                if tp.topic == SEGMENTS:
                    self.codes[key] = item.after[1]
        names = (CUSTOMERS,) if tp.topic == CUSTOMERS else (SEGMENTS, CATALOG)
        for name in names:
            table = self.tables.get(name)
            if table is None:
                continue
            keys = table.fold(items, tp.partition)
            if not keys:
                continue
            if name == CATALOG:
                engine.segments_changed(keys)
            elif self.ready:
                engine.references_changed(name, keys)

    def behind(self) -> bool:
        return not self.ready or any(self.positions[tp] < log.end for tp, log in self.logs.items())

    def wants(self, code: str) -> bool | None:
        """Whether a row of the table of segments wants this code; None when none ever named it."""
        if any(name == SEGMENTS and values and values[0] == code for (name, _), values in self.seen.items()):
            return True
        return False if code in self.codes.values() else None
