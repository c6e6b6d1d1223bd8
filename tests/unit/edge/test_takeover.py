"""Taking over: what stored state and committed offsets must agree about."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from stream.core.model import TopicPartition
from stream.core.rowstate import META_KEY, VERSION, OffsetMetadata, PartitionState, decode_partition, encode
from stream.edge import takeover
from stream.edge.kafka import Position
from stream.edge.takeover import Takeover
from stream.errors import DataError, SettingsError

OLD, NEW = TopicPartition("t", 0), TopicPartition("t", 2)


class Cluster:
    """Source and topics in one: 3 partitions, of which the group has committed those that were there at first."""

    def __init__(self, partitions_then: int) -> None:
        metadata = encode(OffsetMetadata(VERSION, partitions=partitions_then)).decode()
        self._offsets = {TopicPartition("t", p): Position(5, metadata) for p in range(partitions_then)}

    def partition_counts(self) -> dict[str, int]:
        return {"t": 3, "g-t-rows": 3}

    def committed(self, tps: list[TopicPartition]) -> dict[TopicPartition, Position]:
        return {tp: found for tp in tps if (found := self._offsets.get(tp)) is not None}

    def watermarks(self, _tp: TopicPartition) -> tuple[int, int]:
        return 0, 9

    def begin(self, _tp: TopicPartition, _offset: int) -> int:
        return 7

    def ids(self, names: list[str]) -> dict[str, str]:
        return dict.fromkeys(names, "id")

    def ensure(self, *_: Any) -> bool:
        return True


def taken_over(monkeypatch: pytest.MonkeyPatch, tp: TopicPartition, partitions_then: int) -> Any:
    cluster: Any = Cluster(partitions_then)
    found = Takeover(cluster, cluster, {}, "g", "beginning", fingerprint=lambda _: "print")
    meta = encode(PartitionState(VERSION, "id", "print", partitions_then))

    class Stored:
        def __init__(self, *_: Any) -> None:
            self.rows = {tp: {META_KEY: meta} if tp in cluster.committed([tp]) else {}}

        def step(self, _wait_s: float) -> bool:
            return True

        def close(self) -> None:
            pass

    monkeypatch.setattr(takeover, "Restoration", Stored)
    found.begin([tp])
    return found.step(0.0)


def test_what_fits_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    (restored,) = taken_over(monkeypatch, OLD, 3)
    assert (restored.position, restored.epoch, restored.fresh) == (5, 7, False)


@pytest.mark.parametrize("tp", [OLD, NEW])
def test_a_topic_with_more_partitions_than_its_state_is_about_stops(
    monkeypatch: pytest.MonkeyPatch, tp: TopicPartition
) -> None:
    """Rows are looked for in the partition of their event: deletes of those that moved would be missed, in silence.

    Also for whoever raised the state topic with it, and where one instance has all partitions.
    """
    with pytest.raises(DataError, match="raised from 2 to 3"):
        taken_over(monkeypatch, tp, 2)


STORED = PartitionState(VERSION, "id", "print", 1)


@dataclass
class Case:
    """A partition of a topic with one: what is stored, committed and there. None: nothing is."""

    committed_offset: int | None = 5
    stored: PartitionState | None = STORED
    low: int = 0
    high: int = 9
    at: int = -1
    start: Any = "beginning"
    remember: bool = True

    def take(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        tp, case = TopicPartition("t", 0), self

        class One(Cluster):
            def partition_counts(self) -> dict[str, int]:
                return {"t": 1, "g-t-rows": 1}

            def committed(self, tps: list[TopicPartition]) -> dict[TopicPartition, Position]:
                found = case.committed_offset
                metadata = encode(OffsetMetadata(VERSION, partitions=1)).decode()
                return {} if found is None else dict.fromkeys(tps, Position(found, metadata))

            def watermarks(self, _tp: TopicPartition) -> tuple[int, int]:
                return case.low, case.high

            def at_time(self, tps: list[TopicPartition], _ms: int) -> dict[TopicPartition, int]:
                return dict.fromkeys(tps, case.at)

        class Stored:
            def __init__(self, *_: Any) -> None:
                self.rows = {tp: {META_KEY: encode(case.stored)} if case.stored is not None else {}}

            def step(self, _wait_s: float) -> bool:
                return True

            def close(self) -> None:
                pass

        monkeypatch.setattr(takeover, "Restoration", Stored)
        cluster: Any = One(1)
        found = Takeover(cluster, cluster, {}, "g", self.start, fingerprint=lambda _: "print", remember=self.remember)
        found.begin([tp])
        (restored,) = found.step(0.0)
        return restored


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (Case(stored=None), "its row state is gone"),
        (Case(committed_offset=None), "no committed offset"),
        (Case(stored=PartitionState(VERSION, "other", "print", 1)), "the topic was recreated"),
        (Case(stored=PartitionState(VERSION, "id", "another", 1)), "changed what a row says"),
        (Case(low=6), "committed offset 5 is gone, the oldest is 6"),
        (Case(high=4), "lies beyond the end 4"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch, case: Case, said: str) -> None:
    with pytest.raises(DataError, match=said) as refused:
        case.take(monkeypatch)
    assert "start: beginning" in refused.value.advice
    assert "g-t-rows" in refused.value.advice or "its state topic" in refused.value.advice


@pytest.mark.parametrize(
    ("start", "at", "position", "fold_to"),
    [
        ("beginning", -1, 2, 9),
        ("end", -1, 9, 0),
        (datetime(2026, 1, 1, tzinfo=UTC), 4, 4, 0),
        (datetime(2026, 1, 1, tzinfo=UTC), -1, 9, 0),  # nothing came since then
    ],
)
def test_a_first_start_begins_where_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch, start: Any, at: int, position: int, fold_to: int
) -> None:
    restored = Case(committed_offset=None, stored=None, low=2, start=start, at=at).take(monkeypatch)
    assert (restored.position, restored.fold_to, restored.fresh) == (position, fold_to, True)
    assert decode_partition(restored.meta) == PartitionState(VERSION, "id", "print", 1)


def test_a_first_start_that_is_not_told_where_to_begin_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="start is not set"):
        Case(committed_offset=None, stored=None, start=None).take(monkeypatch)


def test_a_dry_run_needs_no_row_state(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Case(stored=None, remember=False).take(monkeypatch).position == 5
