"""Findings for people: a table no wider than the terminal, or plain lines for everything else."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from stream.check.findings import Finding, Findings

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def as_table(found: Findings) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, expand=False)
    table.add_column("", no_wrap=True)
    table.add_column("what", overflow="fold")
    table.add_column("found", overflow="fold", ratio=1)
    where = ""
    for line in found.lines:
        if line.where != where:
            where = line.where
            table.add_row("", Text(""), Text(where, style="bold"))
        text = Text(line.text)
        if line.advice:
            text.append(f"\n→ {line.advice}", style="dim" if line.level == "ok" else "cyan")
        table.add_row(Text(line.level, style=_STYLES[line.level]), Text(line.what), text)
    return table


def as_text(found: Findings) -> str:
    """One line a finding, its advice in a line of its own below it."""
    return "".join(_lines(line) for line in found.lines)


def _lines(line: Finding) -> str:
    advice = f"      -> {line.advice}\n" if line.advice else ""
    return f"{line.level:<5} {line.where}: {line.what}: {line.text}\n{advice}"


def summary(found: Findings) -> str:
    counts = found.as_json()
    verdict = {0: "fits together"}.get(found.exit_code, f"does not fit together (exit code {found.exit_code})")
    return f"{verdict}: {counts['ok']} ok, {counts['warn']} warnings, {counts['fail']} failures"
