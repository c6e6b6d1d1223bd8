"""What a check found, and the exit code that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from stream.errors import AuthError, DataError, SegstreamError, SettingsError, Unavailable

Level = Literal["ok", "warn", "fail"]

_ORDER: Final = (SettingsError.exit_code, AuthError.exit_code, Unavailable.exit_code, DataError.exit_code)
"""Which code wins when several things fail: what a person must mend comes before what may pass by itself."""


class Finding(NamedTuple):
    """One line of the check.

    where: a topic, or kafka, group, registry, retail.red. what: a short name of what was looked at.
    advice: what to do, often to be copied as it is; empty when nothing is to be done. code: of a `fail`, else 0.
    """

    level: Level
    where: str
    what: str
    text: str
    advice: str = ""
    code: int = 0


@dataclass(slots=True)
class Findings:
    """Everything that was found, in the order of the looking."""

    lines: list[Finding] = field(default_factory=list)

    def ok(self, where: str, what: str, text: str, advice: str = "") -> None:
        self.lines.append(Finding("ok", where, what, text, advice))

    def warn(self, where: str, what: str, text: str, advice: str = "") -> None:
        self.lines.append(Finding("warn", where, what, text, advice))

    def fail(self, where: str, what: str, text: str, advice: str = "", code: int = DataError.exit_code) -> None:
        self.lines.append(Finding("fail", where, what, text, advice, code))

    def error(self, where: str, what: str, error: SegstreamError) -> None:
        self.fail(where, what, str(error), error.advice, error.exit_code)

    @property
    def exit_code(self) -> int:
        """0 when nothing failed."""
        codes = {line.code for line in self.lines if line.level == "fail"}
        return next((code for code in _ORDER if code in codes), max(codes, default=0))

    def as_json(self) -> dict[str, Any]:
        """For --json: stable names, null-free."""
        levels = [line.level for line in self.lines]
        return {
            "exit_code": self.exit_code,
            "ok": levels.count("ok"),
            "warn": levels.count("warn"),
            "fail": levels.count("fail"),
            "findings": [line._asdict() for line in self.lines],
        }
