"""Letters on an embedded broker: what does not fit, and what fails."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import confluent_kafka as ck
import pytest

from stream.core.effects import Bury
from stream.core.model import TopicPartition
from stream.demo.broker import EmbeddedBroker
from stream.edge.letters import Letters


class Record:
    """As much of the client's message as a letter reads."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def key(self) -> bytes:
        return b"key"

    def value(self) -> bytes:
        return self._value

    def headers(self) -> list[tuple[str, bytes]]:
        return [("h", b"1")]

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_000


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker()
    yield broker
    broker.close()


def bury(token: int, value: bytes) -> Bury:
    return Bury(token, TopicPartition("t", 0), token, "not_json", "no JSON", Record(value))


def await_tokens(letters: Letters, wanted: set[int]) -> None:
    found: set[int] = set()
    until_s = time.monotonic() + 10
    while found != wanted:
        assert time.monotonic() < until_s, f"acknowledged: {found}"
        found |= set(letters.acknowledged())
        time.sleep(0.01)


def test_a_record_too_large_for_a_letter_is_one_without_its_value(broker: EmbeddedBroker) -> None:
    """Its topic took it, and base64 makes a third more of it: it must neither end the program nor hold its offset for ever."""
    said: list[str] = []
    letters = Letters({"bootstrap.servers": broker.address}, "large", lambda _, text: said.append(text))
    letters.write(bury(1, b"x" * 900_000))
    letters.write(bury(2, b"small"))
    await_tokens(letters, {1, 2})
    letters.close()
    assert not said
    found: dict[int, Any] = {}
    reader = ck.Consumer({"bootstrap.servers": broker.address, "group.id": "r", "auto.offset.reset": "earliest"})
    reader.assign([ck.TopicPartition("large", number, ck.OFFSET_BEGINNING) for number in range(4)])
    while len(found) < 2:
        message = reader.poll(10)
        assert message is not None
        letter = json.loads(message.value())
        found[letter["offset"]] = letter
    reader.close()
    assert "value" not in found[1]
    assert "900000 bytes" in found[1]["detail"]
    assert base64.b64decode(found[1]["key"]) == b"key"
    assert base64.b64decode(found[2]["value"]) == b"small"


def test_a_letter_that_fails_is_written_again_now_and_then(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    now = [100.0]
    letters = Letters({"bootstrap.servers": broker.address}, "later", lambda _, text: said.append(text), lambda: now[0])
    tries: list[int] = []

    class Refusing:
        def produce(self, *_: object, **__: object) -> None:
            tries.append(1)
            raise ck.KafkaException(ck.KafkaError(ck.KafkaError.TOPIC_AUTHORIZATION_FAILED))

        def poll(self, _: float) -> None:
            pass

    producer = letters._producer
    monkeypatch.setattr(letters, "_producer", Refusing())
    letters.write(bury(3, b""))
    for _ in range(100):
        assert not letters.acknowledged()
    assert len(tries) == 2
    assert len(said) == 2
    monkeypatch.setattr(letters, "_producer", producer)
    now[0] += 60
    await_tokens(letters, {3})
    letters.close()
