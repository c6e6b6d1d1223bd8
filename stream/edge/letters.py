"""Letters: records that cannot be used, written whole to a compacted topic, keyed by their coordinates.

A letter counts when it is acknowledged, and the record's offset not before. schemas/letter.schema.json describes the value.
"""

from __future__ import annotations

import base64
import queue
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import confluent_kafka as ck
import msgspec

from stream.core.effects import Bury
from stream.edge.state import producer_properties

VERSION: Final = 1
RETRY_S: Final = 2.0
"""A topic that refuses letters refuses all of them: writing and saying so must not become the loop's work."""


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


def letter_of(bury: Bury, *, whole: bool = True) -> Letter:
    """The letter for a record; without key and value when it was restored from state and is not in memory any more.

    whole: with the record's value and headers. Base64 adds a third: a record that fitted its topic may not fit as a letter.
    """
    message: Any = bury.origin
    letter = Letter(VERSION, bury.tp.topic, bury.tp.partition, bury.offset, bury.reason, bury.detail)
    if message is not None:
        letter.timestamp_ms = message.timestamp()[1]
        letter.key = _base64(message.key())
        if whole:
            letter.value = _base64(message.value())
            letter.headers = [(name, _base64(data)) for name, data in message.headers() or ()]
        else:
            letter.detail += f" (too large for a letter: its value of {len(message.value() or b'')} bytes is left out)"
    return letter


class Letters:
    """Writes letters; acknowledged() tells which are safe. One that fails is written again, one too large without its value."""

    def __init__(
        self,
        properties: Mapping[str, Any],
        topic: str,
        log: Callable[[str, str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.topic: Final = topic
        self._log = log
        self._now = now
        self._retry_s = float("-inf")
        self._producer = ck.Producer(
            {**producer_properties(properties), "enable.idempotence": True, "linger.ms": 5,
             "error_cb": lambda error: log("kafka", str(error.str()))}
        )  # fmt: skip
        self._acked: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._failed: list[Bury] = []

    def write(self, bury: Bury) -> None:
        """Begin to write a letter."""
        self._write(bury, whole=True)

    def _write(self, bury: Bury, *, whole: bool) -> None:
        key = f"{bury.tp.topic}/{bury.tp.partition}/{bury.offset}"

        def reported(error: ck.KafkaError | None, _: Any) -> None:
            if error is None:
                self._acked.put(bury.token)
            else:
                failed(error)

        def failed(error: ck.KafkaError) -> None:
            if whole and error.code() == ck.KafkaError.MSG_SIZE_TOO_LARGE:
                self._write(bury, whole=False)
                return
            if not self._failed:
                self._log("letters", f"letter {key} is written again: {error.str()}")
            self._failed.append(bury)

        value = msgspec.json.encode(letter_of(bury, whole=whole))
        try:
            self._producer.produce(self.topic, key=key, value=value, on_delivery=reported)
        except BufferError:
            self._failed.append(bury)
        except ck.KafkaException as error:
            failed(error.args[0])

    def acknowledged(self) -> list[int]:
        """The tokens of letters that are safe now; those that failed are written again."""
        self._producer.poll(0)
        if self._failed and self._now() >= self._retry_s:
            self._retry_s = self._now() + RETRY_S
            failed, self._failed = self._failed, []
            for bury in failed:
                self._write(bury, whole=True)
        tokens: list[int] = []
        while not self._acked.empty():
            tokens.append(self._acked.get_nowait())
        return tokens

    def close(self) -> None:
        self._producer.flush(5)
