"""segstream demo: the whole of it on one machine, with nothing but Python."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stream.errors import UsageError

if TYPE_CHECKING:
    import argparse


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="see it work: broker, source, sandbox and consumer on this machine",
        description="Starts an embedded broker, a simulated shop, the sandbox and the real consumer; kills the "
        "consumer once; at the end compares the segments with the table. Ends 0 when they are equal.",
    )
    parser.add_argument(
        "--duration-s", type=float, default=30.0, metavar="S", help="how long changes come (default 30)"
    )
    parser.add_argument("--rate", type=float, default=300.0, metavar="N", help="changes a second (default 300)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of all chance (default 1)")
    parser.add_argument("--keep", action="store_true", help="go on until Ctrl-C, and print the addresses")
    parser.add_argument(
        "--postgres",
        action="store_true",
        help="a real PostgreSQL, Debezium and Kafka (after `make stack`, in a checkout): type SQL yourself",
    )
    parser.add_argument("--plain", action="store_true", help="plain lines on a terminal, too")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write the last view there, as SVG")


def main(args: argparse.Namespace) -> int:
    if not (1 <= args.duration_s <= 3_600 and 1 <= args.rate <= 5_000):
        raise UsageError("--duration-s takes 1 to 3600, --rate 1 to 5000")
    if args.picture is not None and not args.picture.parent.is_dir():
        raise UsageError(f"--picture: there is no folder {args.picture.parent}")
    from rich.console import Console  # noqa: PLC0415 - the libraries are loaded only by commands that need them

    from stream.demo.run import Plan, demo  # noqa: PLC0415 - loaded only by the command

    console = Console()
    live = console if console.is_terminal and not console.is_dumb_terminal and not args.plain else None
    plan = Plan(args.duration_s, args.rate, args.seed, args.keep, args.picture)
    # as Ctrl-C does: it ends with the comparison
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.default_int_handler)
    try:
        if args.postgres:
            from stream.demo.postgres import demo_postgres  # noqa: PLC0415 - loaded only by the command

            return demo_postgres(plan, _say, live)
        return demo(plan, _say, live)
    except KeyboardInterrupt:
        _say("interrupted: nothing was compared")
        raise


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
