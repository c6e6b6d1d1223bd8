"""What an operator is told must not be green while something stands."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from engine_hand import Hand, tp

from stream.core.rows import Row
from stream.edge import report
from stream.edge.metrics import Metrics
from stream.edge.report import Report

WALL_S = 1_000_000.0


class Ends:
    """Where the partitions end, as the test says."""

    def __init__(self, _properties: Any) -> None:
        self.known: dict[Any, int] = {}

    def look(self, _tps: Any, _now_s: float) -> None: ...

    def forget(self, _tps: Any) -> None: ...


class Board:
    """A report over an engine that is driven by hand; its time goes with the engine's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **limits: float) -> None:
        monkeypatch.setattr(report, "Ends", Ends)
        self.hand = Hand(**limits).start()
        self.metrics = Metrics.fresh("0")
        self.metrics.assigned("rows", [0])
        self.report = Report(self.metrics, {})
        self.report._ends.known[tp()] = 0

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"segstream_{name}", labels)

    def age_s(self) -> float:
        """How old the oldest event is that is not done, by the metric."""
        hand = self.hand
        wall_s = WALL_S + hand.now
        self.metrics._unacked._clock = lambda: wall_s
        self.report._ends.known[tp()] = hand.ends[0]
        self.report.write(hand.engine, [tp()], 0, hand.now, wall_s)
        at = self.value("oldest_unacked_timestamp_seconds", topic="rows")
        assert at is not None
        return wall_s - at


def test_what_is_done_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch)
    assert board.age_s() == 0
    board.hand.feed(board.hand.put(1, "gold", "c1"))
    board.hand.done()
    board.hand.now += 3_600
    assert board.age_s() == 0


def test_a_topic_that_stopped_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch)
    board.hand.engine.halt("rows", "no column")
    board.hand.settle()
    board.hand.feed(board.hand.put(1, "gold", "c1"))
    board.age_s()
    board.hand.now += 3_600
    assert board.age_s() == pytest.approx(3_600)
    assert board.value("halted_topics") == 1
    assert board.value("alarms_total", kind="halted") == 1


def test_what_is_stored_undone_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for limits in ({"window_age_s": 5.0}, {"standings_max": 1}):
        board = Board(monkeypatch, **limits)  # type: ignore[arg-type]
        hand = board.hand
        hand.feed(hand.put(1, "bad", "c1"))
        for _ in range(60):
            for call in hand.settle(10.0):
                hand.answer(call, 503)
        assert hand.committed() == 1, "it holds no offset any more"
        assert board.age_s() > 500, limits
        for _ in range(3):
            for call in hand.settle(10.0):
                hand.answer(call, 201)
        assert board.age_s() == 0


def test_a_restart_does_not_make_it_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, window_age_s=5.0)
    hand = board.hand
    hand.feed(hand.put(1, "bad", "c1"))
    for _ in range(10):
        for call in hand.settle(10.0):
            hand.answer(call, 503)
    before_s = board.age_s()
    hand.crash()
    assert hand.sent
    hand.answer(hand.sent[-1], 503)
    hand.settle()
    assert board.age_s() >= before_s
    for _ in range(3):
        for call in hand.settle(10.0):
            hand.answer(call, 201)
    assert board.age_s() == 0


def test_the_oldest_counts_whichever_was_stored_first_and_kafka_s_time_where_the_source_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board = Board(monkeypatch, window_age_s=5.0)
    hand = board.hand
    wall_ms = int((WALL_S + hand.now) * 1000)
    newer = msgspec.structs.replace(hand.put(1, "bad", "c1"), ts_ms=wall_ms - 100_000)
    older = msgspec.structs.replace(hand.put(2, "bad", "c2"), ts_ms=wall_ms - 900_000)
    hand.feed(newer, older)
    began_s = hand.now
    for _ in range(5):
        for call in hand.settle(10.0):
            hand.answer(call, 503)
    assert board.age_s() == pytest.approx(900 + hand.now - began_s, abs=1)
    unknown = Row(b"k", hand.engine.part(tp()), None, {}, 0, 1_234_000)  # type: ignore[arg-type]
    hand.engine.commits.stuck.clear()
    hand.engine.commits.undone(unknown)
    assert hand.engine.undone(hand.now, WALL_S)["rows"] == 1_234


def test_members_that_were_put_off_when_their_segment_came_back_are_not_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, standings_max=4, members_max=2, missing_retry_s=5.0)
    hand = board.hand
    for number in range(12):
        hand.feed(hand.put(number, "gold", f"c{number}"))
        for call in hand.settle(0.1):
            hand.answer(call, 404)
    hand.settle(10.0)
    hand.answer(hand.sent[-1], 201)
    hand.settle()
    assert hand.engine.pending()["put_off"] > 0
    hand.now += 30.0
    assert board.age_s() >= 30


def test_alarms_and_letters_are_there_before_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch)
    assert board.value("dead_letters_total", reason="invalid") == 0
    assert board.value("alarms_total", kind="halted") == 0
