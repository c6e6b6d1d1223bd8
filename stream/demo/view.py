"""The live view: one moment's figures as something that rich can draw, for narrow and for wide terminals."""

from __future__ import annotations

from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stream.demo.figures import Figures

WIDE_COLUMNS: Final = 100
EVENTS_SHOWN: Final = 7
KEYS: Final = (
    ("1", "429"), ("2", "5xx"), ("3", "row errors"), ("4", "slow"),
    ("k", "kill -9 and restart"), ("p", "pause the source"), ("q", "quit"),
)  # fmt: skip
STAY_0: Final = frozenset({"sent within Retry-After", "overlapping operations"})  # or the consumer is wrong


def render(figures: Figures, width: int) -> RenderableType:
    """The whole view for so many columns."""
    wide = width >= WIDE_COLUMNS
    height = len(figures.faults) + 2 if wide and figures.faults else None  # side by side, all as high as the longest
    parts = tuple(
        _panel(title, inner, height)
        for title, inner in (
            ("the walk", _walk(figures)),
            ("state", _state(figures)),
            ("faults", _faults(figures)),
        )
    )
    if wide:
        grid = Table.grid(expand=True)
        for ratio in (5, 4, 4):
            grid.add_column(ratio=ratio)
        grid.add_row(*parts)
        middle: tuple[RenderableType, ...] = (grid,)
    else:
        middle = parts
    return Group(
        _title(figures), *middle, _panel("latest", _events(figures)), *_addresses(figures), _keys(figures, width)
    )


def line(figures: Figures) -> str:
    """The same for a log: one line."""
    lag = "-" if figures.lag is None else f"{figures.lag:.0f}"
    return (
        f"{figures.passed_s:5.1f} s  {figures.state:12s} {figures.changes:6d} changes  lag {lag:>5s}  "
        f"{figures.in_sync} of {figures.wanted} members in sync  {figures.edits:.0f} edits in {figures.requests:.0f} "
        f"requests ({figures.rows_per_request:.1f} each)  freshness p50 {_seconds(figures.p50_s)} "
        f"p99 {_seconds(figures.p99_s)}"
    )


def _panel(title: str, inner: RenderableType, height: int | None = None) -> Panel:
    return Panel(
        inner, title=title, title_align="left", box=box.ROUNDED, border_style="dim", padding=(0, 1), height=height
    )


def _title(figures: Figures) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(" segstream demo ", style="bold reverse")
    of = "" if figures.duration_s is None else f" of {figures.duration_s:.0f}"
    text.append(f"  {figures.passed_s:.0f}{of} s  ")
    text.append(f"consumer {figures.state}", style="green" if figures.state == "running" else "bold yellow")
    return text


def _walk(figures: Figures) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("total", justify="right")
    table.add_column("each second", justify="right")
    for name, total, rate in (
        ("changes at the shop", figures.changes, figures.changes_rate),
        ("records in", figures.records, figures.records_rate),
        ("edits sent", figures.edits, figures.edits_rate),
        ("requests", figures.requests, figures.requests_rate),
    ):
        table.add_row(name, f"{total:,.0f}", f"{rate:,.1f}")
    table.add_row("rows per request", f"{figures.rows_per_request:.1f}", "")
    return table


def _state(figures: Figures) -> Table:
    whole = figures.in_sync == figures.wanted and not figures.extra
    style = "green" if whole else "yellow"
    bar = ProgressBar(
        total=max(figures.wanted, 1), completed=figures.in_sync, complete_style=style, finished_style="green"
    )
    figure = Table.grid(expand=True)
    figure.add_row(_pairs(("members in sync", Text(f"{figures.in_sync:,} of {figures.wanted:,}", style))))
    figure.add_row(bar)
    figure.add_row(
        _pairs(
            ("there too long", Text(f"{figures.extra:,}")),
            ("lag, records", Text("-" if figures.lag is None else f"{figures.lag:,.0f}")),
            ("freshness p50", Text(_seconds(figures.p50_s))),
            ("freshness p99", Text(_seconds(figures.p99_s))),
        )
    )
    return figure


def _faults(figures: Figures) -> Table:
    pairs = []
    for name, count in figures.faults.items():
        style = ("bold red" if count else "green") if name in STAY_0 else ("" if count else "dim")
        pairs.append((name, Text(f"{count:,}", style)))
    return _pairs(*pairs)


def _pairs(*pairs: tuple[str, Text]) -> Table:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    for name, value in pairs:
        table.add_row(name, value)
    return table


def _events(figures: Figures) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="dim", no_wrap=True, min_width=7)
    table.add_column(no_wrap=True, overflow="ellipsis")
    shown = figures.events[-EVENTS_SHOWN:]
    for at_s, text in shown:
        table.add_row(f"{at_s:.1f} s", Text(text))
    for _ in range(EVENTS_SHOWN - len(shown)):
        table.add_row("", "")
    return table


def _addresses(figures: Figures) -> list[Text]:
    # folded, not cut: they are there to be copied
    return [Text(f" {address}", style="cyan", overflow="fold") for address in figures.addresses]


def _keys(figures: Figures, width: int) -> Group:
    lines = [Text(" ", no_wrap=True)]
    for key, name in KEYS:
        on = name in figures.faults_on
        part = Text.assemble(
            (f" {key} ", "reverse bold red" if on else "reverse"),
            (f" {name}{' on' if on else ''}", "bold red" if on else ""),
            "  ",
        )
        if lines[-1].cell_len + part.cell_len > width:
            lines.append(Text(" ", no_wrap=True))
        lines[-1].append_text(part)
    return Group(*lines)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
