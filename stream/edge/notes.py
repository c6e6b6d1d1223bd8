"""What clients report beside their answers, without repeating itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

REPEAT_S: Final = 30.0
TEXTS_MAX: Final = 1_000

_VARYING: Final = re.compile(r"\(after [^)]*\)|\[[^]]*\]")


class Notes:
    """`notes(kind, text)` writes a line, the same one at most once in REPEAT_S: several clients see each outage many times."""

    def __init__(self, write: Callable[[str, str], None], now: Callable[[], float]) -> None:
        self._write: Final = write
        self._now: Final = now
        self._said_s: dict[tuple[str, str], float] = {}

    def __call__(self, kind: str, text: str) -> None:
        key = (kind, _VARYING.sub("", text))
        now_s = self._now()
        if now_s - self._said_s.get(key, float("-inf")) < REPEAT_S:
            return
        if len(self._said_s) >= TEXTS_MAX:
            self._said_s.clear()
        self._said_s[key] = now_s
        self._write(kind, text)
