"""The row table: what each source row last said, and what retail.red was told because of it.

What is owed follows from levels, never from edges: a standing with any unconfirmed entry is sent, as an add when a row says it,
else as a removal.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterator, MutableMapping
from typing import Final

from stream.core.model import Membership, Op, TopicPartition
from stream.core.rows import (
    HELD,
    IDLE,
    PRESENT,
    SEGMENT_DELETED,
    UNKNOWN,
    Count,
    Event,
    Part,
    Row,
    RowRef,
    Standing,
    load,
)

PASSED_AT_ONCE_MAX: Final = 1_000
"""Of what was put off, so many are passed over in one turn because their segment fails."""

COUNTS_MAX: Final = 100_000
"""Memberships that are counted in memory before they are put into the index."""


class MovedRowError(Exception):
    """The topic cannot go on: the events of one row came to another partition."""


class RowTable:
    """All rows whose memberships have one owner: one partition of a keyed topic, or every partition of the others together.

    `enqueue(standing)` is called when something became owed; `rest(row)` when nothing about a row is open any more; `hold(row)`
    when it begins to hold an offset; `claimed(row)` for each stored row that has a claim, while rows are counted, and
    `undone(row)` for each that is owed something and does not say why it waits.
    """

    def __init__(
        self,
        *,
        sole: bool,
        enqueue: Callable[[Standing], None],
        rest: Callable[[Row], None],
        hold: Callable[[Row], None],
        claimed: Callable[[Row], None] = lambda _: None,
        undone: Callable[[Row], None] = lambda _: None,
    ) -> None:
        self.sole: Final = sole
        self.parts: dict[TopicPartition, Part] = {}
        self.index: MutableMapping[Membership, Count] = {}
        self.working: dict[Membership, Standing] = {}
        self.held: list[Standing] = []
        self.later: dict[Membership, None] = {}
        self.later_since_s: float | None = None
        self.late: dict[Membership, tuple[Op, float]] = {}
        self._late_order: deque[tuple[float, Membership]] = deque()
        self.open = False
        self.alive = True
        self.whole = False
        self.waits: Counter[str] = Counter()
        """Rows with a claim that is not resolved, by reason."""
        self.told_segments: set[str] = set()
        """Segments that stored rows were told to be present in, or know to be deleted: they existed."""
        self._counting: Iterator[bool] | None = None
        self.late_until_s = 0.0
        self._enqueue = enqueue
        self._rest = rest
        self._hold = hold
        self._claimed = claimed
        self._undone = undone

    # ---- folding -------------------------------------------------------------------------------------------------

    def fold(
        self, part: Part, key: bytes, says: Membership | None, event: Event, was: Membership | None = None
    ) -> bool:
        """The row now says this. False when the row is unknown and says nothing: there is nothing to remember.

        was: what a row that is unknown here has said for certain; an earlier life may have added it, so its end is owed.
        An event at or below the row's stored offset is in its state already (read again after a crash).
        """
        row = part.working.get(key)
        if row is None:
            data = part.rows.get(key)
            if data is not None:
                row = load(part, key, data)
                if event[0] <= row.offset:
                    return True
            elif says is None and was is None:
                return False
            else:
                if self.sole and says is not None and len(self.parts) > 1:
                    self.refuse_moved(part, key)
                row = Row(key, part, None, {}, -1, 0)
                if was is not None and was != says:
                    self.change(row, event)
                    self.touch(row, was, 0)
                    if says is None:
                        return True
        elif event[0] <= row.offset:
            return True
        old = row.says
        # after an unclean end, events that the predecessor acted on may be compacted away: what says the same is told again
        # and what was refused is tried again when the source says it again
        if old == says and (
            says is None
            or (
                row.pending is None
                and event[0] >= part.doubt_until
                and (row.told.get(says) == PRESENT or says in self.working)
            )
        ):
            if row.pins or row.first >= 0:
                row.offset = event[0]
            return True
        self.change(row, event)
        row.says = says
        if old is not None and old != says:
            self.touch(row, old, -1)
        if says is not None:
            self.touch(row, says, 1 if old != says else 0)
        return True

    def refuse_moved(self, part: Part, key: bytes) -> None:
        """Raise MovedRowError where this row says something in another partition, too.

        Nothing orders two partitions: a row that says something in another one too must not be outvoted silently.
        """
        for other in self.parts.values():
            if other is part or other.tp.topic != part.tp.topic:
                continue
            if (
                (key in other.working or key in other.rows)
                and (row := other.row_at(key)) is not None
                and (row.says or row.claim)
            ):
                raise MovedRowError(
                    f"a row of partition {other.tp.partition} is written to partition {part.tp.partition} now (partitions were "
                    "raised, or the key's schema changed): let the connector write the table into an empty topic, and begin anew"
                )

    def change(self, row: Row, event: Event) -> None:
        """The row says something else, or anew, by this event: it holds its offset until that is durable."""
        row.part.working[row.key] = row
        row.offset, row.at_ms, row.ts_ms, size, row.origin = event
        row.pending = None
        if row.first < 0:
            row.first = row.offset
            row.origin_bytes = size
            self._hold(row)

    def touch(self, row: Row, membership: Membership, sayers: int) -> None:
        """The row enters (1), leaves (-1) or repeats (0) this membership: what retail.red holds of it counts as unknown."""
        standing = self.working.get(membership)
        if standing is None:
            standing = self.standing(membership)
        standing.sayers += sayers
        standing.gen += 1
        row.told[membership] = UNKNOWN
        rows = standing.rows
        if not rows or row not in rows:
            rows.append(row)
            row.pins += 1
            # before it is enqueued, which may put the standing away and look for its stored rows: one object for a row
            row.part.working[row.key] = row
        if standing.where == IDLE:
            self._enqueue(standing)

    def standing(self, membership: Membership) -> Standing:
        """The working standing, loaded from its count when it is at rest."""
        standing = self.working.get(membership)
        if standing is None:
            count = self.index.get(membership, 0)
            sayers, refs = (count, ()) if type(count) is int else count  # type: ignore[misc]
            standing = Standing(membership, self, sayers, refs, [])
            self.working[membership] = standing
            if self.late:
                standing.late_op, standing.late_until_s = self.late.pop(membership, (None, 0.0))
        return standing

    # ---- settling ------------------------------------------------------------------------------------------------

    def confirm(self, standing: Standing, op: Op) -> None:
        """retail.red is known to hold what the last call said, and nothing touched the membership since that call."""
        membership = standing.membership
        rows = standing.rows
        if self.later:
            self.later.pop(membership, None)
        wanted = PRESENT if op == "add" else None
        if standing.refs:
            self._gather(standing, lambda row: row.told.get(membership, wanted) != wanted)
        leftover: list[RowRef] = []
        if op == "add":
            if standing.refs:
                leftover.extend(
                    ref for ref in standing.refs if (r := ref[0].row_at(ref[1])) is not None and r.says != membership
                )
            for row in rows:
                row.told[membership] = PRESENT
                if row.says != membership and (row.part, row.key) not in leftover:
                    leftover.append((row.part, row.key))
                self.unpin(row)
        else:
            for row in rows:
                row.told.pop(membership, None)
                self.unpin(row)
        rows.clear()
        standing.refs = tuple(leftover)
        standing.attempts = 0

    def _gather(self, standing: Standing, which: Callable[[Row], bool]) -> None:
        """Take those of its stored rows into work that the next step changes."""
        rows = standing.rows
        for part, key in standing.refs:
            row = part.row_at(key)
            if row is not None and row not in rows and which(row):
                part.working[key] = row
                rows.append(row)
                row.pins += 1

    def undone(self, standing: Standing, pending: str) -> list[Row]:
        """The rows, stored ones included, that are owed what will not be done, and do not say so yet."""
        membership = standing.membership
        self._gather(standing, lambda row: row.told.get(membership) == UNKNOWN and row.pending != pending)
        return standing.rows

    def set_aside(self, standing: Standing, pending: str | None) -> None:
        """Nothing can be done about this membership now: its rows are stored as they are, with their unknowns, and say why."""
        if pending is not None:
            self.undone(standing, pending)
        refs = list(standing.refs)
        refused = pending is not None and pending.startswith("refused")
        for row in standing.rows:
            # nothing of a refused row is issued again: it must not hide what the row is owed elsewhere
            if not refused or list(row.told.values()).count(UNKNOWN) == 1:
                row.pending = pending
            if (row.part, row.key) not in refs:
                refs.append((row.part, row.key))
            self.unpin(row)
        standing.rows.clear()
        standing.refs = tuple(refs)
        self.put_away(standing)

    def put_away(self, standing: Standing) -> None:
        """The standing is at rest: keep its count, and what may still land of it."""
        standing.where = IDLE
        if standing.late_op is not None:
            self.late[standing.membership] = (standing.late_op, standing.late_until_s)
            self._late_order.append((standing.late_until_s, standing.membership))
        self.working.pop(standing.membership, None)
        if standing.refs:
            self.index[standing.membership] = (standing.sayers, standing.refs)
        elif standing.sayers:
            self.index[standing.membership] = standing.sayers
        else:
            self.index.pop(standing.membership, None)

    def landed(self, now_s: float) -> None:
        """Attempts with unknown outcome that can no longer land are forgotten."""
        order = self._late_order
        while order and order[0][0] <= now_s:
            _, membership = order.popleft()
            if membership in self.late and self.late[membership][1] <= now_s:
                del self.late[membership]

    def unpin(self, row: Row) -> None:
        """One standing, or letter, less is busy with this row; at rest it becomes durable as it is."""
        row.pins -= 1
        if row.pending is not None and UNKNOWN not in row.told.values():
            row.pending = None
        if row.pins == 0 and not row.listed:
            row.listed = True
            self._rest(row)

    # ---- restoring -----------------------------------------------------------------------------------------------

    def restored(self) -> None:
        """Every partition's stored rows are here: they are to be counted, before anything is folded."""
        self._counting = self._count()

    @property
    def counting(self) -> bool:
        """Whether stored rows are still being counted."""
        return self._counting is not None

    def count(self, most: int) -> None:
        """Count up to so many stored rows; `whole` when it was the last. Millions take longer than a poll may wait."""
        if self._counting is not None and next(itertools.islice(self._counting, most, None), None) is None:
            self._counting = None

    def _count(self) -> Iterator[bool]:
        """Who says what, and everything that is owed. One step a row."""
        owed: dict[Membership, None] = {}
        ended: dict[Membership, None] = {}
        lists: dict[Membership, list[RowRef]] = {}
        counts: dict[Membership, int] = {}
        for part in self.parts.values():
            absent: list[tuple[int, bytes]] = []
            for row in self._stored(part):
                yield True
                if row.says is not None:
                    counts[row.says] = counts.get(row.says, 0) + 1
                for membership, what in row.told.items():
                    if what == PRESENT or (row.pending == SEGMENT_DELETED and len(row.told) == 1):
                        self.told_segments.add(membership[0])
                    if membership == row.says and what == PRESENT:
                        continue
                    lists.setdefault(membership, []).append((part, row.key))
                    if what == PRESENT:
                        ended[membership] = None
                    elif not (row.pending or "").startswith("refused"):
                        owed[membership] = None
                        if row.pending is None:
                            self._undone(row)
                if row.claim is not None or row.formers:
                    self._claimed(row)
                if row.empty:
                    absent.append((row.at_ms, row.key))
                if len(counts) + len(lists) >= COUNTS_MAX:
                    self._merge(counts, lists)
            part.absent = deque(sorted(absent))
        self._merge(counts, lists)
        for membership in ended:
            count = self.index.get(membership, 0)
            if not (count if isinstance(count, int) else count[0]):
                owed[membership] = None
        self.later.update(owed)
        self.whole = True

    def _merge(self, counts: dict[Membership, int], lists: dict[Membership, list[RowRef]]) -> None:
        """Put what was counted into the index, which may hold more than memory does."""
        index = self.index
        for membership in [*counts, *(m for m in lists if m not in counts)]:
            before = index.get(membership, 0)
            sayers, refs = (before, ()) if isinstance(before, int) else before
            sayers += counts.get(membership, 0)
            refs = (*refs, *lists.get(membership, ()))
            index[membership] = (sayers, refs) if refs else sayers
        counts.clear()
        lists.clear()

    def postpone(self, now_s: float) -> None:
        """While nothing may be sent: what is held back becomes durable as it is, and is issued again when the table opens."""
        held, self.held = self.held, []
        for standing in held:
            if standing.where == HELD:
                self.put_off(standing, now_s)

    def put_off(self, standing: Standing, now_s: float) -> None:
        """It leaves memory as it is, and is issued again when there is room, or after a crash."""
        self.put_later(standing.membership, now_s)
        self.set_aside(standing, None)

    def put_later(self, membership: Membership, now_s: float) -> None:
        """It is issued again when there is room."""
        if not self.later or self.later_since_s is None:
            self.later_since_s = now_s
        self.later[membership] = None

    def resume(self, most: int, room: Callable[[str], int]) -> None:
        """The table is open: issue up to so many of those that were put off, of a segment no more than there is room for it."""
        rooms: dict[str, int] = {}
        issued: list[Membership] = []
        passed: list[Membership] = []
        for membership in self.later:
            if len(issued) >= most or len(passed) >= PASSED_AT_ONCE_MAX:
                break
            code = membership[0]
            left = rooms.get(code)
            if left is None:
                left = room(code)
            rooms[code] = left - 1
            (issued if left > 0 else passed).append(membership)
        for membership in issued:
            del self.later[membership]
            if membership in self.working or membership in self.index:
                self.reissue(membership)
        for membership in passed:
            # behind the others
            del self.later[membership]
            self.later[membership] = None

    def reissue(self, membership: Membership) -> None:
        """What is owed to this membership, by its stored rows, is issued again."""
        standing = self.standing(membership)
        standing.gen += 1
        if standing.where == IDLE:
            self._enqueue(standing)

    def _stored(self, part: Part) -> Iterator[Row]:
        for key, data in part.rows.items():
            yield load(part, key, data)

    def clear(self) -> None:
        """Forget everything: the partitions went to somebody else, or not all of them are here any more."""
        for part in self.parts.values():
            part.working.clear()
            part.rows.clear()
        for standing in self.working.values():
            standing.rows.clear()
            standing.refs = ()
            standing.where = IDLE
            standing.gen = -1
        self.index.clear()
        self.working.clear()
        self.held.clear()
        self.later.clear()
        self.late.clear()
        self._late_order.clear()
        self.parts.clear()
        self.waits.clear()
        self._counting = None
        self.open = self.alive = False
