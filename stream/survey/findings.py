"""What was found, held against what is set."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from stream.errors import DataError, SegstreamError
from stream.settings import RetailRed

Level = Literal["fits", "change", "may", "fail", "unknown", "note"]
"""fits: as it is set. change: the setting should change. may: it could. fail: `run` cannot work so, and no setting
mends it. unknown: could not be found, with the reason. note: there is nothing to set."""

LEVELS: Final = ("fits", "change", "may", "fail", "unknown", "note")
SECTION: Final = "retail_red"


class Finding(NamedTuple):
    """One thing that was asked.

    setting: a key of retail_red, or empty. is_set: its value now. write: the value that it should (change) or could
    (may) have.
    """

    name: str
    level: Level
    found: str
    setting: str = ""
    is_set: Any = None
    write: Any = None
    advice: str = ""


def bounds(setting: str) -> tuple[float, float]:
    """The least and the greatest value that the setting takes."""
    metadata = RetailRed.model_fields[setting].metadata
    low = next((limit.ge for limit in metadata if hasattr(limit, "ge")), -math.inf)
    high = next((limit.le for limit in metadata if hasattr(limit, "le")), math.inf)
    return float(low), float(high)


@dataclass(slots=True)
class Findings:
    """Everything that was found, in the order of the asking. error: why the asking ended early; left: a code to delete."""

    settings: RetailRed
    lines: list[Finding] = field(default_factory=list)
    requests: int = 0
    error: SegstreamError | None = None
    interrupted: bool = False
    left: str = ""

    def has(self, name: str) -> bool:
        return any(line.name == name for line in self.lines)

    def note(self, name: str, found: str, advice: str = "") -> None:
        self.lines.append(Finding(name, "note", found, advice=advice))

    def fail(self, name: str, found: str, advice: str) -> None:
        self.lines.append(Finding(name, "fail", found, advice=advice))

    def unknown(self, name: str, why: str, setting: str = "", advice: str = "") -> None:
        is_set = getattr(self.settings, setting) if setting else None
        self.lines.append(Finding(name, "unknown", why, setting, is_set, None, advice))

    def value(self, name: str, found: str, setting: str, wanted: Any, advice: str = "", *, could: bool = False) -> None:
        """A setting that should have this value (or could)."""
        is_set = getattr(self.settings, setting)
        if wanted == is_set:
            self.lines.append(Finding(name, "fits", found, setting, is_set, None, advice))
        else:
            level: Level = "may" if could else "change"
            self.lines.append(Finding(name, level, found, setting, is_set, wanted, advice))

    def limit(self, name: str, found: str, setting: str, works: int, *, refused: bool, more: str) -> None:
        """The largest number that worked; refused: a larger one did not. more: what would show more, where nothing was refused."""
        is_set, (low, high) = getattr(self.settings, setting), bounds(setting)
        if refused and works < low:
            self.fail(name, found, f"{SECTION}.{setting} is {low:g} at least: this API cannot be used so")
        elif refused and works < is_set:
            self.value(name, found, setting, works)
        elif works < is_set:
            self.unknown(name, found, setting, more)
        elif min(works, int(high)) > is_set:
            self.value(name, found, setting, min(works, int(high)), could=True)
        else:
            self.value(name, found, setting, is_set)

    @property
    def changes(self) -> list[Finding]:
        return [line for line in self.lines if line.level in {"change", "may"}]

    @property
    def exit_code(self) -> int:
        """0 also when settings should change; 65 for what no setting mends; else that of the error."""
        if self.error is not None:
            return self.error.exit_code
        if self.interrupted:
            return 130
        return DataError.exit_code if any(line.level == "fail" for line in self.lines) else 0

    def as_json(self) -> dict[str, Any]:
        """For --json: stable names."""
        return {
            "exit_code": self.exit_code,
            "requests": self.requests,
            "left": self.left or None,
            "error": None if self.error is None else str(self.error),
            **{level: sum(line.level == level for line in self.lines) for level in LEVELS},
            "findings": [
                {**line._asdict(), "setting": f"{SECTION}.{line.setting}" if line.setting else ""}
                for line in self.lines
            ],
        }
