"""Taking over: what stored state and committed offsets must agree about."""

from typing import Any

import pytest

from stream.core.model import TopicPartition
from stream.core.rowstate import META_KEY, VERSION, OffsetMetadata, PartitionState, encode
from stream.edge import takeover
from stream.edge.kafka import Position
from stream.edge.takeover import Takeover
from stream.errors import DataError

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
