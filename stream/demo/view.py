"""The live view: what of one moment's figures a terminal of this width and height has room for.

The keys are always there. Of the rest, the least important is folded to running text first, and left out then. What
room is left belongs to the latest events.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from textwrap import wrap
from typing import Final, NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stream.demo import panels
from stream.demo.figures import Figures
from stream.demo.panels import seconds

WIDE_COLUMNS: Final = 100
SIDE_BY_SIDE_COLUMNS: Final = 56
PLAIN_COLUMNS: Final = 78
FRAME_LINES: Final = 2
FRAME_COLUMNS: Final = 4
WALK_LINES: Final = 6
SECOND_ROW_LINES: Final = 8


class Part(NamedTuple):
    """Something to draw, and how many lines it takes."""

    drawn: RenderableType
    lines: int


class Layout(NamedTuple):
    """What stands between title and events. The events get at least events_min lines, or another layout is taken."""

    parts: list[Part]
    events_min: int


def render(figures: Figures, width: int, height: int) -> RenderableType:
    """The view for so many columns and lines, which it fills."""
    top = _stacked([panels.title(figures)])
    bottom = _stacked([*panels.addresses(figures, width), *panels.keys(figures, width)])
    layouts = (
        _wide(figures, width) if width >= WIDE_COLUMNS
        else _side_by_side(figures, width) if width >= SIDE_BY_SIDE_COLUMNS
        else _narrow(figures, width)
    )  # fmt: skip
    for layout in layouts:
        left = height - top.lines - bottom.lines - sum(part.lines for part in layout.parts)
        if left >= layout.events_min:
            middle = [part.drawn for part in layout.parts]
            return Group(top.drawn, *middle, *([_events(figures, width, left)] if left else []), bottom.drawn)
    # not even title and keys: the keys
    return _stacked(panels.keys(figures, width)[-max(height, 1) :]).drawn


def line(figures: Figures) -> str:
    """The same for a log: one line."""
    lag = "?" if figures.lag is None else str(figures.lag)
    return (
        f"{figures.passed_s:5.1f} s  {figures.state:8s} {figures.changes:6d} changes  lag {lag:>5s}  "
        f"{figures.in_sync} of {figures.wanted} members in sync  {figures.requests:.0f} requests of "
        f"{figures.rows_per_request:.1f} rows  p50 {seconds(figures.p50_s)} p99 {seconds(figures.p99_s)}"
    )


def told(figures: Figures) -> list[str]:
    """What is left to read when the view is gone."""
    walk = (
        f"{figures.passed_s:.0f} s: {figures.changes:,} changes, {figures.records:,.0f} records in, "
        f"{figures.edits:,.0f} edits in {figures.requests:,.0f} requests ({figures.rows_per_request:.1f} each), "
        f"{figures.in_sync:,} of {figures.wanted:,} members in sync"
    )
    faults = "faults: " + ", ".join(f"{name} {count:,}" for name, count in figures.faults.items())
    return [*folded(walk), *folded(faults)]


def folded(text: str) -> list[str]:
    """For plain lines, which a terminal would cut in the middle of words."""
    columns = min(PLAIN_COLUMNS, shutil.get_terminal_size((PLAIN_COLUMNS, 24)).columns)
    return wrap(text, max(20, columns), subsequent_indent="  ", break_on_hyphens=False)


def _wide(figures: Figures, width: int) -> Iterator[Layout]:
    inner = width // 3 - FRAME_COLUMNS
    lines = max(WALK_LINES, len(figures.faults))
    walk, state, faults = panels.walk(figures, inner), panels.state(figures, inner), panels.faults(figures)
    top = _row([("the walk", walk), ("state", state), ("faults", faults)], lines)
    second = _second_row(figures, width)
    yield Layout([top, second], 5)
    yield Layout([top], 5)
    yield Layout([top], 0)
    yield from _low(figures, width)


def _side_by_side(figures: Figures, width: int) -> Iterator[Layout]:
    inner = width // 2 - FRAME_COLUMNS
    top = _row([("the walk", panels.walk(figures, inner)), ("state", panels.state(figures, inner))], WALK_LINES)
    faults = _row([("faults", panels.faults(figures, 2))], -(-len(figures.faults) // 2))
    second = _second_row(figures, width)
    text = _stacked(panels.faults_text(figures, width))
    yield Layout([top, faults, second], 5)
    yield Layout([top, faults], 5)
    yield Layout([top, text], 5)
    yield Layout([top, text], 0)
    yield Layout([top], 0)
    yield from _low(figures, width)


def _narrow(figures: Figures, width: int) -> Iterator[Layout]:
    walk = Part(panels.walk(figures, width), WALK_LINES)
    state = Part(panels.state(figures, width), WALK_LINES)
    faults = Part(panels.faults(figures), len(figures.faults))
    segments = Part(panels.segments(figures, width), len(figures.segments) + 1)
    text = _stacked(panels.faults_text(figures, width))
    yield Layout([walk, state, faults, segments], 5)
    yield Layout([walk, state, faults], 5)
    yield Layout([walk, state, text], 2)
    yield Layout([walk, state], 2)
    yield Layout([state], 2)
    yield from _low(figures, width)


def _low(figures: Figures, width: int) -> Iterator[Layout]:
    """For a few lines: no frames."""
    summary, faults = (_stacked(make(figures, width)) for make in (panels.summary, panels.faults_text))
    yield Layout([summary, faults], 0)
    yield Layout([summary], 0)
    yield Layout([], 0)


def _second_row(figures: Figures, width: int) -> Part:
    inner = width // 2 - FRAME_COLUMNS
    segments, history = panels.segments(figures, inner), panels.history(figures, inner)
    return _row([("segments", segments), ("each of the last seconds", history)], SECOND_ROW_LINES)


def _row(boxes: list[tuple[str, RenderableType]], lines: int) -> Part:
    """Side by side, framed, all as high as the highest."""
    grid = Table.grid(expand=True)
    for _ in boxes:
        grid.add_column(ratio=1)
    grid.add_row(*(_framed(title, inner, lines) for title, inner in boxes))
    return Part(grid, lines + FRAME_LINES)


def _framed(title: str, inner: RenderableType, lines: int) -> Panel:
    return Panel(
        inner, title=title, title_align="left", box=box.ROUNDED, border_style="dim", padding=(0, 1),
        height=lines + FRAME_LINES,
    )  # fmt: skip


def _events(figures: Figures, width: int, lines: int) -> RenderableType:
    """In a frame where that leaves three lines."""
    inner = lines - FRAME_LINES
    if inner < 3 or width < SIDE_BY_SIDE_COLUMNS:
        return panels.events(figures, width, lines)
    return _framed("latest", panels.events(figures, width - FRAME_COLUMNS, inner), inner)


def _stacked(lines: list[Text]) -> Part:
    return Part(Group(*lines), len(lines))
