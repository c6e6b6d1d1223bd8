"""A partition that stands is not fresh, one that keeps up is, whenever its topic was written to last."""

from __future__ import annotations

from stream.core.model import TopicPartition
from stream.edge.standstill import Standstill

TP = TopicPartition("t", 0)


def test_at_its_end_it_does_not_stand() -> None:
    still = Standstill()
    assert still.look(TP, 5, None, 100.0) is None
    assert still.look(TP, 5, 5, 101.0) is None


def test_one_that_reads_on_stands_at_no_time() -> None:
    still = Standstill()
    for second in range(100):
        since = still.look(TP, second * 10, second * 10 + 5, float(second))
        assert since in (None, float(second))


def test_one_that_does_not_reach_an_end_stands_since_that_end_was_seen() -> None:
    still = Standstill()
    still.look(TP, 5, 5, 100.0)
    assert [still.look(TP, 5, 6 + n, 101.0 + n) for n in range(3)] == [101.0] * 3
    assert still.look(TP, 6, 9, 110.0) == 110.0, "it reached the end that was seen first, and another is to be reached"
    assert still.look(TP, 9, 9, 111.0) is None


def test_before_it_is_restored_it_stands_and_then_until_it_reached_its_end() -> None:
    still = Standstill()
    assert still.look(TP, None, None, 100.0) == 100.0
    assert still.look(TP, None, 50, 130.0) == 100.0
    assert still.look(TP, 10, 50, 140.0) == 100.0
    assert still.look(TP, 49, 70, 150.0) == 100.0
    assert still.look(TP, 50, 70, 160.0) == 160.0
    assert still.look(TP, 70, 70, 170.0) is None


def test_restored_at_its_end_it_does_not_stand_and_gone_it_is_forgotten() -> None:
    still = Standstill()
    still.look(TP, None, None, 100.0)
    assert still.look(TP, 50, 50, 101.0) is None
    still.look(TP, None, None, 100.0)
    still.forget([TP])
    assert still.look(TP, 50, 50, 200.0) is None
