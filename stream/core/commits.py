"""What becomes durable: row states and offsets, together, in one transaction at a time.

What a transaction carries is kept until it is known to be committed; aborted, it goes into the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from stream.core.effects import Commit
from stream.core.limits import Limits
from stream.core.model import TopicPartition
from stream.core.rows import Part, Row, RowRef, load, store_form
from stream.core.rowstate import META_KEY, VERSION, OffsetMetadata, encode

FORGET_AT_ONCE_MAX: Final = 1_000

AHEAD_INTERVAL_S: Final = 0.02
"""How soon after a commit the next one begins, at the least, while calls wait for what it makes durable."""


class Commits:
    """Rows at rest, the window of rows that are not durable, and the one commit in flight."""

    def __init__(self, limits: Limits, tally: Counter[tuple[str, ...]]) -> None:
        self._limits: Final = limits
        self._tally: Final = tally
        self._rest: list[Row] = []
        self._forced: list[Row] = []
        self._number = 0
        self._last_s = float("-inf")
        self._relieved_s = float("-inf")
        self.flying: Commit | None = None
        self._flying_parts: dict[TopicPartition, Part] = {}
        self.window_records = 0
        self.window_bytes = 0
        self.stuck: Final[dict[str, dict[RowRef, int]]] = {}
        """Rows that are stored undone, by topic, to the source's time (ms) of their event, Kafka's where that is not known."""
        self.ahead: Final[dict[RowRef, int]] = {}
        """Rows that found whom they mean, which is not durable: to the commit that carries it, 0 for none yet."""

    # ---- the window ----------------------------------------------------------------------------------------------

    def hold(self, row: Row) -> None:
        """The row holds the offset of its first event that is not durable."""
        row.part.ledger.hold(row)
        self.window_records += 1
        self.window_bytes += row.origin_bytes

    def _release(self, row: Row) -> None:
        row.origin = None
        if row.first >= 0:
            row.first = -1
            self.window_records -= 1
            self.window_bytes -= row.origin_bytes
            row.origin_bytes = 0

    def rest(self, row: Row) -> None:
        """Nothing about this row is open any more: it goes into the next transaction as it is."""
        self._rest.append(row)

    def undone(self, row: Row) -> None:
        """It is stored, holds no offset, and something of it is owed: it counts as that old until it comes to rest."""
        self.stuck.setdefault(row.part.tp.topic, {}).setdefault((row.part, row.key), abs(row.ts_ms) or row.at_ms)

    def first(self, row: Row) -> None:
        """Whom the row means was found by what may change: it becomes durable before anybody is told."""
        self.ahead[row.part, row.key] = 0

    def drop(self, parts: Iterable[Part]) -> None:
        """These partitions are not ours any more: nothing of them is written or counted."""
        parts = list(parts)
        gone = {part.tp for part in parts}
        for refs in (self.ahead, *self.stuck.values()):
            for ref in [ref for ref in refs if ref[0].tp in gone]:
                del refs[ref]
        for part in parts:
            for row in part.working.values():
                self._release(row)
                row.pins = 0
        self._rest = [row for row in self._rest if row.part.tp not in gone]
        self._forced = [row for row in self._forced if row.part.tp not in gone]

    def relieve(self, parts: Iterable[Part], now_s: float) -> None:
        """What stays stuck for longer than window_age_s is stored as it is, with its unknowns: it is issued again after a crash."""
        if now_s - self._relieved_s < min(1.0, self._limits.window_age_s) or self.flying is not None:
            return
        self._relieved_s = now_s
        for part in parts:
            for holder in part.ledger.holders(now_s - self._limits.window_age_s):
                if not isinstance(holder, Row) or (holder.pending or "").startswith("refused"):
                    continue
                self._forced.append(holder)
                if holder.asking:
                    # its look-up goes on, and finds it where it is stored
                    holder.asking = False
                    part.table.unpin(holder)

    def forget(self, part: Part, wall_ms: int) -> None:
        """Absent rows that nothing is owed about are forgotten after forget_after_s, with a tombstone."""
        limit_ms = wall_ms - int(self._limits.forget_after_s * 1000)
        for _ in range(FORGET_AT_ONCE_MAX):
            if not part.absent or part.absent[0][0] > limit_ms:
                return
            at_ms, key = part.absent.popleft()
            data = part.rows.get(key)
            if data is None or key in part.working:
                continue
            row = load(part, key, data)
            if row.empty and row.at_ms == at_ms:
                if row.offset >= (part.written or (0, ""))[0]:
                    part.absent.append((at_ms, key))
                    return
                del part.rows[key]
                part.carry[key] = None
                self._tally["rows_forgotten", part.tp.topic] += 1

    # ---- commits -------------------------------------------------------------------------------------------------

    def due(self, parts: Iterable[Part], now_s: float) -> bool:
        """Whether something is to be committed now; one commit is in flight at a time."""
        return now_s - self._last_s >= self._interval_s and self._wanted(parts)

    @property
    def _interval_s(self) -> float:
        limits = self._limits
        if not self.ahead:
            return limits.commit_interval_s
        # within the time that a batch waits for more members anyhow
        return min(limits.commit_interval_s, max(AHEAD_INTERVAL_S, min(limits.idle_s, limits.linger_s / 4)))

    def _wanted(self, parts: Iterable[Part]) -> bool:
        if self.flying is not None:
            return False
        if self._rest or self._forced or self.ahead:
            return True
        return any(
            part.carry or not part.acked or part.written is None or part.written != offset_of(part) for part in parts
        )

    def next_s(self, parts: Iterable[Part]) -> float:
        """When the next commit is due by time alone; infinite when there is nothing to commit, or one is in flight."""
        return self._last_s + self._interval_s if self._wanted(parts) else float("inf")

    def build(self, parts: Iterable[Part], now_s: float, *, clean: frozenset[TopicPartition] = frozenset()) -> Commit:
        """The next transaction. clean: partitions that are left with nothing queued, in flight or settling."""
        self._last_s = now_s
        rest, self._rest = self._rest, []
        for row in rest:
            row.listed = False
            if row.pins == 0 and row.part.table.alive:
                if self.stuck and (stuck := self.stuck.get(row.part.tp.topic)):
                    stuck.pop((row.part, row.key), None)
                self._store(row)
                row.part.working.pop(row.key, None)
        for row in self._forced:
            if row.first >= 0 and row.part.table.alive:
                self._tally["rows_stored_stuck", row.part.tp.topic] += 1
                self.undone(row)
                self._store(row)
        self._forced.clear()
        self._number += 1
        for ref, number in self.ahead.items():
            if not number:
                part, key = ref
                if (working := part.working.get(key)) is not None:
                    # it goes on holding its offset, and its record for a letter: nothing is done yet
                    self._write(working)
                self.ahead[ref] = self._number
        states: dict[TopicPartition, dict[bytes, bytes | None]] = {}
        offsets: dict[TopicPartition, tuple[int, str]] = {}
        for part in parts:
            if not part.acked and part.meta_record is not None:
                part.carry[META_KEY] = part.meta_record
            if part.carry:
                states[part.tp], part.carry = part.carry, {}
            entry = offset_of(part, clean=part.tp in clean)
            offsets[part.tp] = entry
            part.written = entry
            self._flying_parts[part.tp] = part
        self.flying = Commit(self._number, states, offsets)
        return self.flying

    def flying_offsets(self, parts: Callable[[TopicPartition], Part | None]) -> dict[TopicPartition, tuple[int, str]]:
        """The offsets of the commit in flight, without those of partitions that were let go since it was built."""
        if self.flying is None:
            return {}
        return {tp: o for tp, o in self.flying.offsets.items() if parts(tp) is self._flying_parts[tp]}

    def _write(self, row: Row) -> None:
        part = row.part
        part.rows[row.key] = part.carry[row.key] = store_form(row)

    def _store(self, row: Row) -> None:
        self._write(row)
        if row.empty:
            row.part.absent.append((row.at_ms, row.key))
        self._release(row)

    def committed(self, number: int, parts: Callable[[TopicPartition], Part | None], *, ok: bool) -> None:
        """The commit in flight is known to be committed, or known not to be."""
        flying = self.flying
        if flying is None or flying.number != number:
            return
        self.flying = None
        for ref in [ref for ref, carried_by in self.ahead.items() if carried_by == number]:
            if ok:
                del self.ahead[ref]
            else:
                self.ahead[ref] = 0
        carried, self._flying_parts = self._flying_parts, {}
        for tp, part in carried.items():
            if parts(tp) is not part:
                continue  # it was let go meanwhile; what is there now is another assignment
            if ok:
                part.acked = True
                part.durable = flying.offsets[tp]
                part.meta_record = None
            else:
                part.written = None
                # what became newer meanwhile stays newer
                part.carry = {**flying.states.get(tp, {}), **part.carry}


def offset_of(part: Part, *, clean: bool = False) -> tuple[int, str]:
    """What is committed for a partition: the next offset, and the metadata that its next owner starts from."""
    position = part.ledger.committable()
    fold_to = part.fold_to if position < part.fold_to else 0
    metadata = OffsetMetadata(VERSION, clean=clean, position=part.mark, fold_to=fold_to, partitions=part.partitions)
    return position, encode(metadata).decode()
