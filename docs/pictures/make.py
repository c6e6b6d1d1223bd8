# ruff: noqa: INP001 - a script, no package
"""Draws the README's picture from a real run: `python docs/pictures/make.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """A demo as anybody runs it, whose last view is kept. Returns its exit code."""
    command = [sys.executable, "-m", "stream", "demo", "--picture", str(HERE / "demo.svg")]
    return subprocess.run(command, cwd=HERE.parents[1], check=False).returncode  # noqa: S603 - our own command


if __name__ == "__main__":
    sys.exit(main())
