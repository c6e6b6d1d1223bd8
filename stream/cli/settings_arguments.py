"""The arguments by which commands find their settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stream.errors import UsageError
from stream.settings import Settings, load

if TYPE_CHECKING:
    import argparse

CONFIG_VARIABLE: Final = "SEGSTREAM_CONFIG"


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """Add -c, --set and -X."""
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help=f"settings as YAML; `segstream settings` prints one (default: what {CONFIG_VARIABLE} names)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="a setting that wins over file and environment; may be repeated",
    )
    parser.add_argument(
        "-X",
        action="append",
        default=[],
        dest="properties",
        metavar="PROPERTY=VALUE",
        help="a librdkafka property, as --set kafka.PROPERTY=VALUE; no secrets: others can read them in ps",
    )


def read_settings(args: argparse.Namespace) -> Settings:
    """Read the settings that the arguments name.

    Raises UsageError without any file or setting, SettingsError with one line for each problem.
    """
    path: Path | None = args.config
    if path is None and os.environ.get(CONFIG_VARIABLE):
        path = Path(os.environ[CONFIG_VARIABLE])
    if path is None and not any(name.startswith("SEGSTREAM_") for name in os.environ) and not args.set:
        raise UsageError("no settings are given", advice="name a file: segstream COMMAND -c segstream.yaml")
    return load(path, os.environ, [*args.set, *(f"kafka.{item}" for item in args.properties)])
