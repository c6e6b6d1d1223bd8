"""segstream segments: what the source names against what retail.red has; accepting a changed code."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from stream.cli.settings_arguments import add_settings_arguments, read_settings
from stream.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from stream.inventory import Inventory


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "segments",
        help="compare the source's segments with retail.red's; accept a changed code",
        description="Compares every segment that the source names (by the table of segments, and by the stored rows) with "
        "retail.red: whether it is there, fixed, called the same, and has as many members. Joins no group and changes nothing. "
        "Ends 0 when nothing differs, 65 when something does; members that wait for their customers (pending), are on the way "
        "or refused, and segments that the source does not know (extra) are shown and are no difference. With --accept it "
        "writes instead that a changed code is accepted: its members move there.",
    )
    add_settings_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    parser.add_argument(
        "--accept", metavar="CODE", help="accept that a segment has this code now, though it had another"
    )
    parser.add_argument(
        "--force", action="store_true", help="with --accept: also where nothing in the source says it now"
    )


def main(args: argparse.Namespace) -> int:
    if args.force and args.accept is None:
        raise UsageError("--force means nothing without --accept")
    settings = read_settings(args)
    # wrong settings should be told at once, without loading Kafka's client first
    from stream.edge import logs  # noqa: PLC0415 - loaded only by the command
    from stream.inventory import accept, look, told  # noqa: PLC0415 - loaded only by the command

    logs.configure("text", "error")
    say, wipe = _progress()
    try:
        if args.accept is not None:
            done = accept(settings, args.accept, force=args.force, say=say)
        else:
            found = look(settings, say)
    finally:
        wipe()
    if args.accept is None:
        _print(found, as_json=args.json)
        return found.exit_code
    print(json.dumps(done.as_json(), indent=2) if args.json else told(done), end="\n" if args.json else "")  # noqa: T201 - it is the command's output
    return 0


def _progress() -> tuple[Callable[[str], None], Callable[[], None]]:
    """One line on a terminal that says what is going on, and its wiping; nothing elsewhere."""
    if not sys.stderr.isatty():
        return (lambda _: None), lambda: None

    def show(what: str) -> None:
        sys.stderr.write(f"\r\033[K{what}")
        sys.stderr.flush()

    return (lambda what: show(f"… {what}")), lambda: show("")


def _print(found: Inventory, *, as_json: bool) -> None:
    from stream.inventory import as_table, as_text, summary  # noqa: PLC0415 - loaded only by the command

    if as_json:
        print(json.dumps(found.as_json(), indent=2))  # noqa: T201 - it is the command's output
    elif sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it

        console = Console(highlight=False)
        console.print(as_table(found))
        console.print(summary(found), soft_wrap=False)
    else:
        print(as_text(found) + summary(found))  # noqa: T201 - it is the command's output
