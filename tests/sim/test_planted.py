"""Bugs, planted one by one: a simulator that does not find them proves nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stream.core.commits import Commits
from stream.core.delivery import Delivery
from stream.core.effects import Restored
from stream.core.engine import Engine
from stream.core.ledger import Ledger
from stream.core.model import Membership, TopicPartition
from stream.core.rows import PRESENT, Part, Row, Standing
from stream.core.table import RowTable
from stream.core.verdict import Verdict
from tests.sim.play import Play
from tests.sim.run import play

Patch = pytest.MonkeyPatch
SEEDS_MAX = 150


def two_in_flight(patch: Patch) -> None:
    """A touched standing is queued although it is under way."""
    touch = RowTable.touch

    def wrong(self: RowTable, row: Row, membership: Membership, sayers: int) -> None:
        standing = self.standing(membership)
        busy = standing.where not in (0, 1, 5)
        touch(self, row, membership, sayers)
        if busy:
            self._enqueue(standing)

    patch.setattr(RowTable, "touch", wrong)


def read_position_committed(patch: Patch) -> None:
    patch.setattr(Ledger, "committable", lambda self: self.position)


def edits_kept_after_a_revoke(patch: Patch) -> None:
    """What was queued is sent on after its partitions went away."""

    def wrong(self: RowTable) -> None:
        self.parts.clear()
        self.alive = False

    patch.setattr(RowTable, "clear", wrong)


def always_clean(patch: Patch) -> None:
    """The mark is left without a drain."""
    patch.setattr(Engine, "busy", lambda _self, _tps, _now_s: "")


def settles_whatever_changed(patch: Patch) -> None:
    """A call settles what was touched after it was made."""

    def wrong(self: Delivery, standing: Standing, gen: int, op: Any) -> None:  # noqa: ARG001  # that is the bug
        standing.table.confirm(standing, op)
        standing.table.put_away(standing)

    patch.setattr(Delivery, "_confirmed", wrong)


def removals_confirmed_at_once(patch: Patch) -> None:
    done = Delivery._done

    def wrong(self: Delivery, flight: Any, verdict: Verdict, *more: Any) -> None:
        done(self, flight, verdict._replace(settles_later=False), *more)

    patch.setattr(Delivery, "_done", wrong)


def no_wait_after_an_unclean_end(patch: Patch) -> None:
    restored = Engine.restored

    def wrong(self: Engine, found: Restored, now_s: float) -> None:
        restored(self, found, now_s)
        part = self.part(found.tp)
        if part is not None:
            part.quiet_until_s = 0.0

    patch.setattr(Engine, "restored", wrong)


def entries_inherited(patch: Patch) -> None:
    """A row that enters a membership which another row holds believes it told already."""
    fold = RowTable.fold

    def wrong(
        self: RowTable, part: Part, key: bytes, says: Membership | None, event: Any, was: Membership | None = None
    ) -> bool:
        known = fold(self, part, key, says, event, was)
        row = part.working.get(key)
        if row is not None and says is not None:
            standing = self.working.get(says)
            if standing is not None and standing.sayers > 1:
                row.told[says] = PRESENT
                if row in standing.rows:
                    standing.rows.remove(row)
                    self.unpin(row)
        return known

    patch.setattr(RowTable, "fold", wrong)


def repeats_shown(patch: Patch) -> None:
    patch.setattr(Engine, "_repeating", lambda _self, _part, _now_s: False)


def late_attempts_forgotten(patch: Patch) -> None:
    """A request that timed out is thought to be over."""
    patch.setattr(Delivery, "_remember_late", lambda _self, _flight, _now_s: None)


def one_delete_for_all(patch: Patch) -> None:
    """One row that leaves a membership ends it, whoever else says it."""
    touch = RowTable.touch

    def wrong(self: RowTable, row: Row, membership: Membership, sayers: int) -> None:
        standing = self.standing(membership)
        if sayers < 0:
            sayers = -standing.sayers
        touch(self, row, membership, sayers)

    patch.setattr(RowTable, "touch", wrong)


def aborted_writes_dropped(patch: Patch) -> None:
    """What an aborted transaction carried is forgotten."""
    committed = Commits.committed

    def wrong(self: Commits, number: int, parts: Any, *, ok: bool) -> None:
        carried = list(self._flying_parts.values())
        committed(self, number, parts, ok=ok)
        for part in () if ok else carried:
            part.carry.clear()

    patch.setattr(Commits, "committed", wrong)


def owed_not_issued_again(patch: Patch) -> None:
    """A restored instance waits for the next event of what it still owes."""
    count = RowTable.count

    def wrong(self: RowTable, most: int) -> None:
        was = self.whole
        count(self, most)
        if self.whole and not was:
            self.later.clear()

    patch.setattr(RowTable, "count", wrong)


def told_before_answered(patch: Patch) -> None:
    """What is stored while its call is in flight counts as told."""
    relieve = Commits.relieve

    def wrong(self: Commits, parts: Any, now_s: float) -> None:
        known = len(self._forced)
        relieve(self, parts, now_s)
        for row in self._forced[known:]:
            row.told.update(dict.fromkeys(row.told, PRESENT))

    patch.setattr(Commits, "relieve", wrong)


def no_lease(patch: Patch) -> None:
    """A sender that wakes up writes what it has, however long it slept."""
    patch.setattr(Play, "lease_s", float("inf"))


def epochs_ignored(patch: Patch) -> None:
    feed = Engine.feed

    def wrong(self: Engine, tp: TopicPartition, _epoch: int, *more: Any) -> None:
        part = self.part(tp)
        if part is not None:
            feed(self, tp, part.epoch, *more)

    patch.setattr(Engine, "feed", wrong)


def refused_without_a_letter(patch: Patch) -> None:
    patch.setattr(
        Delivery, "_put_refused", lambda _s, standing, _gen, _why: standing.table.set_aside(standing, "refused")
    )


def read_before_restored(patch: Patch) -> None:
    """Records are read before all partitions of their rows are restored."""
    patch.setattr(Engine, "takes", lambda self, tp: self.part(tp) is not None)


PLANTED: dict[Callable[[Patch], None], Iterable[str]] = {
    two_in_flight: ("stormy", "rows_share"),
    read_position_committed: ("plain", "crashes"),
    edits_kept_after_a_revoke: ("handover", "cut"),
    always_clean: ("orderly", "handover"),
    settles_whatever_changed: ("stormy", "rows_share"),
    removals_confirmed_at_once: ("stormy", "rows_share"),
    no_wait_after_an_unclean_end: ("crashes", "handover"),
    entries_inherited: ("rows_share", "crashes"),
    repeats_shown: ("repeats",),
    late_attempts_forgotten: ("stormy", "rows_share"),
    one_delete_for_all: ("rows_share",),
    aborted_writes_dropped: ("stormy", "refused"),
    owed_not_issued_again: ("crashes", "missing"),
    told_before_answered: ("stormy", "crashes"),
    no_lease: ("paused", "cut"),
    epochs_ignored: ("cut", "orderly"),
    refused_without_a_letter: ("refused",),
    read_before_restored: ("orderly", "crashes"),
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(
    plant: Callable[[Patch], None], monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(monkeypatch)
    worlds = list(PLANTED[plant])
    for seed in range(SEEDS_MAX):
        result = play(seed, worlds[seed % len(worlds)])
        if result.law:
            assert result.law != "raised", str(result.violation)
            with capsys.disabled():
                print(f"\n{plant.__name__}: {result.law}, at seed {seed}", end="")  # noqa: T201  # how soon it is found
            return
    pytest.fail(f"{SEEDS_MAX} seeds of {worlds} do not find it")
