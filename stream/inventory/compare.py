"""What the source says of each segment against what retail.red has, and which of it is a difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from stream.core.catalog import Wanted
from stream.edge.api import Segment
from stream.errors import DataError
from stream.inventory.census import Census, Tally

Source = Literal["named", "gone", "-"]
OnDelete = Literal["keep", "deactivate", "delete"]

DIFFERS: Final = DataError.exit_code


@dataclass(frozen=True, slots=True)
class Line:
    """One segment.

    source: named by the table of segments or by rows; gone where the table ended it; "-" where the source does not know it.
    wanted: members that rows say; told: those of them that retail.red confirmed. there: fixed, dynamic, inactive or missing.
    count: members there, None when unknown. differences: what segstream is to make equal and is not. notes: what is no fault.
    """

    code: str
    source: Source
    wanted: int
    told: int
    there: str
    count: int | None
    differences: tuple[str, ...]
    notes: tuple[str, ...]
    pending: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Told:
    """What the table of segments says: the segments that are to exist by code, and those that it ended."""

    named: Mapping[str, Wanted] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    on_delete: OnDelete = "keep"


@dataclass(frozen=True, slots=True)
class Inventory:
    """Every segment, by code. rows: stored rows that were read. nowhere: waiting rows whose segment is not known, by reason.

    stateless: there is no row state yet, so that members are not compared.
    """

    lines: tuple[Line, ...]
    rows: int
    nowhere: Mapping[str, int]
    stateless: bool

    @property
    def exit_code(self) -> int:
        """0 when nothing differs."""
        return DIFFERS if any(line.differences for line in self.lines) else 0

    def as_json(self) -> dict[str, Any]:
        """For --json: stable names."""
        return {
            "exit_code": self.exit_code,
            "rows": self.rows,
            "row_state": not self.stateless,
            "without_segment": dict(self.nowhere),
            "segments": [line.as_json() for line in self.lines],
        }


def compare(table: Told, census: Census, there: Mapping[str, Segment], *, stateless: bool) -> Inventory:
    """there: what retail.red has, by code. Dynamic segments that the source does not know are left out: nobody asked."""
    known = {*table.named, *table.gone, *census.tallies}
    extra = {code for code, segment in there.items() if segment.type != "dynamic"} - known
    lines = [
        _line(code, table, census.tallies.get(code, Tally()), there.get(code), known, stateless=stateless)
        for code in sorted(known | extra)
    ]
    return Inventory(tuple(lines), census.rows, Counter(census.nowhere), stateless)


def _line(
    code: str, table: Told, tally: Tally, segment: Segment | None, known: set[str], *, stateless: bool
) -> Line:  # fmt: skip
    source: Source = "named" if code in table.named else "gone" if code in table.gone else "named"
    if code not in known:
        source = "-"
    there = "missing" if segment is None else segment.type or "fixed"
    if segment is not None and there == "fixed" and segment.status == "inactive":
        there = "inactive"
    differences = _differences(code, source, table, tally, segment, there)
    count = segment.member_count if segment is not None else None
    expected = tally.wanted - tally.refused
    notes: list[str] = []
    if source == "-":
        notes.append("extra")
    elif there in ("fixed", "inactive") and count is not None and count != expected and not stateless:
        differences.append(f"count {count - expected:+d}")
    if tally.told < expected:
        notes.append(f"{expected - tally.told} on the way")
    if tally.ending:
        notes.append(f"{tally.ending} ending")
    if tally.refused:
        notes.append(f"refused {tally.refused}")
    if pending := tally.pending.total():
        notes.append(f"pending {pending}")
    return Line(
        code, source, tally.wanted, tally.told, there, count, tuple(differences), tuple(notes), dict(tally.pending)
    )


def _differences(
    code: str, source: Source, table: Told, tally: Tally, segment: Segment | None, there: str
) -> list[str]:  # fmt: skip
    if source == "-":
        return []
    if source == "gone":
        if table.on_delete == "delete" and there != "missing":
            return ["not deleted"]
        return ["not deactivated"] if table.on_delete == "deactivate" and there == "fixed" else []
    wanted = table.named.get(code)
    if segment is None:
        # rows that wait for their customers make no segment
        return ["missing"] if wanted is not None or tally.wanted else []
    if there == "dynamic":
        return ["dynamic"]
    found: list[str] = []
    if wanted is not None and wanted.name != segment.name:
        found.append("name differs")
    if wanted is not None and wanted.description is not None and wanted.description != segment.description:
        found.append("description differs")
    if wanted is not None and there == "inactive" and table.on_delete == "deactivate":
        found.append("inactive")
    return found
