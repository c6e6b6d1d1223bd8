"""The one state machine: facts in, effects out. Pure; every time is the caller's monotonic clock in seconds.

Facts:   partitions_known, assigned, restored, feed, caught_up, references_changed, settle, looked_up, committed, buried, drain,
         forget, defined, segments_changed, accept_code, withdraw_code.
Effects: Restore, Send, Ask, Define, Commit, Bury, Alarm (effects.py).
The loop calls it from one thread. Its rooms: fold.py (records into rows), table.py (the row table), resolving.py (rows whose
customer or segment is to be found), catalog.py (segments that are to exist), delivery.py (calls and their outcomes), commits.py
(what becomes durable), ledger.py (which offsets).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from typing import Final

from stream.core import rowstate
from stream.core.catalog import Catalog, Plan
from stream.core.commits import Commits
from stream.core.delivery import Delivery
from stream.core.effects import Alarm, Ask, Bury, Commit, Define, Effect, Restore, Restored
from stream.core.fold import Folder
from stream.core.limits import Limits
from stream.core.model import Decoded, Definition, DefinitionOutcome, LookupOutcome, Membership, Outcome, TopicPartition
from stream.core.owners import Owners, TableSpec
from stream.core.resolver import UNKNOWN, Identities, Resolver
from stream.core.resolving import Resolving
from stream.core.rows import HELD, IDLE, PUT_OFF, Count, Part, Row, Standing
from stream.core.table import RowTable
from stream.core.verdict import Verdict, VerdictPolicy

NOT_LOOKED: Final = frozenset({"auth", "credentials", "forbidden"})
"""Why a segment cannot be looked at, now or later."""

COUNT_AT_ONCE_MAX: Final = 10_000
"""Stored rows that are counted in one step, so that polling goes on meanwhile."""


class Letter:
    """A letter on its way: it holds its record's offset, or pins its row, until it is acknowledged."""

    __slots__ = ("first", "row", "table")

    def __init__(self, first: int, table: RowTable, row: Row | None) -> None:
        self.first = first
        self.table = table
        self.row = row


class Engine:
    """Rows, batches, calls and offsets of every partition that this instance owns.

    tally counts what happened, by (metric, label…): the caller reads and clears it. behind: set by the caller
    while it is far from the ends of its partitions. references_ready: set by the caller once every reference was read to its end;
    until then no stored row is counted and nothing acts. index: makes the counts of a new row table, where a dict will not do.
    """

    def __init__(
        self,
        tables: Callable[[str], TableSpec],
        limits: Limits,
        policy: VerdictPolicy,
        *,
        hash_secret: bytes = b"",
        index: Callable[[RowTable], MutableMapping[Membership, Count]] | None = None,
        identities: Identities | None = None,
        segments: Plan | None = None,
    ) -> None:
        self.limits: Final = limits
        self.tally: Final[Counter[tuple[str, ...]]] = Counter()
        self.commits: Final = Commits(limits, self.tally)
        self.delivery: Final = Delivery(
            limits,
            policy,
            self.tally,
            self._alarm,
            self._refuse,
            self._missing,
            self._deleted,
            self._look,
            self.commits.ahead,
        )
        self.catalog: Final = Catalog(
            segments or Plan(), policy, self.tally, self._alarm, self.delivery.created, lands_s=limits.unclean_wait_s
        )
        self.halted: Final[dict[str, str]] = {}
        self.behind = False
        self._spec: Final = tables
        self._index: Final = index
        owners, identities = Owners(), identities or Identities()
        self.resolving: Final = Resolving(
            Resolver(identities, policy, self.tally, self._alarm),
            lambda part, code: owners.claim(code, owners.of(tables(part.tp.topic), part.tp)),
            self.halt,
            self.commits.first,
        )
        self.references_ready = not identities.references
        self._folder: Final = Folder(self.tally, self._bury, self._alarm, hash_secret, owners, self.resolving)
        self._alarms: list[Alarm] = []
        self._burials: list[Bury] = []
        self._letters: dict[int, Letter] = {}
        self._token = 0
        self._owned: dict[TopicPartition, None] = {}
        self._asked: set[TopicPartition] = set()
        self._parts: dict[TopicPartition, Part] = {}
        self._sole: RowTable | None = None
        self._counts: dict[str, int] = {}
        self._draining = False

    # ---- ownership -----------------------------------------------------------------------------------------------

    def partitions_known(self, topic: str, count: int) -> None:
        """How many partitions a consumed topic has: what must be owned of it when its rows have one owner."""
        self._counts[topic] = count

    def assigned(self, tps: Iterable[TopicPartition]) -> None:
        """These partitions are ours now; nothing of them acts before they are restored.

        Rows that have one owner are restored together: when one of their partitions comes late, all are restored anew.
        """
        new = [tp for tp in tps if tp not in self._owned]
        self._owned.update(dict.fromkeys(new))
        if self._sole is not None and any(self._spec(tp.topic).sole for tp in new):
            self._let_go([self._sole])

    def not_owned(self) -> list[TopicPartition]:
        """The partitions that must be owned here too before tables without keyed ownership may act; empty when all are."""
        return [
            tp
            for topic, count in self._counts.items()
            if self._spec(topic).sole
            for tp in (TopicPartition(topic, number) for number in range(count))
            if tp not in self._owned
        ]

    def _restores(self) -> list[Effect]:
        wanted = [tp for tp in self._owned if tp not in self._asked]
        if not wanted:
            return []
        if self.not_owned():
            wanted = [tp for tp in wanted if not self._spec(tp.topic).sole]
        self._asked.update(wanted)
        return [Restore(tuple(wanted))] if wanted else []

    def restored(self, found: Restored, now_s: float) -> None:
        """One partition's stored rows and offsets are here. Raises ValueError for state of a form unknown to this program."""
        tp = found.tp
        if tp not in self._asked:
            return
        self.delivery.tick(now_s)
        sole = self._spec(tp.topic).sole
        table = self._sole if sole else None
        if table is None:
            table = RowTable(
                sole=sole,
                enqueue=self.delivery.enqueue,
                rest=self.commits.rest,
                hold=self.commits.hold,
                claimed=self.resolving.restored,
                undone=self.commits.undone,
            )
            if self._index is not None:
                table.index = self._index(table)
            if sole:
                self._sole = table
        metadata = rowstate.decode_metadata(found.metadata) or rowstate.OffsetMetadata()
        part = Part(tp, found.epoch, table)
        part.rows = found.rows
        part.meta_record = found.meta
        part.mark = metadata.position
        part.fold_to = max(found.fold_to, metadata.fold_to)
        part.partitions = metadata.partitions or found.partitions
        part.ledger.position = found.position
        if not found.fresh and not metadata.clean:
            part.quiet_until_s = now_s + self.limits.unclean_wait_s
            part.doubt_until = found.end
        table.parts[tp] = part
        self._parts[tp] = part
        if not sole or all(t in self._parts for t in self._owned if self._spec(t.topic).sole):
            table.restored()
            if self.references_ready:
                table.count(COUNT_AT_ONCE_MAX)

    def part(self, tp: TopicPartition) -> Part | None:
        return self._parts.get(tp)

    def parts(self) -> Iterable[Part]:
        return self._parts.values()

    def tables(self) -> list[RowTable]:
        """Every row table, each once."""
        return list({id(part.table): part.table for part in self._parts.values()}.values())

    def why_closed(self, table: RowTable, now_s: float) -> str:
        """Why nothing of these rows is sent now, as a short label; empty when they are."""
        if table.sole and (
            self.not_owned() or any(t not in self._parts for t in self._owned if self._spec(t.topic).sole)
        ):
            return "not_owner"
        if not self.references_ready:
            return "references"
        if not table.whole:
            return "counting"
        for part in table.parts.values():
            if not part.acked:
                return "claiming"
            if now_s < part.quiet_until_s:
                return "takeover"
            if part.ledger.position < part.fold_to:
                return "folding"
            if part.repeat_since_s >= 0 and self._repeating(part, now_s):
                return "repeat"
        return ""

    def _repeating(self, part: Part, now_s: float) -> bool:
        if part.repeat_end_s >= 0 and now_s >= part.repeat_end_s:
            part.repeat_since_s = part.repeat_end_s = -1.0
            return False
        if now_s - part.repeat_since_s <= self.limits.repeat_hold_s:
            return True
        part.repeat_since_s = -1.0
        part.mark = None
        self._alarm(
            "repeat_hold",
            f"{part.tp.topic}[{part.tp.partition}]: the source's position went back and did not return in "
            f"{self.limits.repeat_hold_s:g} s: a fail-over or a restore? Going on; compare the segments with the source",
        )
        return False

    def _gates(self, now_s: float) -> None:
        pressed = self._pressed()
        tables = self.tables()
        for table in tables:
            table.landed(now_s)
            table.open = not self.why_closed(table, now_s)
        if pressed or (self._resumable() <= 0 and any(table.open and table.later for table in tables)):
            self.delivery.shelve()
        for table in tables:
            if not table.open:
                if pressed:
                    table.postpone(now_s)
                continue
            if table.held:
                held, table.held = table.held, []
                for standing in held:
                    if standing.where == HELD:
                        standing.where = IDLE
                        self.delivery.enqueue(standing)
            if table.later:
                table.resume(self._resumable(), self.delivery.room)

    def _resumable(self) -> int:
        """How many of those that were put off there is room for: half of it is left to new records."""
        return (self.limits.standings_max + 1) // 2 - self.standings()

    # ---- feeding -------------------------------------------------------------------------------------------------

    def standings(self) -> int:
        """Memberships being worked on."""
        return sum(len(table.working) for table in self.tables())

    def _pressed(self) -> bool:
        limits = self.limits
        return (
            self.commits.window_records * 5 >= limits.window_records_max * 4
            or self.commits.window_bytes * 5 >= limits.window_bytes_max * 4
            or self.standings() * 5 >= limits.standings_max * 4
        )

    def room(self) -> int:
        """How many records may be fed now; 0 at a limit: partitions pause, and polling goes on."""
        limits = self.limits
        if (
            self.commits.window_bytes >= limits.window_bytes_max
            or len(self._letters) >= limits.letters_open_max
            or self.standings() >= limits.standings_max
        ):
            return 0
        return max(0, limits.window_records_max - self.commits.window_records)

    def takes(self, tp: TopicPartition) -> bool:
        """Whether records of this partition are wanted now, room aside."""
        part = self._parts.get(tp)
        return part is not None and part.table.whole and tp.topic not in self.halted and not part.draining

    def feed(
        self,
        tp: TopicPartition,
        epoch: int,
        items: Sequence[Decoded],
        offsets: Sequence[int],
        timestamps_ms: Sequence[int],
        sizes: Sequence[int],
        origins: Sequence[object],
        now_s: float,
    ) -> None:
        """Fold decoded records, consecutive ones of one partition. Those of an older assignment epoch change nothing."""
        part = self._parts.get(tp)
        if part is None or part.epoch != epoch or not items or tp.topic in self.halted:
            return
        self.delivery.tick(now_s)
        spec = self._spec(tp.topic)
        if offsets[0] < part.ledger.position:
            # on its way since before the seek: folded after newer records, it would show an older state
            new = bisect_left(offsets, part.ledger.position)
            items, offsets, timestamps_ms = items[new:], offsets[new:], timestamps_ms[new:]
            sizes, origins = sizes[new:], origins[new:]
            if not items:
                return
        if spec.unread:
            part.ledger.advance(offsets[-1] + 1, now_s, getattr(items[-1], "ts_ms", 0))
            return
        why = self._folder.feed(part, spec, items, offsets, timestamps_ms, sizes, origins, now_s)
        if part.repeat_since_s >= 0:
            part.table.open = False
        if why is not None:
            self.halt(tp.topic, why)

    def halt(self, topic: str, why: str) -> None:
        """This topic cannot go on: it is read no further, the others are."""
        if topic not in self.halted:
            self.halted[topic] = why
            self._alarm("halted", f"{topic} stops: {why}")

    def caught_up(self, tp: TopicPartition, epoch: int, position: int) -> None:
        """The consumer stands here without a record: the last offsets are gone, or are transaction markers."""
        part = self._parts.get(tp)
        if part is not None and part.epoch == epoch and position > part.ledger.position and tp.topic not in self.halted:
            part.ledger.position = position

    # ---- letters and alarms --------------------------------------------------------------------------------------

    def _alarm(self, kind: str, text: str) -> None:
        self.tally["alarms", kind] += 1
        self._alarms.append(Alarm(kind, text))

    def _bury(self, part: Part, offset: int, reason: str, detail: str, origin: object, row: Row | None = None) -> None:
        self._token += 1
        letter = Letter(-1 if row is not None else offset, part.table, row)
        if row is None:
            part.ledger.hold(letter)
        else:
            row.pins += 1
        self._letters[self._token] = letter
        self._burials.append(Bury(self._token, part.tp, offset, reason, detail, origin))
        self.tally["letters", reason] += 1

    def _refuse(self, standing: Standing, reason: str, detail: str) -> None:
        """retail.red will never take this member: a letter for each row that says so, and the rows say why they wait."""
        # which code an unknown customer gets is not known: one who was found by a look-up is looked for once more
        unknown = reason == "unknown_customer" or (
            reason == "invalid"
            and standing.sayers > 0
            and not self.resolving.resolver.refused_before(standing.membership[1])
            and any(row.claim is not None for row in standing.table.undone(standing, UNKNOWN))
        )
        if unknown and self.resolving.unknown_customer(standing):
            return
        pending = f"refused:{reason}"
        for row in standing.table.undone(standing, pending):
            self._bury(row.part, row.offset, reason, detail, row.origin, row)
        standing.table.set_aside(standing, pending)

    def buried(self, token: int) -> None:
        """This letter is acknowledged: its record is safe there."""
        letter = self._letters.pop(token, None)
        if letter is None:
            return
        letter.first = -1
        if letter.row is not None and letter.table.alive:
            letter.table.unpin(letter.row)

    def letters_open(self) -> int:
        """Letters that are not acknowledged yet."""
        return len(self._letters)

    # ---- answers -------------------------------------------------------------------------------------------------

    def settle(self, outcome: Outcome, now_s: float, jitter: float, wall_s: float = 0.0) -> Verdict | None:
        """A call ended, at wall_s. jitter in [0, 1) spreads the retries. None when the call is not known."""
        return self.delivery.settle(outcome, now_s, jitter, wall_s)

    def looked_up(self, outcome: LookupOutcome, now_s: float, wall_ms: int, jitter: float) -> None:
        """A look-up ended: the rows that waited for it say whom they mean now."""
        self.resolving.settle(outcome, now_s, wall_ms, jitter)

    def references_changed(self, name: str, keys: Iterable[str]) -> None:
        """Rows of a reference appeared or changed; not to be told of what was read before references_ready."""
        self.resolving.references_changed(name, keys)

    def segments_changed(self, keys: Iterable[str]) -> None:
        """Rows of the table of segments appeared, changed or were deleted."""
        self.catalog.changed(keys)

    def defined(self, outcome: DefinitionOutcome, now_s: float, jitter: float) -> None:
        """A definition ended."""
        self.delivery.tick(now_s)
        self.catalog.settle(outcome, now_s, jitter)
        code = outcome.definition.code
        if outcome.kind == "dynamic":
            self.delivery.found_dynamic(code)
        elif outcome.kind == "done":
            self.delivery.looked(code)
        elif outcome.reason in NOT_LOOKED and code not in self.delivery.dynamic:
            # that segments may not be looked at must not keep a bad member from being found
            self.delivery.looked(code)
        if outcome.kind == "done" and outcome.reason == "created" and code in self.delivery.existed:
            self.resolving.void(code)

    def accept_code(self, code: str) -> None:
        """The operator accepts that a segment has this code, now or later: its members move there once its reference says so.

        May be said again, in any order with everything else, as it is after each start.
        """
        self.catalog.accept(code)
        self.resolving.accept(code)

    def withdraw_code(self, code: str) -> None:
        """The operator does not accept this code any more: what moved stays there."""
        self.catalog.withdraw(code)
        self.resolving.withdraw(code)

    def _deleted(self, code: str) -> bool:
        return self.catalog.deleted(code)

    def _look(self, code: str) -> None:
        self.catalog.look(code)

    def _missing(self, code: str) -> str:
        return self.catalog.missing(code, existed=code in self.delivery.existed)

    def pending(self) -> Counter[str]:
        """Rows, and memberships, that wait without holding an offset, by reason."""
        pending = Counter(self.delivery.pending())
        for table in self.tables():
            pending.update(table.waits)
            pending[PUT_OFF] += len(table.later)
        return pending

    def undone(self, now_s: float, wall_s: float) -> dict[str, float]:
        """Of each topic with something that is owed and holds no offset any more, since when (seconds since the epoch)."""
        found = {topic: min(rows.values()) / 1000 for topic, rows in self.commits.stuck.items() if rows}
        for table in self.tables():
            if table.later and table.later_since_s is not None:
                since_s = wall_s - (now_s - table.later_since_s)
                for tp in table.parts:
                    found[tp.topic] = min(since_s, found.get(tp.topic, since_s))
        return found

    def committed(self, number: int, *, ok: bool) -> None:
        """The commit in flight ended: it is durable, or certainly not."""
        self.commits.committed(number, self._parts.get, ok=ok)
        self.delivery.written()

    # ---- effects -------------------------------------------------------------------------------------------------

    def effects(self, now_s: float, wall_ms: int) -> list[Effect]:
        """What is to be done now. wall_ms: the wall clock, for forgetting alone."""
        self.delivery.tick(now_s)
        tables = self.tables()
        for code in self.delivery.vanished:
            self.resolving.void(code)
        self.delivery.vanished.clear()
        self.resolving.turn(tables, now_s, wall_ms, room=self.standings() < self.limits.standings_max)
        if self.references_ready:
            for table in tables:
                table.count(COUNT_AT_ONCE_MAX)
                if table.told_segments and table.whole:
                    self.delivery.existed |= table.told_segments
                    table.told_segments = set()
                    self.resolving.came()
        self._gates(now_s)
        effects: list[Effect] = self._restores()
        pressed = self.room() == 0
        effects.extend(self.delivery.sends(now_s, behind=self.behind, pressed=pressed, draining=self._draining))
        effects.extend(Ask(lookup) for lookup in self.resolving.lookups(now_s))
        effects.extend(Define(definition) for definition in self._definitions(now_s))
        self.commits.relieve(self._parts.values(), now_s)
        for part in self._parts.values():
            if part.absent:
                self.commits.forget(part, wall_ms)
        if self.commits.due(self._parts.values(), now_s):
            effects.append(self.commits.build(self._parts.values(), now_s))
        if self._burials:
            effects.extend(self._burials)
            self._burials = []
        if self._alarms:
            effects.extend(self._alarms)
            self._alarms = []
        return effects

    @property
    def _may_define(self) -> bool:
        return self.references_ready and not self._draining

    def _definitions(self, now_s: float) -> list[Definition]:
        if not self._may_define:
            return []
        if self.catalog.topic:
            self.catalog.owned(
                {tp.partition for tp, part in self._parts.items() if tp.topic == self.catalog.topic and part.table.open}
            )
        return self.catalog.definitions(now_s)

    def next_s(self, now_s: float) -> float:
        """When effects() is worth calling again though no fact arrived."""
        next_s = min(self.delivery.next_s(behind=self.behind), self.commits.next_s(self._parts.values()))
        busy = self.references_ready and self.resolving.busy
        next_s = min(next_s, now_s if busy else self.resolving.resolver.next_s())
        if self._may_define:
            next_s = min(next_s, self.catalog.next_s(now_s))
        for table in self.tables():
            if table.counting and self.references_ready:
                return now_s
            if not table.open:
                waits = [p.quiet_until_s for p in table.parts.values() if p.quiet_until_s > now_s]
                next_s = min(next_s, *waits, now_s + 1.0)
        return next_s

    # ---- leaving -------------------------------------------------------------------------------------------------

    def drain(self, tps: Iterable[TopicPartition]) -> None:
        """These partitions are to be given back, or the program stops: nothing more is read, what is open is sent."""
        for tp in tps:
            part = self._parts.get(tp)
            if part is not None:
                part.draining = self._draining = True

    def busy(self, tps: Iterable[TopicPartition], now_s: float) -> str:
        """Why these partitions cannot be left clean yet, as a short label; empty when they can."""
        for tp in tps:
            part = self._parts.get(tp)
            if part is None:
                continue
            table = part.table
            closed = self.why_closed(table, now_s)
            if closed:
                return closed
            if table.working or table.held or table.later:
                return "open_edits"
            if now_s < table.late_until_s:
                return "settling"
            if any(letter.table is table for letter in self._letters.values()):
                return "letters"
        return ""

    def last_commit(self, tps: Iterable[TopicPartition], now_s: float) -> Commit | None:
        """The last transaction before these partitions are left, with the clean mark where it is deserved.

        None while another commit is in flight: wait for that first. Afterwards no call of these partitions may start: forget them.
        """
        if self.commits.flying is not None:
            return None
        clean = frozenset(tp for tp in tps if tp in self._parts and not self.busy([tp], now_s))
        return self.commits.build(self._parts.values(), now_s, clean=clean)

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """These partitions are not ours any more (revoked or lost): nothing of them is sent, written or committed from now on.

        Partitions that share a table with them are restored anew once the table is whole again.
        """
        gone = set(tps)
        for tp in gone:
            self._owned.pop(tp, None)
        tables = {id(p.table): p.table for tp in gone if (p := self._parts.get(tp)) is not None}
        if any(self._spec(tp.topic).sole for tp in gone) and self._sole is not None:
            tables[id(self._sole)] = self._sole
        self._let_go(tables.values())
        self._asked -= gone
        if any(self._spec(tp.topic).sole for tp in gone):
            self._asked = {tp for tp in self._asked if not self._spec(tp.topic).sole or tp in self._parts}

    def _let_go(self, tables: Iterable[RowTable]) -> None:
        for table in tables:
            parts = list(table.parts.values())
            self.commits.drop(parts)
            for part in parts:
                self._parts.pop(part.tp, None)
                self._asked.discard(part.tp)
            self._letters = {token: letter for token, letter in self._letters.items() if letter.table is not table}
            self._burials = [bury for bury in self._burials if bury.token in self._letters]
            if table is self._sole:
                self._sole = None
            table.clear()
        self._draining = any(part.draining for part in self._parts.values())
