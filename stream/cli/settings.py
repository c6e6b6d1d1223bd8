"""segstream settings: every knob, for people and for editors."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from stream.settings import annotated_defaults, json_schema_text

if TYPE_CHECKING:
    import argparse


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "settings",
        help="print every setting with its meaning and default, as YAML",
        description="Prints a settings file that loads, with every setting, its unit, its meaning and its default.",
    )
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema instead, for editors")


def main(args: argparse.Namespace) -> int:
    sys.stdout.write(json_schema_text() if args.schema else annotated_defaults())
    return 0
