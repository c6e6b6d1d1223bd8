"""Rows whose claims are to be resolved: what they say follows from their claim, the references and the look-ups' answers.

A row that is not resolved is stored like any other and holds no offset; only until its first look-up was answered it waits in
memory. Whom it is found to mean becomes durable before anybody is told, so no earlier life told what the stored rows do not say.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from stream.core.claims import REFERENCE, plain
from stream.core.model import Claim, Lookup, LookupOutcome, Membership
from stream.core.resolver import LOOKUP, MISSING, NO_SEGMENT_ROW, OTHER_OWNER, UNANSWERED, UNKNOWN, Resolver
from stream.core.rows import PRESENT, Event, Part, Row, RowRef, Standing, load
from stream.core.table import RowTable

AGAIN_AT_ONCE_MAX: Final = 10_000
"""Rows that are looked at in one step, so that polling goes on meanwhile."""

FRESH_MAX: Final = 10_000
"""Identities that wait for their first look-up, while stored rows are taken up again."""

SWEEP_SHARE: Final = 20
"""Looking through every stored row for what changed takes at most the twentieth part of the time."""


class Resolving:
    """Folds claims, and resolves them again when something that they depend on changes.

    claimed(part, code) says why this partition must not feed this segment, "" when it may; halt(topic, why) stops a topic;
    first(row) has a row stored before anybody is told what it says.
    """

    def __init__(
        self,
        resolver: Resolver,
        claimed: Callable[[Part, str], str],
        halt: Callable[[str, str], None],
        first: Callable[[Row], None],
    ) -> None:
        self.resolver: Final = resolver
        self._claimed: Final = claimed
        self._halt: Final = halt
        self._first: Final = first
        self._again: deque[RowRef] = deque()
        self._changed: set[str] = set()
        self._gone: set[str] = set()
        self._void: set[str] = set()
        self._voided: Final[set[str]] = set()
        self._room = True
        self._sweep: Iterator[RowRef | None] | None = None
        self._sweep_began_s = 0.0
        self._sweep_after_s = float("-inf")
        self._wall_ms = 0
        self._now_s = 0.0

    # ---- folding -------------------------------------------------------------------------------------------------

    def fold(self, part: Part, key: bytes, claim: Claim | None, event: Event, was: Claim | None = None) -> bool:
        """The row claims this now; as RowTable.fold otherwise."""
        table = part.table
        row = part.working.get(key)
        if row is None:
            data = part.rows.get(key)
            if data is not None:
                row = load(part, key, data)
                if event[0] <= row.offset:
                    return True
            elif claim is None and was is None:
                return False
            else:
                if table.sole and claim is not None and len(table.parts) > 1:
                    table.refuse_moved(part, key)
                row = Row(key, part, None, {}, -1, 0)
                if was is not None and was != claim:
                    row.formers = [was]
        elif event[0] <= row.offset:
            return True
        old = row.claim
        again = (
            row.pending is None
            and event[0] >= part.doubt_until
            and (row.says is None or row.told.get(row.says) == PRESENT or row.says in table.working)
        )
        if old == claim and row.offset >= 0 and (claim is None or again):
            if row.pins or row.first >= 0:
                row.offset = event[0]
            return True
        table.change(row, event)
        same = (
            old is not None
            and claim is not None
            and old.terms == claim.terms
            and row.says is not None
            and row.via == self.resolver.via(claim)
        )
        if old is not None and row.waits is not None and old != claim:
            self.resolver.leave((part, key), old)
        row.claim = claim
        if claim in row.formers:
            row.formers.remove(claim)
        self._resolve(row, keep=row.says[1] if same and row.says is not None else "", event=True)
        return True

    def _resolve(self, row: Row, *, keep: str = "", event: bool = False) -> None:
        """What the row says now. keep: the id of a customer who is the same as before.

        event: the row itself was written: an unknown customer ends what it said, a known one is told again. Otherwise something
        changed that it depends on: it keeps what it said until that is known anew.
        """
        resolver, claim = self.resolver, row.claim
        before = (row.says, row.via, len(row.formers))
        found: Membership | None = None
        why: str | None = None
        if claim is not None:
            code = resolver.segment(claim.segment)
            customer, reason = (keep, "") if keep else resolver.customer(claim.terms)
            if not code:
                why = NO_SEGMENT_ROW
            elif not customer:
                why = reason
            elif problem := self._claimed(row.part, code):
                # the row is stored like any other in the end: it must not look as if it said nothing
                self._halt(row.part.tp.topic, problem)
                why = OTHER_OWNER
            else:
                found = (code, customer)
        if event or (found is not None and found != row.says):
            self._say(row, found)
        if found is not None and claim is not None:
            row.via = resolver.via(claim)
        formers = self._resolve_formers(row) if row.formers else None
        self._wait(row, why or formers, changed=before != (row.says, row.via, len(row.formers)))

    def _say(self, row: Row, found: Membership | None) -> None:
        old, row.says = row.says, found
        if old is not None and old != found:
            row.part.table.touch(row, old, -1)
        if found is not None:
            row.part.table.touch(row, found, 1 if old != found else 0)
            if old != found and row.claim is not None and not plain(row.claim):
                self._first(row)
        else:
            row.via = None

    def _resolve_formers(self, row: Row) -> str | None:
        """What it said before it was resolved: found, its end is owed; not found, nobody can have been told."""
        why: str | None = None
        for former in list(row.formers):
            code = self.resolver.segment(former.segment)
            customer, reason = self.resolver.customer(former.terms)
            if code and customer:
                row.formers.remove(former)
                self.resolver.leave((row.part, row.key), former)
                row.part.table.touch(row, (code, customer), 0)
            elif reason == MISSING and self.resolver.answered(former.terms):
                row.formers.remove(former)
                self.resolver.leave((row.part, row.key), former)
            else:
                why = reason or NO_SEGMENT_ROW
                self.resolver.soon(former.terms)
        return why

    def _wait(self, row: Row, why: str | None, *, changed: bool) -> None:
        """Note why the row waits, and for what; it is pinned while its first look-up is under way."""
        part = row.part
        if row.waits != why:
            changed = True
            self._note(row, why)
            if why is None and row.claim is not None:
                self.resolver.leave((part, row.key), row.claim)
        if why is not None:
            ref = (part, row.key)
            for claim in (*((row.claim,) if row.claim is not None else ()), *row.formers):
                self.resolver.enlist(ref, claim)
        asking = why == LOOKUP
        if asking and not row.asking:
            row.asking = True
            row.pins += 1
        elif row.asking and not asking:
            row.asking = False
            part.table.unpin(row)
        elif row.pins == 0 and (changed or row.first >= 0):
            # nothing is open about it: it is stored as it is
            row.pins += 1
            part.table.unpin(row)
        if row.pins or row.listed:
            # one object for a row that is worked on: a second one, loaded from what is stored, would know less
            part.working[row.key] = row

    def _note(self, row: Row, why: str | None) -> None:
        waits = row.part.table.waits
        if row.waits is not None:
            waits[row.waits] -= 1
        if why is not None:
            waits[why] += 1
        row.waits = why

    # ---- again ---------------------------------------------------------------------------------------------------

    def interested(self, ref: RowRef) -> int:
        """The Kafka time (ms) of a row that still waits for something, 0 for one that does not."""
        part, key = ref
        if not part.table.alive:
            return 0
        row = part.row_at(key)
        return max(1, row.at_ms) if row is not None and row.waits is not None else 0

    def lookups(self, now_s: float) -> list[Lookup]:
        """The questions to ask now."""
        return self.resolver.lookups(now_s, self.interested)

    def settle(self, outcome: LookupOutcome, now_s: float, wall_ms: int, jitter: float) -> None:
        """A look-up ended: the rows that waited for it are resolved again."""
        self._now_s, self._wall_ms = now_s, wall_ms
        for ref in self.resolver.settle(outcome, now_s, wall_ms, jitter, self.interested):
            if ref[0].table.whole:
                self._once_more(ref)
            else:
                self._again.append(
                    ref
                )  # who says what is being counted: a membership that is touched now would be lost

    def references_changed(self, name: str, keys: Iterable[str]) -> None:
        """These rows of a reference appeared or changed."""
        keys = list(keys)
        self._again.extend(self.resolver.hurry(name, keys))
        self._changed.update(f"{REFERENCE}{name}:{key}" for key in keys)

    def accept(self, code: str) -> None:
        """The operator accepts a changed code: its rows move there."""
        self._changed.update(self.resolver.accept(code))

    def withdraw(self, code: str) -> None:
        """It is not accepted any more."""
        self.resolver.withdraw(code)

    def _once_more(self, ref: RowRef) -> None:
        part, key = ref
        if not part.table.alive:
            return
        row = part.row_at(key)
        if row is None or (row.claim is None and not row.formers):
            return
        same = row.says is not None and row.claim is not None and row.waits is None
        if same and row.claim is not None and row.via == self.resolver.via(row.claim):
            self._resolve(row, keep=row.says[1] if row.says is not None else "")
        else:
            self._resolve(row)

    def restored(self, row: Row) -> None:
        """A stored row with a claim, seen while rows are counted: what it waits for is taken up again."""
        resolver, ref = self.resolver, (row.part, row.key)
        if row.claim is not None and row.says is not None:
            resolver.uses(row.claim.segment, row.says[0])
            moved = row.claim.segment.startswith(REFERENCE) and resolver.segment(row.claim.segment) != row.says[0]
            if moved or row.via != resolver.via(row.claim):
                self._again.append(ref)
        if row.waits is None:
            return
        row.part.table.waits[row.waits] += 1
        nobody = row.claim is not None and not resolver.expand(row.claim.terms)[0]
        if row.waits in UNANSWERED or row.waits == OTHER_OWNER or row.waits.endswith("_reference") or nobody:
            self._again.append(ref)
            return
        for claim in (*((row.claim,) if row.claim is not None else ()), *row.formers):
            resolver.enlist(ref, claim, rests=row.waits, wall_ms=self._wall_ms, at_ms=row.at_ms)

    # ---- what retail.red does not know -----------------------------------------------------------------------------

    def unknown_customer(self, standing: Standing) -> bool:
        """retail.red knows no such customer: rows that claim one by something else look for whom they mean now.

        False when some row names this very id: nothing but a letter helps that one.
        """
        table, membership = standing.table, standing.membership
        named: list[Row] = []
        for row in table.undone(standing, UNKNOWN):
            claim = row.claim
            if row.says == membership and (claim is None or claim.terms[0].startswith("id:")):
                named.append(row)
                continue
            row.told.pop(membership, None)
            if row.says == membership and claim is not None:
                standing.sayers -= 1
                row.says = row.via = None
                self.resolver.forget(claim, UNKNOWN, membership[1], row.at_ms, self._wall_ms)
                self._wait(row, UNKNOWN, changed=True)
            table.unpin(row)
        if len(named) < len(standing.rows):
            self._gone.add(membership[1])
        standing.rows[:] = named
        if named:
            return False
        standing.refs = ()
        table.put_away(standing)
        return True

    def void(self, code: str) -> None:
        """This segment was away: whoever was in it is in it no more, and what rows were told of it counts as unknown."""
        self._void.add(code)
        self._voided.add(code)

    def came(self) -> None:
        """More stored rows are here: they may have been told of segments that were away."""
        self._void |= self._voided

    # ---- every row -----------------------------------------------------------------------------------------------

    def turn(self, tables: Iterable[RowTable], now_s: float, wall_ms: int, *, room: bool = True) -> None:
        """Resolve again what changed, some rows at a time. room: whether memberships may be taken into work by a sweep."""
        self._now_s, self._wall_ms, self._room = now_s, wall_ms, room
        self.resolver.tick(now_s, wall_ms)
        tables = list(tables)
        whole = [table for table in tables if table.whole]
        counting = any(table.counting for table in tables)
        for _ in range(min(len(self._again), AGAIN_AT_ONCE_MAX)):
            if self.resolver.fresh >= FRESH_MAX:
                break  # each of them would wait in memory for its answer
            ref = self._again.popleft()
            if ref[0].table.alive and not ref[0].table.whole:
                self._again.append(ref)
            else:
                self._once_more(ref)
        # rows of a table that is half counted were compared with what was true then: they are swept once it is whole
        if self._sweep is None and not counting and self._unswept and now_s >= self._sweep_after_s:
            changed, self._changed = self._changed, set()
            gone, self._gone = self._gone, set()
            void, self._void = self._void, set()
            self._sweep = self._swept(whole, changed, gone, void)
            self._sweep_began_s = now_s
        if self._sweep is not None and room and self.resolver.fresh < FRESH_MAX:
            for _ in range(AGAIN_AT_ONCE_MAX):
                try:
                    ref_or_none = next(self._sweep)
                except StopIteration:
                    self._sweep = None
                    self._sweep_after_s = now_s + (now_s - self._sweep_began_s) * SWEEP_SHARE
                    break
                if ref_or_none is not None:
                    self._once_more(ref_or_none)

    @property
    def _unswept(self) -> bool:
        return bool(self._changed or self._gone or self._void)

    def _swept(
        self, tables: list[RowTable], changed: set[str], gone: set[str], void: set[str]
    ) -> Iterator[RowRef | None]:
        """Every row whose reference changed, or whose customer or segment is gone; one step a row."""
        for table in tables:
            for part in list(table.parts.values()):
                working = list(part.working)
                # a dict must not change while it is gone through; a scratch file may, and its keys may not fit in memory
                stored = list(part.rows) if isinstance(part.rows, dict) else part.rows
                for key in itertools.chain(working, (key for key in stored if key not in part.working)):
                    yield self._affected(part, key, changed, gone, void) if table.alive else None

    def _affected(self, part: Part, key: bytes, changed: set[str], gone: set[str], void: set[str]) -> RowRef | None:
        row = part.row_at(key)
        if row is None:
            return None
        if row.says is not None and row.says[0] in void and row.told.get(row.says) == PRESENT:
            part.working[key] = row
            part.table.touch(row, row.says, 0)
        if row.claim is None:
            return None
        claim = row.claim
        if row.says is not None and row.says[1] in gone and not claim.terms[0].startswith("id:"):
            self.resolver.forget(claim, UNKNOWN, row.says[1], row.at_ms, self._wall_ms)
            # as when a reference changes it keeps what it says until another is found: it may have been told elsewhere, and
            # a removal of somebody who is gone changes nothing
            self._resolve(row)
            return None
        if claim.segment in changed or any(one in changed for one in claim.terms):
            return (part, key)
        return None

    @property
    def busy(self) -> bool:
        """Whether rows are to be looked at now."""
        # while many wait for their first answer, or for a call's, there is nothing to do but to wait for these
        return (bool(self._again) or (self._sweep is not None and self._room)) and self.resolver.fresh < FRESH_MAX
