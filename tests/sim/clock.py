"""Simulated time: things happen in the order of their due times, nothing else moves the clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

WALL_START_MS = 1_795_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def after(self, delay_s: float, do: Callable[..., None], *args: Any) -> None:
        self._number += 1
        heapq.heappush(self._due, (self.now_s + delay_s, self._number, do, args))

    def step(self) -> bool:
        if not self._due:
            return False
        self.now_s, _, do, args = heapq.heappop(self._due)
        do(*args)
        return True

    @property
    def wall_ms(self) -> int:
        return WALL_START_MS + int(self.now_s * 1000)
