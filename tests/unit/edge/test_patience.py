"""A partition whose leader is not known yet, or moves, is waited for: ending there would end one instance of two that start."""

from typing import Any

import confluent_kafka as ck
import pytest

from stream.core.model import TopicPartition
from stream.edge import kafka, state, trouble
from stream.edge.kafka import Source
from stream.edge.state import Restoration
from stream.errors import Unavailable

TP = TopicPartition("t", 0)
MOVING = ck.KafkaError.NOT_LEADER_FOR_PARTITION


class Client:
    """A consumer whose questions about offsets are answered with these errors first."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self.asked = 0

    def _answer(self, found: Any) -> Any:
        self.asked += 1
        if self.errors:
            raise ck.KafkaException(ck.KafkaError(self.errors.pop(0)))
        return found

    def get_watermark_offsets(self, *_: Any, **__: Any) -> Any:
        return self._answer((0, 9))

    def offsets_for_times(self, parts: list[ck.TopicPartition], **_: Any) -> list[Any]:
        self.asked += 1
        error = ck.KafkaError(self.errors.pop(0)) if self.errors else None
        return [Found(part.topic, part.partition, -1 if error else 4, error) for part in parts]

    def assign(self, *_: Any) -> None:
        pass

    def close(self) -> None:
        pass


class Found:
    """What the client's own TopicPartition has, and nobody else can set."""

    def __init__(self, topic: str, partition: int, offset: int, error: ck.KafkaError | None) -> None:
        self.topic, self.partition, self.offset, self.error = topic, partition, offset, error


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble, "AGAIN_S", 0.001)


def source(client: Client) -> Source:
    found = Source.__new__(Source)
    vars(found)["_consumer"] = client
    return found


def restoration(monkeypatch: pytest.MonkeyPatch, client: Client) -> Restoration:
    monkeypatch.setattr(ck, "Consumer", lambda _: client)
    return Restoration({}, "g", [TP])


def test_the_state_topic_that_another_instance_made_a_moment_ago_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(MOVING, ck.KafkaError.LEADER_NOT_AVAILABLE, ck.KafkaError.UNKNOWN_TOPIC_OR_PART)
    found = restoration(monkeypatch, client)
    assert client.asked == 4
    assert found._ends == {("g-t-rows", 0): 9}


def test_the_source_topic_whose_leader_moves_is_waited_for() -> None:
    assert source(Client(MOVING, MOVING)).watermarks(TP) == (0, 9)


def test_a_time_that_nobody_could_look_up_is_no_time_after_the_end() -> None:
    """Taken for "nothing since", the partition would begin at its end, and miss in silence what came before."""
    assert source(Client(MOVING)).at_time([TP], 1) == {TP: 4}
    with pytest.raises(Unavailable, match="offsets for a time"):
        source(Client(ck.KafkaError.INVALID_REQUEST)).at_time([TP], 1)


def test_waiting_has_an_end_and_other_errors_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "ADMIN_TIMEOUT_S", 0.02)
    monkeypatch.setattr(kafka, "CALL_TIMEOUT_S", 0.02)
    with pytest.raises(Unavailable, match="state topic of t"):
        restoration(monkeypatch, Client(*[MOVING] * 10_000))
    refused = Client(ck.KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(Unavailable, match="watermarks of t"):
        source(refused).watermarks(TP)
    assert refused.asked == 1
