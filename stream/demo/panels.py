"""The pieces of the live view, each as lines for a given width. None is wider; which are shown is the view's choice."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Final

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.demo.figures import Figures

TIGHT_COLUMNS: Final = 32
ROOMY_COLUMNS: Final = 42
KEYS: Final = (
    ("1", "429"), ("2", "5xx"), ("3", "row errors"), ("4", "slow"), ("k", "kill -9"), ("p", "pause"), ("q", "quit"),
)  # fmt: skip
STAY_0: Final = frozenset({"sent within Retry-After", "overlapping operations"})  # or the consumer is wrong
BARS: Final = "▁▂▃▄▅▆▇█"
TIME_COLUMNS: Final = 9
WIDE_BUCKETS_S: Final = 10


def title(figures: Figures) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(" segstream demo ", style="bold reverse")
    of = "" if figures.duration_s is None else f" of {figures.duration_s:.0f}"
    text.append(f" {figures.passed_s:.0f}{of} s ")
    text.append(f" {figures.state}", style="green" if figures.state == "running" else "bold yellow")
    return text


def walk(figures: Figures, columns: int) -> Table:
    """6 lines."""
    tight, roomy = columns < TIGHT_COLUMNS, columns >= ROOMY_COLUMNS
    table = _table(tight=tight)
    table.add_column("", no_wrap=True)
    table.add_column("total", justify="right", no_wrap=True)
    table.add_column("each second" if roomy else "per s", justify="right", no_wrap=True)
    for name, total, rate in (
        ("changes" if tight else "changes made", figures.changes, figures.changes_rate),
        ("records in", figures.records, figures.records_rate),
        ("edits sent", figures.edits, figures.edits_rate),
        ("requests", figures.requests, figures.requests_rate),
    ):
        table.add_row(name, f"{total:,.0f}", f"{rate:,.1f}" if rate < 1_000 else f"{rate:,.0f}")
    each = "rows each" if tight else "rows per request" if roomy else "rows/request"
    table.add_row(each, f"{figures.rows_per_request:.1f}", "")
    return table


def state(figures: Figures, columns: int) -> Table:
    """6 lines."""
    whole = figures.in_sync == figures.wanted and not figures.extra
    style = "green" if whole else "yellow"
    name = "in sync" if columns < TIGHT_COLUMNS else "members in sync"
    bar = ProgressBar(
        total=max(figures.wanted, 1), completed=figures.in_sync, complete_style=style, finished_style="green"
    )
    table = Table.grid(expand=True)
    table.add_row(_pairs([(name, Text(f"{figures.in_sync:,} of {figures.wanted:,}", style))]))
    table.add_row(bar)
    rest = [
        ("there too long", Text(f"{figures.extra:,}")),
        ("lag, uncommitted", Text("?" if figures.lag is None else f"{figures.lag:,}")),
        ("freshness p50", Text(seconds(figures.p50_s))),
        ("freshness p99", Text(seconds(figures.p99_s))),
    ]
    table.add_row(_pairs(rest))
    return table


def faults(figures: Figures, side_by_side: int = 1) -> Table:
    """What the faults did; so many pairs on a line."""
    pairs = [(name, Text(f"{count:,}", _fault_style(name, count))) for name, count in figures.faults.items()]
    rows = -(-len(pairs) // side_by_side)
    grid = Table.grid(expand=True, padding=(0, 1))
    for _ in range(side_by_side):
        grid.add_column(ratio=1)
    grid.add_row(*(_pairs(pairs[begin : begin + rows]) for begin in range(0, len(pairs), rows)))
    return grid


def faults_text(figures: Figures, columns: int) -> list[Text]:
    """The same as running text: what happened, and what must not."""
    parts = [
        Text.assemble(f"{name} ", (f"{count:,}", _fault_style(name, count)))
        for name, count in figures.faults.items()
        if count or name in STAY_0
    ]
    return _flow(parts, columns)


def summary(figures: Figures, columns: int) -> list[Text]:
    """The most important figures as running text."""
    parts = [
        f"in sync {figures.in_sync:,} of {figures.wanted:,}",
        f"lag {'?' if figures.lag is None else f'{figures.lag:,}'}",
        f"fresh p50 {seconds(figures.p50_s)} p99 {seconds(figures.p99_s)}",
        f"{figures.edits:,.0f} edits in {figures.requests:,.0f} requests",
    ]
    return _flow([Text(part) for part in parts], columns)


def segments(figures: Figures, columns: int) -> Table:
    """A line for each segment, and one above them."""
    tight, roomy = columns < TIGHT_COLUMNS, columns >= ROOMY_COLUMNS
    table = _table(tight=tight)
    table.add_column("segment", no_wrap=True, overflow="ellipsis")
    table.add_column("rows" if tight else "table", justify="right", no_wrap=True)
    table.add_column("synced" if tight else "in sync", justify="right", no_wrap=True)
    if roomy:
        table.add_column("too long", justify="right", no_wrap=True)
    for code, wanted, in_sync, extra in figures.segments:
        style = "green" if in_sync == wanted and not extra else "yellow"
        more = (f"{extra:,}",) if roomy else ()
        table.add_row(code, f"{wanted:,}", Text(f"{in_sync:,}", style), *more)
    return table


def history(figures: Figures, columns: int) -> Table:
    """8 lines: a bar for each of the last seconds, and the highest of them."""
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    room = max(columns - 18, 4)
    shown = figures.seconds[-room:]
    for name in ("changes", "edits", "lag", "differing"):
        values = [getattr(second, name) for second in shown]
        highest = max(values, default=0.0)
        low, high = Text(style="cyan"), Text(style="cyan")
        for value in values:
            eighths = round(16 * value / highest) if highest else 0
            high.append(BARS[eighths - 9] if eighths > 8 else " ")
            low.append(BARS[min(eighths, 8) - 1] if eighths else " ")
        table.add_row("", high, Text(f"{highest:,.0f}", "dim"))
        table.add_row(Text(name, "dim"), low, "")
    return table


def events(figures: Figures, columns: int, lines: int) -> Table:
    """The latest that fit, folded, in exactly so many lines."""
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="dim", no_wrap=True, width=TIME_COLUMNS - 2)
    table.add_column(no_wrap=True)
    rows: list[tuple[str, str]] = []
    for at_s, text in reversed(figures.events):
        folded = wrap(text, max(columns - TIME_COLUMNS, 10)) or [""]
        if rows and len(rows) + len(folded) > lines:
            break
        rows = [(f"{at_s:.1f} s", folded[0]), *(("", more) for more in folded[1:]), *rows]
    rows = rows[:lines] + [("", "")] * (lines - len(rows))
    for when, what in rows:
        table.add_row(when, Text(what))
    return table


def addresses(figures: Figures, columns: int) -> list[Text]:
    """Folded, not cut: they are there to be copied."""
    return [
        Text(address[begin : begin + columns], style="cyan", no_wrap=True)
        for address in figures.addresses
        for begin in range(0, len(address), columns)
    ]


def keys(figures: Figures, columns: int) -> list[Text]:
    if not figures.keys:
        return [Text("Ctrl-C ends it with the comparison", "dim", no_wrap=True, overflow="ellipsis")]
    lines = [Text(no_wrap=True)]
    for key, name in KEYS:
        on = name in figures.faults_on
        part = Text.assemble(
            (f" {key} ", "reverse bold red" if on else "reverse"),
            (f" {name}{' on' if on else ''}", "bold red" if on else ""),
        )
        if lines[-1].plain and lines[-1].cell_len + part.cell_len + 2 > columns:
            lines.append(Text(no_wrap=True))
        if lines[-1].plain:
            lines[-1].append("  ")
        lines[-1].append_text(part)
    return lines


def seconds(value: float | None) -> str:
    """Above WIDE_BUCKETS_S the histogram's buckets are too wide to say more."""
    return "-" if value is None else f"{value:.2f} s" if value < WIDE_BUCKETS_S else f"over {WIDE_BUCKETS_S} s"


def _fault_style(name: str, count: int) -> str:
    if name in STAY_0:
        return "bold red" if count else "green"
    return "" if count else "dim"


def _table(*, tight: bool) -> Table:
    return Table(
        box=None, expand=True, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0) if tight else (0, 1)
    )  # fmt: skip


def _pairs(pairs: Sequence[tuple[str, Text]]) -> Table:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    for name, value in pairs:
        table.add_row(name, value)
    return table


def _flow(parts: Sequence[Text], columns: int) -> list[Text]:
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + 3 + part.cell_len <= columns:
            lines[-1].append(" · ", "dim")
            lines[-1].append_text(part)
        else:
            lines.append(Text(no_wrap=True, overflow="ellipsis") + part)
    return lines
