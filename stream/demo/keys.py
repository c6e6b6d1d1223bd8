"""Single keys from a terminal, without waiting for them."""

from __future__ import annotations

import os
import select
import sys
from typing import Any, Self

try:
    import termios
    import tty
except ImportError:  # a system without POSIX terminals: the demo runs without keys
    termios = None  # type: ignore[assignment]


class Keys:
    """Reads keys while it is entered; the terminal is as before afterwards. Without a terminal there are none."""

    def __init__(self) -> None:
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        if termios is not None and sys.stdin.isatty():
            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    @property
    def there(self) -> bool:
        return self._before is not None

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def take(self) -> str:
        """The keys pressed since the last call, at most 64."""
        if self._before is None or not select.select([sys.stdin], [], [], 0)[0]:
            return ""
        return os.read(sys.stdin.fileno(), 64).decode(errors="ignore")
