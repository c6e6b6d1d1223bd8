"""Since when partitions stand before records that they do not read: a partition at its end is fresh, one that stands is not.

The source time of a record that nobody read is not known. So what counts is when its end was first seen: lag that passes within
two looks leaves no trace, whatever the topic's last event was.
"""

from __future__ import annotations

from collections.abc import Iterable

from stream.core.model import TopicPartition


class Standstill:
    """One mark a partition: the end that it has to reach, and when that end was seen. Times in seconds since the epoch."""

    def __init__(self) -> None:
        self._marks: dict[TopicPartition, tuple[int | None, float]] = {}

    def look(self, tp: TopicPartition, position: int | None, end: int | None, wall_s: float) -> float | None:
        """Since when it stands, None when it does not. position: None before it was restored; end: None where it is not known."""
        mark = self._marks.get(tp)
        if position is None:
            return self._marks.setdefault(tp, (None, wall_s))[1]
        if end is None:
            return mark[1] if mark is not None else None
        since_s = wall_s
        if mark is not None:
            to, since_s = mark
            if to is not None and position < to:
                return since_s
            if to is not None:
                since_s = wall_s
        if position >= end:
            self._marks.pop(tp, None)
            return None
        self._marks[tp] = (end, since_s)
        return since_s

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """They went away."""
        for tp in tps:
            self._marks.pop(tp, None)
