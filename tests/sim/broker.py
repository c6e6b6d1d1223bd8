"""A simulated Kafka: partitioned logs with gaps and compaction, transactions with offsets, and a consumer group.

A transaction's offsets are checked against the member's generation when they are sent to it, some time before it
commits: until it ends, a restore of its partitions waits, as stable reads do.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from stream.core.effects import Commit
from stream.core.model import Decoded, Membership, TopicPartition
from tests.sim.clock import Clock

Says = Membership | str | None
"""What a record makes its row say: a membership, nothing, or (a text) why it can only become a letter."""


class Record(NamedTuple):
    """row: (topic, key) of the source row, None for a record without one. repeat: the connector sent it before."""

    offset: int
    row: tuple[Any, ...] | None
    item: Decoded
    at_ms: int
    says: Says
    repeat: bool


class Log:
    """One partition. history keeps what compaction took from records."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.history: list[Record] = []
        self.end = 0

    def append(self, make: Callable[[int], Record], gap: int) -> None:
        self.end += gap
        record = make(self.end)
        self.records.append(record)
        self.history.append(record)
        self.end += 1

    def read(self, position: int, most: int) -> list[Record]:
        start = bisect.bisect_left(self.records, position, key=lambda r: r.offset)
        return self.records[start : start + most]

    def compact(self, until: int, *, tombstones: bool) -> None:
        """Older records of a key go, up to an offset; later its tombstone, too."""
        newest = {r.row: r.offset for r in self.records if r.row is not None}
        self.records = [
            r
            for r in self.records
            if r.offset >= until
            or r.row is None
            or (newest[r.row] == r.offset and not (tombstones and type(r.item).__name__ == "Tombstone"))
        ]


class Member(Protocol):
    """What the group asks of a member; each is told when it polls next."""

    name: str
    number: int
    alive: bool

    def on_assign(self, tps: list[TopicPartition]) -> None: ...
    def on_revoke(self, tps: list[TopicPartition]) -> None: ...
    def reachable(self) -> bool: ...


class Group:
    """Cooperative: who must give something up is asked first, and only then is it given on."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self.clock = clock
        self.rng = rng
        self.tps: list[TopicPartition] = []
        self.generation = 0
        self.members: dict[int, Member] = {}
        self.owned: dict[int, set[TopicPartition]] = {}
        self.revoking: dict[int, set[TopicPartition]] = {}
        self.generations: dict[int, int] = {}
        self._ids = 0

    def join(self, member: Member) -> int:
        self._ids += 1
        self.members[self._ids] = member
        self.owned[self._ids] = set()
        self.generations[self._ids] = -1
        self.clock.after(self.rng.uniform(0.05, 0.3), self.rebalance)
        return self._ids

    def leave(self, number: int) -> None:
        """A member that leaves, or whose session ran out."""
        if number in self.members:
            del self.members[number], self.owned[number], self.generations[number]
            self.revoking.pop(number, None)
            self.rebalance()

    def _target(self) -> dict[int, set[TopicPartition]]:
        """Sticky and balanced."""
        ids = sorted(self.members)
        target = {number: set(self.owned[number]) for number in ids}
        held = set().union(*target.values()) if target else set()
        for tp in self.tps:
            if tp not in held:
                target[min(ids, key=lambda n: len(target[n]))].add(tp)
        while True:
            most = max(ids, key=lambda n: len(target[n]))
            least = min(ids, key=lambda n: len(target[n]))
            if len(target[most]) - len(target[least]) <= 1:
                return target
            tp = min(target[most])
            target[most].discard(tp)
            target[least].add(tp)

    def rebalance(self) -> None:
        if not self.members or self.revoking:
            return
        target = self._target()
        asked = False
        for number, member in self.members.items():
            gone = self.owned[number] - target[number]
            if gone:
                asked = True
                self.revoking[number] = gone
                member.on_revoke(sorted(gone))
        held: set[TopicPartition] = set().union(*self.owned.values())
        given = False
        for number, member in self.members.items():
            new = sorted(target[number] - held)
            if new:
                given = True
                self.owned[number].update(new)
                member.on_assign(new)
        if asked or given:
            self.generation += 1

    def revoked(self, number: int) -> None:
        """The member gave up what it was asked to."""
        gone = self.revoking.pop(number, None)
        if gone is not None:
            self.owned[number] -= gone
            self.rebalance()

    def poll(self, number: int) -> bool:
        """The member learns of the generation; False when it is no member any more."""
        if number not in self.members:
            return False
        self.generations[number] = self.generation
        return True

    def accepts(self, number: int, generation: int) -> bool:
        return number in self.members and generation == self.generation


class Broker:
    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self.clock = clock
        self.rng = rng
        self.group = Group(clock, rng)
        self.logs: dict[TopicPartition, Log] = {}
        self.counts: dict[str, int] = {}
        self.offsets: dict[TopicPartition, tuple[int, str]] = {}
        self.state: dict[TopicPartition, dict[bytes, bytes]] = {}
        self.letters: dict[tuple[TopicPartition, int], str] = {}
        self.pending: dict[TopicPartition, int] = {}
        self.applied: Callable[[dict[TopicPartition, tuple[int, str]], Commit], None] = lambda _offsets, _commit: None
        self.on_append: Callable[[TopicPartition], None] = lambda _tp: None

    def create(self, topic: str, partitions: int) -> None:
        for number in range(self.counts.get(topic, 0), partitions):
            tp = TopicPartition(topic, number)
            self.logs[tp] = Log()
            self.state[tp] = {}
            self.group.tps.append(tp)
        self.counts[topic] = partitions

    def append(self, tp: TopicPartition, make: Callable[[int], Record]) -> None:
        self.logs[tp].append(make, self.rng.choice((0, 0, 0, 0, 0, 1, 2)))
        self.on_append(tp)

    def ends(self) -> dict[TopicPartition, int]:
        return {tp: log.end for tp, log in self.logs.items()}

    def _write(self, commit: Commit) -> None:
        for tp, key, value in commit.writes:
            if value is None:
                self.state[tp].pop(key, None)
            else:
                self.state[tp][key] = value

    def _pend(self, tps: Iterable[TopicPartition], by: int) -> None:
        for tp in tps:
            self.pending[tp] = self.pending.get(tp, 0) + by

    def commit(
        self, member: Member, commit: Commit, done: Callable[[bool], None], *, transactions: bool, fails: bool
    ) -> None:
        """Begin, send the offsets (which fences), end; or write the state, have it acknowledged, commit the offsets."""
        rng, clock = self.rng, self.clock
        number, generation = member.number, self.group.generations.get(member.number, -1)

        def check() -> None:
            if not member.alive:
                return
            if not member.reachable():
                clock.after(0.05, check)
                return
            accepted = self.group.accepts(number, generation)
            if not transactions:
                self._write(commit)
                clock.after(rng.uniform(0.002, 0.05), end, accepted and not fails)
            elif accepted:
                self._pend(commit.offsets, 1)
                clock.after(rng.uniform(0.005, 0.15), end_pending, not fails)
            else:
                end(ok=False)

        def end_pending(ok: bool) -> None:  # noqa: FBT001  # called by the clock
            self._pend(commit.offsets, -1)
            if ok:
                self._write(commit)
            end(ok)

        def end(ok: bool) -> None:  # noqa: FBT001  # called by the clock
            if ok:
                self.offsets.update(commit.offsets)
                self.applied(commit.offsets, commit)
            clock.after(rng.uniform(0.001, 0.01), done, ok)

        clock.after(rng.uniform(0.002, 0.06), check)
