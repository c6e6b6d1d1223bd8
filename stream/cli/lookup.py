"""segstream lookup: who an email or a number means at retail.red, and why nobody."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from stream.cli.settings_arguments import add_settings_arguments, read_settings
from stream.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from stream.seek import Seen, Value


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "lookup",
        help="say whom an email or a number means at retail.red, or why nobody",
        description="Looks customers up as `run` does, and says for each value whom it finds, or why nobody: missing, only "
        "guests, deleted, spelled in another case, shared by several. Reads only. Ends 0 when every value has an "
        "answer, whatever it is; 69 or 77 when retail.red could not be asked, 65 when it refuses the question.",
    )
    add_settings_arguments(parser)
    parser.add_argument(
        "values", nargs="+", metavar="EMAIL|NUMBER", help="with an @ it is an email, else a customer number"
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--email", action="store_true", help="every value is an email")
    kind.add_argument("--number", action="store_true", help="every value is a customer number")
    parser.add_argument("--json", action="store_true", help="print the answers as one JSON object")


def main(args: argparse.Namespace) -> int:
    settings = read_settings(args)
    from stream.edge import logs  # noqa: PLC0415 - wrong settings should be told at once
    from stream.seek import VALUES_MAX, as_text, seek  # noqa: PLC0415 - loaded only by the command

    logs.configure("text", "error")
    if len(args.values) > VALUES_MAX:
        raise UsageError(f"at most {VALUES_MAX} values at once")
    seen = seek(settings, [_value(text, args) for text in args.values])
    if args.json:
        print(json.dumps({"values": [one.as_json() for one in seen]}, indent=2))  # noqa: T201 - it is the command's output
    elif sys.stdout.isatty():
        _print_table(seen)
    else:
        print(as_text(seen), end="")  # noqa: T201 - it is the command's output
    return 0


def _value(text: str, args: argparse.Namespace) -> Value:
    from stream.seek import Value  # noqa: PLC0415 - loaded only by the command

    return Value("email" if args.email or ("@" in text and not args.number) else "number", text)


def _print_table(seen: Sequence[Seen]) -> None:
    from rich.box import SIMPLE  # noqa: PLC0415 - only a terminal needs it
    from rich.console import Console  # noqa: PLC0415 - loaded only by the command
    from rich.table import Table  # noqa: PLC0415 - loaded only by the command
    from rich.text import Text  # noqa: PLC0415 - loaded only by the command

    styles = {"found": "green", "missing": "yellow", "unusable": "magenta"}
    table = Table(box=SIMPLE, pad_edge=False, expand=False)
    table.add_column("", no_wrap=True)
    for name in ("value", "customer", "why"):
        table.add_column(name, overflow="fold")
    for one in seen:
        why = Text(one.text)
        for shared in one.sharing:
            why.append(f"\n→ {shared}", style="cyan")
        style = styles.get(one.result, "bold red")
        table.add_row(Text(one.result, style=style), Text(f"{one.by} {one.value}"), Text(one.id), why)
    Console(highlight=False).print(table)
