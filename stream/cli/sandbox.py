"""segstream sandbox: the simulated retail.red, which has a command line of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    subparsers.add_parser("sandbox", help="serve a simulated retail.red on this machine", add_help=False)


def main(args: argparse.Namespace) -> int:
    from stream.sandbox import command  # noqa: PLC0415 - a server that no other command needs

    return command.main(args.rest)
