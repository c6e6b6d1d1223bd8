"""An engine driven by hand, step by step, with its durable state kept aside: it can be thrown away and restored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stream.core.catalog import Plan
from stream.core.claims import mapping
from stream.core.decode.rowkey import row_key
from stream.core.effects import Alarm, Ask, Bury, Commit, Define, Restore, Restored, Send
from stream.core.engine import Engine
from stream.core.identity import IdentityRule
from stream.core.limits import Limits
from stream.core.mapping import TableRule
from stream.core.model import (
    Call,
    Change,
    Customer,
    Decoded,
    Definition,
    DefinitionOutcome,
    ItemError,
    Lookup,
    LookupOutcome,
    Outcome,
    Tombstone,
    TopicPartition,
)
from stream.core.owners import TableSpec
from stream.core.resolver import Identities, Reference
from stream.core.rowstate import META_KEY, PartitionState, RowState, decode_row, encode, row_key_hash
from stream.core.verdict import VerdictPolicy

TOPIC = "rows"
LIMITS = {
    "linger_s": 0.0,
    "idle_s": 0.0,
    "backlog_linger_s": 0.0,
    "api_timeout_s": 10.0,
    "settle_s": 5.0,
    "commit_interval_s": 0.0,
}


def tp(partition: int = 0) -> TopicPartition:
    return TopicPartition(TOPIC, partition)


def position(lsn: int) -> str:
    return f'["{lsn}","{lsn}"]'


class Hand:
    """sent, buried, alarms: what the engine asked for, oldest first. state, offsets: what is durable."""

    def __init__(
        self,
        *,
        keyed: bool = False,
        full: bool = False,
        partitions: int = 1,
        members: tuple[tuple[str, str], ...] = (("id", "member"),),
        segments: str = "",
        segments_plan: Plan | None = None,
        identity: IdentityRule | None = None,
        references: dict[str, tuple[tuple[str, ...], dict[str, tuple[Any, ...]]]] | None = None,
        **limits: float,
    ) -> None:
        self.keyed = keyed
        self.now = 100.0
        self.partitions = partitions
        self.limits = Limits(**(LIMITS | limits))  # type: ignore[arg-type]
        rule = TableRule(
            (("column", "segment"),),
            members,
            replica_identity="full" if full else "default",
            partitioned_by="membership" if keyed else "none",
            segment_reference=segments,
        )
        self.spec = TableSpec(mapping(rule), sole=not keyed)
        self.plan = segments_plan
        self.tables = {name: rows for name, (_, rows) in (references or {}).items()}
        self.identities = Identities(
            identity or IdentityRule(),
            {name: Reference(rows.get, kinds) for name, (kinds, rows) in (references or {}).items()},
        )
        self.ends = [0] * partitions
        self.log: list[list[tuple[int, Decoded]]] = [[] for _ in range(partitions)]
        self.state: dict[TopicPartition, dict[bytes, bytes]] = {tp(p): {} for p in range(partitions)}
        self.offsets: dict[TopicPartition, tuple[int, str]] = {}
        self.epoch = 0
        self.acknowledges_letters = True
        self.boot()

    # ---- lives ---------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """A new process: what was not durable is gone."""
        self.engine = Engine(
            lambda _topic: self.spec,
            self.limits,
            VerdictPolicy(0.1, 1.0, 1.0),
            identities=self.identities,
            segments=self.plan,
        )
        self.engine.references_ready = True
        self.lookups: list[Lookup] = []
        self.engine.partitions_known(TOPIC, self.partitions)
        self.sent: list[Call] = []
        self.buried: list[Bury] = []
        self.defined: list[Definition] = []
        self.alarms: list[Alarm] = []
        self.commits: list[Commit] = []
        self.asked: list[TopicPartition] = []

    def own(self, *partitions: int) -> None:
        """These are assigned; what the engine then asks to have restored is in `asked`."""
        self.engine.assigned([tp(p) for p in partitions or range(self.partitions)])
        self.step()

    def restore(self, partition: int = 0, **found: Any) -> None:
        stored = self.offsets.get(tp(partition))
        rows = dict(self.state[tp(partition)])
        meta = rows.pop(META_KEY, None)
        self.epoch += 1
        values: dict[str, Any] = {
            "epoch": self.epoch,
            "rows": rows,
            "position": stored[0] if stored else 0,
            "metadata": stored[1] if stored else "",
            "fresh": stored is None,
            "end": self.ends[partition],
            "meta": None if meta else encode(PartitionState(1, "id", "print", self.partitions)),
        }
        self.engine.restored(Restored(tp(partition), **(values | found)), self.now)
        self.asked = [t for t in self.asked if t != tp(partition)]

    def start(self, *, wait: bool = True) -> Hand:
        """Own and restore everything; with wait, until something may be sent."""
        self.own()
        for partition in range(self.partitions):
            self.restore(partition)
            self.again(partition)
        self.settle()
        if wait:
            self.settle(self.limits.unclean_wait_s + 0.1)
        return self

    def crash(self, *, wait: bool = True) -> Hand:
        """Another process takes over, without a clean mark."""
        self.boot()
        return self.start(wait=wait)

    def again(self, partition: int = 0) -> None:
        """Read what lies above the position that was restored."""
        part = self.engine.part(tp(partition))
        assert part is not None
        self._give(partition, [(o, i) for o, i in self.log[partition] if o >= part.ledger.position])

    # ---- records -------------------------------------------------------------------------------------------------

    def feed(self, *items: Decoded, partition: int = 0) -> None:
        records = [(self.ends[partition] + n, item) for n, item in enumerate(items)]
        self.ends[partition] += len(items)
        self.log[partition].extend(records)
        self._give(partition, records)

    def _give(self, partition: int, records: list[tuple[int, Decoded]]) -> None:
        part = self.engine.part(tp(partition))
        assert part is not None
        offsets, items = [o for o, _ in records], [i for _, i in records]
        zeros = [0] * len(items)
        self.engine.feed(tp(partition), part.epoch, items, offsets, zeros, zeros, offsets, self.now)

    def key(self, row: Any) -> dict[str, Any]:
        return {"segment": row[0], "member": row[1]} if self.keyed else {"id": row}

    def put(
        self, row: Any, segment: str = "", member: str = "", *, op: str = "c", lsn: int = 0, before: Any = None
    ) -> Change:
        after = row if self.keyed else (segment, member)
        return Change(op, self.key(row), before, after, 1, False, position(lsn) if lsn else None)  # noqa: FBT003 - the struct's order

    def cut(self, row: Any, *, lsn: int = 0, before: Any = ("", "")) -> Change:
        return Change("d", self.key(row), before, None, 1, False, position(lsn) if lsn else None)  # noqa: FBT003 - the struct's order

    def tombstone(self, row: Any) -> Tombstone:
        return Tombstone(self.key(row))

    # ---- steps ---------------------------------------------------------------------------------------------------

    def step(self, pass_s: float = 0.0, *, acknowledge: bool = True) -> list[Call]:
        """Take the effects once. What is sent comes back; a commit is acknowledged, unless told otherwise."""
        self.now += pass_s
        new: list[Call] = []
        for effect in self.engine.effects(self.now, int(self.now * 1000)):
            if isinstance(effect, Send):
                new.append(effect.call)
            elif isinstance(effect, Commit):
                self.commits.append(effect)
                if acknowledge:
                    self.acknowledge(effect)
            elif isinstance(effect, Restore):
                self.asked.extend(effect.tps)
            elif isinstance(effect, Ask):
                self.lookups.append(effect.lookup)
            elif isinstance(effect, Define):
                self.defined.append(effect.definition)
            elif isinstance(effect, Bury):
                self.buried.append(effect)
                if self.acknowledges_letters:
                    self.engine.buried(effect.token)
            else:
                self.alarms.append(effect)
        self.sent.extend(new)
        return new

    def acknowledge(self, commit: Commit) -> None:
        for written, key, value in commit.writes:
            if value is None:
                self.state[written].pop(key, None)
            else:
                self.state[written][key] = value
        self.offsets.update(commit.offsets)
        self.engine.committed(commit.number, ok=True)

    def settle(self, pass_s: float = 0.0) -> list[Call]:
        """Step until nothing comes of it; calls stay unanswered."""
        sent = self.step(pass_s)
        for _ in range(4):
            sent += self.step(0.001)
        return sent

    def answer(
        self, call: Call, status: int = 201, *, kind: Any = "answered", errors: Iterable[ItemError] = ()
    ) -> None:
        if kind != "answered":
            status = 0
        self.engine.settle(Outcome(call, kind, status, tuple(errors), None, "", "", self.now, 0.0), self.now, 0.5)

    def refer(self, name: str, key: str, *values: Any) -> None:
        """A row of a reference is this now."""
        self.tables[name][key] = values
        self.engine.references_changed(name, [key])

    def look(self, *customers: Customer, kind: Any = "answered", status: int = 200, **more: Any) -> Lookup:
        """The one look-up that is asked now, answered with these customers."""
        self.settle()
        assert len(self.lookups) == 1, self.lookups
        lookup = self.lookups.pop()
        values: dict[str, Any] = {"whole": True, "reason": "", "message": "", "retry_after_s": None} | more
        outcome = LookupOutcome(lookup, kind, customers, status=status, at_s=self.now, duration_s=0.0, **values)
        self.engine.looked_up(outcome, self.now, int(self.now * 1000), 0.5)
        return lookup

    def found(self, reason: str, kind: Any = "done") -> Definition:
        """The one definition that is asked for now, answered."""
        self.settle()
        definition = self.defined[-1]
        self.engine.defined(DefinitionOutcome(definition, kind, 200, reason, "", None, self.now, 0.0), self.now, 0.5)
        return definition

    def only(self) -> Call:
        """The one call that is sent now."""
        sent = self.settle()
        assert len(sent) == 1, sent
        return sent[0]

    def done(self, status: int = 201) -> Call:
        """The one call that is sent now, answered."""
        call = self.only()
        self.answer(call, status)
        self.settle()
        return call

    def stored(self, row: Any, partition: int = 0) -> RowState | None:
        data = self.state[tp(partition)].get(row_key_hash(row_key(self.key(row)), b""))
        return decode_row(data) if data is not None else None

    def committed(self, partition: int = 0) -> int:
        return self.offsets[tp(partition)][0]
