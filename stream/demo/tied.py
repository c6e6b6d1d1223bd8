"""Runs a module whose life is tied to the process that started it: `python -m stream.demo.tied MODULE ARGUMENTS`.

Standard input is a pipe that nobody writes to. The kernel closes its other end when that process ends, however it
ends, `kill -9` included; then this one has nothing left to serve, and ends at once. A pipe does that on every system.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
from typing import Final

EXIT_ALONE: Final = 75


def watch() -> None:
    """Wait for the pipe's end."""
    while os.read(0, 4096):
        pass
    os._exit(EXIT_ALONE)


def main() -> None:
    threading.Thread(target=watch, name="tied", daemon=True).start()
    module = sys.argv[1]
    sys.argv = [module, *sys.argv[2:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
