"""Messages of the client as slices: consecutive records of one partition, as columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import confluent_kafka as ck

from stream.core.model import Slice, TopicPartition


def sliced(
    messages: Iterable[Any], epochs: Mapping[TopicPartition, int], event: Callable[[Any, ck.KafkaError], None]
) -> list[Slice]:
    """One slice for each partition that has an epoch; what is no record (an end, an error) goes to `event`."""
    runs: dict[tuple[str, int], list[Any]] = {}
    for message in messages:
        error = message.error()
        if error is not None:
            event(message, error)
            continue
        place = (message.topic(), message.partition())
        run = runs.get(place)
        if run is None:
            runs[place] = [message]
        else:
            run.append(message)
    slices: list[Slice] = []
    for (topic, partition), run in runs.items():
        tp = TopicPartition(topic, partition)
        epoch = epochs.get(tp)
        if epoch is None:
            continue
        slices.append(
            Slice(
                tp,
                epoch,
                [m.offset() for m in run],
                [m.key() for m in run],
                [m.value() for m in run],
                [m.timestamp()[1] for m in run],
                run,
                _Headers(run),
            )
        )
    return slices


class _Headers:
    """Headers of one run of messages, parsed when asked."""

    __slots__ = ("_run",)

    def __init__(self, run: list[Any]) -> None:
        self._run = run

    def __call__(self, i: int) -> Sequence[tuple[str, bytes | None]]:
        return self._run[i].headers() or ()
