"""The inventory for people: a table no wider than the terminal, or plain lines for everything else."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from stream.inventory.accept import Acceptance
from stream.inventory.compare import Inventory, Line

HEADINGS = ("CODE", "SOURCE", "MEMBERS", "RETAIL.RED", "COUNT THERE", "DIFFERENCE")
_NUMBERS = frozenset({"MEMBERS", "COUNT THERE"})


def _cells(line: Line, *, stateless: bool) -> tuple[str, ...]:
    members = "?" if stateless or line.source == "-" else f"{line.told}/{line.wanted}"
    return (
        line.code,
        line.source,
        members,
        line.there,
        "?" if line.count is None else str(line.count),
        ", ".join([*line.differences, *line.notes]) or "-",
    )


def as_table(found: Inventory) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, expand=False)
    for name in HEADINGS:
        table.add_column(name, overflow="fold", justify="right" if name in _NUMBERS else "left")
    for line in found.lines:
        *cells, _ = _cells(line, stateless=found.stateless)
        difference = Text(", ".join(line.differences), style="bold red")
        if line.notes:
            difference.append((", " if line.differences else "") + ", ".join(line.notes), style="dim")
        table.add_row(*map(Text, cells), difference)
    return table


def as_text(found: Inventory) -> str:
    """One line a segment, with the headings above, in columns."""
    rows = [HEADINGS, *(_cells(line, stateless=found.stateless) for line in found.lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for cell, width, name in zip(row, widths, HEADINGS, strict=True)
        ).rstrip()
        + "\n"
        for row in rows
    )


def summary(found: Inventory) -> str:
    differing = sum(bool(line.differences) for line in found.lines)
    extra = sum("extra" in line.notes for line in found.lines)
    parts = [f"{len(found.lines) - extra} segments of the source", f"{differing} differ"]
    if extra:
        parts.append(f"{extra} at retail.red that the source does not know")
    if found.stateless:
        parts.append("no row state yet: members are not compared")
    else:
        parts.append(f"{found.rows} rows")
    waiting = sum(found.nowhere.values())
    if waiting:
        parts.append(f"{waiting} rows wait for their segment's row")
    return ", ".join(parts)


def told(done: Acceptance) -> str:
    return "".join(f"{line}\n" for line in done.lines())
