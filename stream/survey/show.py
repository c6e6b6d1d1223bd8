"""Findings for people, and as settings to paste."""

from __future__ import annotations

import textwrap
from typing import Any, Final

import yaml
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from stream.survey.findings import SECTION, Finding, Findings

_STYLES: Final = {
    "fits": "green", "change": "yellow", "may": "cyan", "fail": "bold red", "unknown": "magenta", "note": "dim",
}  # fmt: skip
_WORDS: Final = {"change": "should be", "may": "may be"}


def as_table(found: Findings) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, expand=False)
    table.add_column("", no_wrap=True)
    table.add_column("what", overflow="fold")
    table.add_column("found", overflow="fold", ratio=3)
    table.add_column("set now", overflow="fold", ratio=2)
    for line in found.lines:
        text = Text(line.found)
        for advice in _advice(line):
            text.append(f"\n→ {advice}", style="cyan")
        table.add_row(Text(line.level, style=_STYLES[line.level]), Text(line.name), text, Text(_set(line)))
    return table


def as_text(found: Findings) -> str:
    """One line a finding, its advice in lines of their own below it."""
    lines: list[str] = []
    for line in found.lines:
        is_set = _set(line)
        lines.append(f"{line.level:<8} {line.name}: {line.found}" + (f" [{is_set}]" if is_set else ""))
        lines += [f"         -> {advice}" for advice in _advice(line)]
    return "\n".join(lines) + "\n"


def _set(line: Finding) -> str:
    return f"{line.setting}: {_yaml(line.is_set)}" if line.setting else ""


def _advice(line: Finding) -> list[str]:
    word = _WORDS.get(line.level)
    told = [f"{SECTION}.{line.setting} {word} {_yaml(line.write)}"] if word else []
    return told + ([line.advice] if line.advice else [])


def summary(found: Findings) -> str:
    counts = found.as_json()
    parts = (("change", "to change"), ("may", "that could"), ("fail", "in the way"), ("unknown", "unknown"))
    said = ", ".join(f"{counts[level]} {text}" for level, text in parts if counts[level])
    said = said or ("it broke off, the rest is not known" if found.error is not None else "all is set as it should be")
    return f"{len(found.lines)} findings from {found.requests} requests: {said}"


def fragment(found: Findings, head: str) -> str:
    """YAML to paste: what should change as settings, what could as comments, each below what was found."""
    lines = [f"# {head}", "# Paste this into the settings file, into the section retail_red that it has."]
    if not any(line.level == "change" for line in found.lines):
        lines.append("# Nothing has to change.")
        if any(line.level == "may" for line in found.lines):
            lines.append(f"#{SECTION}:")
    else:
        lines.append(f"{SECTION}:")
    for line in found.changes:
        lines += textwrap.wrap(
            f"{line.name}: {line.found}", 116, initial_indent="  # ", subsequent_indent="  # ", break_on_hyphens=False
        )
        if line.level == "change":
            lines.append(f"  {line.setting}: {_yaml(line.write)}  # was {_yaml(line.is_set)}")
        else:
            lines.append(f"  # could be, and need not: {line.setting}: {_yaml(line.write)}, is {_yaml(line.is_set)}")
    return "\n".join(lines) + "\n"


def _yaml(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(yaml.safe_dump(value, default_flow_style=True)).removesuffix("\n").removesuffix("\n...").strip()
