"""segstream version: what to put into a report."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

from stream import __version__

if TYPE_CHECKING:
    import argparse


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    subparsers.add_parser("version", help="print the versions")


def main(_: argparse.Namespace) -> int:
    import confluent_kafka  # noqa: PLC0415 - slow to load, and the parser does not need it
    import httpx  # noqa: PLC0415 - likewise

    sys.stdout.write(
        f"segstream {__version__} (Python {platform.python_version()}, confluent-kafka {confluent_kafka.__version__}, "
        f"librdkafka {confluent_kafka.libversion()[0]}, httpx {httpx.__version__})\n"
    )
    return 0
