"""segstream check: whether settings, Kafka and retail.red fit together."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from stream.cli.settings_arguments import add_settings_arguments, read_settings

if TYPE_CHECKING:
    import argparse


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "check",
        help="say whether settings, Kafka and retail.red fit together, and change nothing",
        description="Looks at brokers, topics, samples of records, row state, registry and retail.red, and says what "
        "to do. Joins no group, commits, creates and sends nothing. Ends 0 when nothing failed (warnings aside), else "
        "78 for settings, 77 for credentials and rights, 69 for what does not answer, 65 for data that `run` would stop on.",
    )
    add_settings_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the findings as one JSON object")


def main(args: argparse.Namespace) -> int:
    settings = read_settings(args)
    # wrong settings should be told at once, without loading Kafka's client first
    from stream.check import as_table, as_text, check, summary  # noqa: PLC0415 - loaded only by the command
    from stream.edge import logs  # noqa: PLC0415 - loaded only by the command

    logs.configure("text", "error")
    found = check(settings)
    if args.json:
        print(json.dumps(found.as_json(), indent=2))  # noqa: T201 - it is the command's output
    elif sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it

        console = Console(highlight=False)
        console.print(as_table(found))
        console.print(summary(found), soft_wrap=False)
    else:
        print(as_text(found) + summary(found))  # noqa: T201 - it is the command's output
    return found.exit_code
