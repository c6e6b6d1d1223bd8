"""Letters: records that cannot be used, written whole to a compacted topic, keyed by their coordinates.

A letter counts when it is acknowledged, and the record's offset not before. schemas/letter.schema.json describes the value.
"""

from __future__ import annotations

import base64
import queue
from collections.abc import Callable, Mapping
from typing import Any, Final

import confluent_kafka as ck
import msgspec

from stream.core.effects import Bury
from stream.edge.state import producer_properties

VERSION: Final = 1


class Letter(msgspec.Struct, omit_defaults=True):
    """A record that could not be used. key, value and header values are base64; null where the record had none."""

    v: int
    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    key: str | None = None
    value: str | None = None
    headers: list[tuple[str, str | None]] = []
    timestamp_ms: int = 0


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def letter_of(bury: Bury) -> Letter:
    """The letter for a record; without key and value when it was restored from state and is not in memory any more."""
    message: Any = bury.origin
    letter = Letter(VERSION, bury.tp.topic, bury.tp.partition, bury.offset, bury.reason, bury.detail)
    if message is not None:
        letter.key = _base64(message.key())
        letter.value = _base64(message.value())
        letter.headers = [(name, _base64(data)) for name, data in message.headers() or ()]
        letter.timestamp_ms = message.timestamp()[1]
    return letter


class Letters:
    """Writes letters; acknowledged() tells which are safe. One that fails is written again."""

    def __init__(self, properties: Mapping[str, Any], topic: str, log: Callable[[str, str], None]) -> None:
        self.topic: Final = topic
        self._log = log
        self._producer = ck.Producer(
            {**producer_properties(properties), "enable.idempotence": True, "linger.ms": 5,
             "error_cb": lambda error: log("kafka", str(error.str()))}
        )  # fmt: skip
        self._acked: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._failed: list[Bury] = []

    def write(self, bury: Bury) -> None:
        key = f"{bury.tp.topic}/{bury.tp.partition}/{bury.offset}"

        def reported(error: ck.KafkaError | None, _: Any) -> None:
            if error is None:
                self._acked.put(bury.token)
            else:
                self._log("letters", f"letter {key}: {error.str()}")
                self._failed.append(bury)

        try:
            self._producer.produce(
                self.topic, key=key, value=msgspec.json.encode(letter_of(bury)), on_delivery=reported
            )
        except BufferError:
            self._failed.append(bury)

    def acknowledged(self) -> list[int]:
        """The tokens of letters that are safe now; those that failed are written again."""
        self._producer.poll(0)
        failed, self._failed = self._failed, []
        for bury in failed:
            self.write(bury)
        tokens: list[int] = []
        while not self._acked.empty():
            tokens.append(self._acked.get_nowait())
        return tokens

    def close(self) -> None:
        self._producer.flush(5)
