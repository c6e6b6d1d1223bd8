"""Between Kafka and the fold: decoders by topic, and the slices that wait for a schema.

A registry that is down pauses the partitions that need it; nothing is skipped and nothing is lost. Schemas are fetched by a thread
of its own, so that the loop goes on polling.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

from stream.core.decode.decoder import TopicDecoder
from stream.core.decode.spec import DecodeSpec
from stream.core.model import Decoded, Halt, SchemaId, Slice, TopicPartition
from stream.errors import SegstreamError

RETRY_S: Final = (0.5, 1.0, 2.0, 5.0)


class SchemaSource(Protocol):
    """Where writer schemas come from."""

    def fetch(self, schema_id: SchemaId) -> str | None:
        """The schema's text; None when it certainly does not exist. Raises SegstreamError when nobody can tell now."""


class Readable(NamedTuple):
    """Decoded records of one slice from `start` on."""

    slice: Slice
    start: int
    items: list[Decoded]


class _Waiting(NamedTuple):
    slice: Slice
    start: int


class Intake:
    """Decodes slices in order; a partition whose next record needs an unknown schema waits, the others go on."""

    def __init__(
        self,
        specs: Callable[[str], DecodeSpec],
        registry: SchemaSource | None,
        *,
        log: Callable[[str, str], None],
        now: Callable[[], float],
    ) -> None:
        self._specs: Final = specs
        self._registry: Final = registry
        self._log: Final = log
        self._now: Final = now
        self._decoders: dict[str, TopicDecoder] = {}
        self._waiting: dict[TopicPartition, deque[_Waiting]] = {}
        self._needs: dict[TopicPartition, SchemaId] = {}
        self._asked: dict[SchemaId, float] = {}
        self._failures = 0
        self._questions: queue.SimpleQueue[SchemaId | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[SchemaId, str | None, str]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._fetch, name="schemas", daemon=True)
        if registry is not None:
            self._thread.start()

    def decoder(self, topic: str) -> TopicDecoder:
        decoder = self._decoders.get(topic)
        if decoder is None:
            decoder = self._decoders[topic] = TopicDecoder(self._specs(topic))
        return decoder

    def waiting(self) -> set[TopicPartition]:
        """Partitions that wait for a schema: to be paused."""
        return set(self._waiting)

    def why_waiting(self) -> str:
        """What is waited for, as one line; empty when nothing is."""
        return ", ".join(sorted({f"schema {need.kind} {need.value}" for need in self._needs.values()}))

    def read(self, taken: Slice) -> list[Readable]:
        """Decode a slice, up to the first record whose schema is not known."""
        queued = self._waiting.get(taken.tp)
        if queued is not None:
            queued.append(_Waiting(taken, 0))
            return []
        return self._decode(taken, 0)

    def _decode(self, taken: Slice, start: int) -> list[Readable]:
        decoded = self.decoder(taken.tp.topic).decode(taken, start)
        if decoded.needs is not None and self._registry is None:
            need = decoded.needs
            why = f"a record names the schema {need.kind} {need.value}, and no registry is set: set registry.url"
            return [Readable(taken, start, [*decoded.items, Halt("no_registry", why)])]
        if decoded.needs is not None:
            self._waiting.setdefault(taken.tp, deque()).appendleft(_Waiting(taken, start + len(decoded.items)))
            self._needs[taken.tp] = decoded.needs
            self._ask(decoded.needs)
        return [Readable(taken, start, decoded.items)] if decoded.items else []

    def _ask(self, schema: SchemaId) -> None:
        if schema not in self._asked:
            self._asked[schema] = self._now()
            self._questions.put(schema)

    def resumed(self) -> list[Readable]:
        """What could be decoded because schemas arrived since the last call."""
        readable: list[Readable] = []
        while not self._answers.empty():
            schema, text, failure = self._answers.get_nowait()
            self._asked.pop(schema, None)
            waiting = [tp for tp, need in self._needs.items() if need == schema]
            if failure:
                self._log("registry", failure)
                if waiting:
                    self._ask(schema)
                continue
            for topic in {tp.topic for tp in waiting}:
                self.decoder(topic).learn(schema, text)
            for tp in waiting:
                readable.extend(self._go_on(tp))
        return readable

    def _go_on(self, tp: TopicPartition) -> list[Readable]:
        del self._needs[tp]
        queued = self._waiting.pop(tp, deque())
        readable: list[Readable] = []
        while queued:
            taken, start = queued.popleft()
            readable.extend(self._decode(taken, start))
            if tp in self._waiting:
                self._waiting[tp].extend(queued)
                break
        return readable

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """These partitions are not ours any more."""
        for tp in tps:
            self._waiting.pop(tp, None)
            self._needs.pop(tp, None)

    def _fetch(self) -> None:
        failures = 0
        pause = threading.Event()
        while (schema := self._questions.get()) is not None:
            try:
                text = self._registry.fetch(schema) if self._registry is not None else None
            except SegstreamError as error:
                pause.wait(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1
                self._answers.put((schema, None, str(error)))
            except Exception as error:  # noqa: BLE001 - the thread must answer, whatever happened
                pause.wait(RETRY_S[-1])
                self._answers.put((schema, None, f"{type(error).__name__}: {error}"))
            else:
                failures = 0
                self._answers.put((schema, text, ""))

    def close(self) -> None:
        self._questions.put(None)
