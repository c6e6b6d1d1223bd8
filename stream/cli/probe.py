"""segstream probe: ask retail.red what nobody has written down, with a throw-away segment."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from stream.cli.settings_arguments import add_settings_arguments, read_settings
from stream.errors import Unfinished, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from stream.survey import Findings, Plan


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "probe",
        help="ask retail.red for its limits and manners, with a throw-away segment",
        description="Creates a segment under a random code, asks everything about it and about customers that is "
        "nowhere documented, deletes it, and prints what was found against what is set. Touches no other segment. Asks "
        "before it acts. Ends 0 when it was asked, also where settings should change; 65 when something is in the way "
        "that no setting mends, 75 when the segment could not be deleted, 69 or 77 when retail.red could not be asked.",
    )
    add_settings_arguments(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask first")
    parser.add_argument("--json", action="store_true", help="print the findings as one JSON object")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the settings to paste into a new file")
    parser.add_argument(
        "--members-max", type=int, default=1_000, metavar="N",
        help="customers put into the segment at most, 1 to 10000 (default 1000)",
    )  # fmt: skip
    parser.add_argument(
        "--wait-s", type=float, default=60.0, metavar="S",
        help="how long an accepted change is waited for, 0.1 to 600 (default 60)",
    )  # fmt: skip


def main(args: argparse.Namespace) -> int:
    if not (1 <= args.members_max <= 10_000 and 0.1 <= args.wait_s <= 600):
        raise UsageError("--members-max takes 1 to 10000, --wait-s 0.1 to 600")
    settings = read_settings(args)
    from stream import wiring  # noqa: PLC0415 - wrong settings should be told at once
    from stream.edge import logs  # noqa: PLC0415 - loaded only by the command
    from stream.survey import Plan, fragment, survey  # noqa: PLC0415 - loaded only by the command

    logs.configure("text", "error")
    if args.write is not None and args.write.exists():
        raise UsageError(f"--write {args.write}: it is there already, and is never written over")
    plan = Plan(wiring.api_config(settings), settings.retail_red, args.members_max, args.wait_s)
    if not args.yes:
        _consent(plan)
    found = survey(plan, _progress())
    _print(found, as_json=args.json)
    text = fragment(
        found, f"Found by segstream probe at merchant {plan.config.merchant} on {time.strftime('%Y-%m-%d')}"
    )
    if args.write is not None and not found.interrupted and found.error is None:
        _write(args.write, text)
    elif not args.json and found.changes:
        print("\n" + text, end="")  # noqa: T201 - it is the command's output
    if found.left and found.left not in str(found.error):
        sys.stderr.write(f"segstream: delete the segment {found.left} by hand: it may still be there\n")
    if found.error is not None:
        raise found.error
    return found.exit_code


def _consent(plan: Plan) -> None:
    """Raise UsageError without a terminal to ask on, Unfinished when the answer is not yes."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("probe acts at retail.red, and there is no terminal to ask on first", advice="add --yes")
    for line in plan.lines():
        sys.stderr.write(f"{line}\n")
    sys.stderr.write("Go on? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise Unfinished("nothing was done")


def _progress() -> Callable[[str], None]:
    """One line on a terminal that says what is being asked; nothing elsewhere."""
    if not sys.stderr.isatty():
        return lambda _: None

    def say(what: str) -> None:
        sys.stderr.write(f"\r\033[K… {what}")
        sys.stderr.flush()

    return say


def _print(found: Findings, *, as_json: bool) -> None:
    from stream.survey import as_table, as_text, summary  # noqa: PLC0415 - loaded only by the command

    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()
    if as_json:
        print(json.dumps(found.as_json(), indent=2))  # noqa: T201 - it is the command's output
    elif sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it

        console = Console(highlight=False)
        console.print(as_table(found))
        console.print(summary(found), soft_wrap=False)
    else:
        print(as_text(found) + summary(found))  # noqa: T201 - it is the command's output


def _write(path: Path, text: str) -> None:
    """Raise UsageError when the file cannot be made."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"--write {path}: {error.strerror}") from None
