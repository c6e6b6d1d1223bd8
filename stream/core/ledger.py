"""Which offset of one partition may be committed: the lowest that any stage still holds, else the read position.

Nothing is counted per event, so gaps (compaction, transaction markers) cost nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol


class Holder(Protocol):
    """Whoever holds an offset: a row by its first event that is not durable yet, a letter until it is acknowledged.

    `first` is that offset, -1 when nothing is held.
    """

    first: int


class Ledger:
    """The holds of one partition, in offset order, because records are read in offset order."""

    __slots__ = ("_holds", "_read", "position")

    def __init__(self, position: int) -> None:
        self.position = position
        """The next offset to read."""
        self._holds: deque[tuple[int, Holder]] = deque()
        self._read: deque[tuple[int, float, int]] = deque()

    def hold(self, holder: Holder) -> None:
        """Take `holder.first` into account; it must not lie below an offset held before it."""
        self._holds.append((holder.first, holder))

    def committable(self) -> int:
        """The offset that may be committed now: no event at or above it is lost by a crash right after."""
        holds = self._holds
        while holds and holds[0][1].first != holds[0][0]:
            holds.popleft()
        return holds[0][0] if holds else self.position

    def advance(self, position: int, now_s: float, ts_ms: int) -> None:
        """The read position moved; remember when, and the source's time of the newest event up to it."""
        self.position = position
        self._read.append((position, now_s, ts_ms))

    def oldest(self) -> tuple[float, int] | None:
        """When the oldest uncommittable event was read (s) and its source time (ms); None when nothing is held."""
        low = self.committable()
        read = self._read
        while read and read[0][0] <= low:
            read.popleft()
        if not self._holds or not read:
            return None
        return read[0][1], read[0][2]

    def holders(self, before_s: float) -> list[Holder]:
        """Whoever holds offsets that were read before `before_s`."""
        self.oldest()
        end = -1
        for position, read_s, _ in self._read:
            if read_s >= before_s:
                break
            end = position
        found: list[Holder] = []
        for offset, holder in self._holds:
            if offset >= end:
                break
            if holder.first == offset:
                found.append(holder)
        return found
