"""segstream run: the live stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.cli.settings_arguments import add_settings_arguments, read_settings

if TYPE_CHECKING:
    import argparse


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "run",
        help="keep the segments equal to the tables, until stopped",
        description="Keeps the segments equal to the tables. SIGTERM or SIGINT drains and ends; a second one forces.",
    )
    add_settings_arguments(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="read and decide, but send nothing to retail.red and commit nothing"
    )


def main(args: argparse.Namespace) -> int:
    settings = read_settings(args)
    # wrong settings should be told at once, without loading Kafka's client first
    from stream.edge import logs  # noqa: PLC0415 - loaded only by the command
    from stream.loop import run  # noqa: PLC0415 - loaded only by the command

    logs.configure(settings.log.format, settings.log.level)
    return run(settings, dry_run=args.dry_run)
