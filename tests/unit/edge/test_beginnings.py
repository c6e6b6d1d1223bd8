"""Reading begins where it was told to: what the client fetched from elsewhere is not taken for the next of the partition."""

from collections.abc import Sequence
from typing import Any

import confluent_kafka as ck
import pytest

from stream.core.model import TopicPartition
from stream.edge.kafka import Source

TP = TopicPartition("t", 0)


class Message:
    def __init__(self, offset: int, *, end: bool = False) -> None:
        self._offset = offset
        self._error = ck.KafkaError(ck.KafkaError._PARTITION_EOF) if end else None

    def __getattr__(self, name: str) -> Any:
        values = {"topic": "t", "partition": 0, "offset": self._offset, "key": b"k", "value": b"v", "timestamp": (1, 5)}
        return lambda: self._error if name == "error" else values[name]


class Client:
    """A consumer that answers each seek with the next of these fetches."""

    def __init__(self, *fetches: Sequence[Message]) -> None:
        self.fetches = list(fetches)
        self.seeks: list[int] = []
        self.assigned: list[int] = []
        self._next: list[Message] = []

    def seek(self, part: ck.TopicPartition) -> None:
        self.seeks.append(part.offset)
        self._next = list(self.fetches.pop(0))

    def poll(self, _: float) -> Message | None:
        return self._next.pop(0) if self._next else None

    def consume(self, *_: Any) -> list[Message]:
        found, self._next = self._next, []
        return found

    def get_watermark_offsets(self, *_: Any, **__: Any) -> tuple[int, int]:
        return 3, 77

    def incremental_assign(self, parts: list[ck.TopicPartition]) -> None:
        self.assigned += [part.offset for part in parts]

    def pause(self, _: Any) -> None:
        pass


class Deaf:
    def on_assigned(self, tps: Sequence[TopicPartition]) -> None:
        pass

    on_revoked = on_lost = on_assigned


def taken(monkeypatch: pytest.MonkeyPatch, client: Client) -> tuple[list[int], list[int]]:
    """The offsets of the records that came, and of the ends, from offset 40 on."""
    monkeypatch.setattr(ck, "Consumer", lambda _: client)
    source = Source({}, ["t"], Deaf(), log=lambda *_: None, now=lambda: 0.0)
    source.begin(TP, 40)
    records: list[int] = []
    ends: list[int] = []
    for _ in range(5):
        found = source.take(100, 0.0)
        records += [offset for one in found.slices for offset in one.offsets]
        ends += [offset for _, offset in found.ends]
    return records, ends


def test_the_end_that_the_client_stood_at_before_the_seek_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believed, everything between would count as read: removals and members missed for ever, in silence."""
    client = Client([Message(77, end=True)], [Message(40), Message(41)])
    assert taken(monkeypatch, client) == ([40, 41], [])
    assert client.seeks == [40, 40]


def test_nor_are_records_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(
        [Message(77), Message(78), Message(79, end=True)], [Message(40), Message(41), Message(42, end=True)]
    )
    assert taken(monkeypatch, client) == ([40, 41], [42])


@pytest.mark.parametrize(
    ("fetch", "found"),
    [([Message(45), Message(49)], ([45, 49], [])), ([Message(77, end=True)], ([], [77]))],
    ids=["compacted", "markers alone"],
)
def test_what_comes_again_is_right(
    monkeypatch: pytest.MonkeyPatch, fetch: list[Message], found: tuple[list[int], list[int]]
) -> None:
    client = Client(fetch, fetch)
    assert taken(monkeypatch, client) == found
    assert client.seeks == [40, 40]


def test_what_stands_where_it_should_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client([Message(40), Message(44), Message(45, end=True)])
    assert taken(monkeypatch, client) == ([40, 44], [45])
    assert client.seeks == [40]


def test_a_partition_is_assigned_at_its_end_as_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """OFFSET_END is a question that the client asks later: its answer came after the seek now and then, and undid it."""
    client = Client()
    monkeypatch.setattr(ck, "Consumer", lambda _: client)
    source = Source({}, ["t"], Deaf(), log=lambda *_: None, now=lambda: 0.0)
    assigned: Any = client
    source._on_assign(assigned, [ck.TopicPartition("t", 0)])
    assert source.failure is None
    assert client.assigned == [77]
