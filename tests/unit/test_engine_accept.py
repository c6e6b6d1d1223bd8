"""A changed segment code that an operator accepts: the rows move, whatever comes first, and whatever is restarted."""

from __future__ import annotations

from typing import Any

import pytest
from engine_hand import Hand

from stream.core.model import Customer

MAX = Customer("c1", None, "10", None, "active", anonymous=False)
EVA = Customer("c2", None, "11", None, "active", anonymous=False)
MOVED = [("add", "golden", ("c1", "c2")), ("remove", "gold", ("c1", "c2"))]


class Case:
    """Two members in gold, by reference; then the reference says golden."""

    def __init__(self) -> None:
        self.codes: dict[str, tuple[Any, ...]] = {"7": ("gold",)}
        self.hand = Hand(
            members=(("ref:customers", "customer"),),
            segments="segments",
            references={
                "customers": (("number",), {"42": ("10",), "43": ("11",)}),
                "segments": (("code",), self.codes),
            },
        ).start()
        self.hand.feed(self.hand.put(1, "7", "42"), self.hand.put(2, "7", "43"))
        while self.hand.settle() or self.hand.lookups:
            self.look(self.hand)
        assert {call.segment for call in self.hand.sent} == {"gold"}
        self.hand.sent.clear()

    @staticmethod
    def look(hand: Hand) -> None:
        lookups, hand.lookups = hand.lookups, []
        for lookup in lookups:
            hand.lookups = [lookup]
            hand.look(MAX, EVA)
        for call in hand.sent:
            hand.answer(call)

    def change(self, code: str = "golden") -> None:
        self.hand.refer("segments", "7", code)

    def moves(self, *, after_s: float = 1.0) -> list[tuple[str, str, tuple[str, ...]]]:
        hand = self.hand
        calls = [*hand.sent, *hand.settle(after_s)]
        hand.sent.clear()
        return sorted({(call.op, call.segment, tuple(sorted(call.members))) for call in calls})


@pytest.fixture
def case() -> Case:
    return Case()


def test_accepted_before_the_reference_changes(case: Case) -> None:
    case.hand.engine.accept_code("golden")
    assert case.moves() == []
    case.change()
    assert case.moves() == MOVED
    assert case.hand.alarms == []


def test_accepted_twice_moves_once(case: Case) -> None:
    case.change()
    case.hand.engine.accept_code("golden")
    case.hand.engine.accept_code("golden")
    assert case.moves() == MOVED
    case.hand.engine.accept_code("golden")
    assert case.moves(after_s=30) == []


def test_another_code_is_not_what_was_accepted(case: Case) -> None:
    case.hand.engine.accept_code("golden")
    case.change("silver")
    assert case.moves() == []
    assert [alarm.kind for alarm in case.hand.alarms] == ["segment_code_changed"]


def test_withdrawn_before_the_reference_changes(case: Case) -> None:
    case.hand.engine.accept_code("golden")
    case.hand.engine.withdraw_code("golden")
    case.change()
    assert case.moves() == []


def test_a_restart_that_hears_of_it_before_the_rows(case: Case) -> None:
    case.change()
    hand = case.hand
    hand.boot()
    hand.engine.accept_code("golden")
    hand.start()
    assert case.moves() == MOVED


def test_a_restart_that_hears_of_it_after_the_rows(case: Case) -> None:
    case.change()
    case.hand.crash()
    assert case.moves() == []
    case.hand.engine.accept_code("golden")
    assert case.moves() == MOVED


def test_a_restart_that_hears_of_it_while_rows_are_counted(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.change()
    hand = case.hand
    monkeypatch.setattr("stream.core.engine.COUNT_AT_ONCE_MAX", 1)
    hand.boot()
    hand.own()
    hand.restore()
    (table,) = hand.engine.tables()
    assert table.counting
    hand.engine.accept_code("golden")
    hand.settle()
    hand.settle(hand.limits.unclean_wait_s + 1)
    assert case.moves() == MOVED


@pytest.mark.parametrize("first", ["rows", "control"])
def test_a_crash_when_some_rows_had_moved_moves_the_others_too(case: Case, first: str) -> None:
    hand = case.hand
    case.change()
    before = {tp: dict(rows) for tp, rows in hand.state.items()}
    hand.engine.accept_code("golden")
    for call in hand.settle(1):
        hand.answer(call)
    hand.settle()
    hand.settle(20)
    (tp,) = before
    moved = hand.state[tp]
    keys = sorted(moved)
    assert all(moved[key] != before[tp][key] for key in keys if len(key) == 16)
    # the commit of one row alone was made
    hand.state[tp] = {**before[tp], keys[-1]: moved[keys[-1]]}
    hand.sent.clear()
    hand.boot()
    if first == "control":
        hand.engine.accept_code("golden")
    hand.start()
    hand.engine.accept_code("golden")
    sent = case.moves(after_s=30)
    (add,) = [members for op, segment, members in sent if (op, segment) == ("add", "golden")]
    (remove,) = [members for op, segment, members in sent if (op, segment) == ("remove", "gold")]
    assert add == remove
    assert len(add) == 1


def test_what_moved_stays_moved_after_a_restart_without_the_record(case: Case) -> None:
    hand = case.hand
    case.change()
    hand.engine.accept_code("golden")
    for call in hand.settle(1):
        hand.answer(call)
    hand.settle()
    hand.settle(20)
    hand.sent.clear()
    hand.crash()
    assert case.moves(after_s=30) == []
    assert hand.alarms == []
