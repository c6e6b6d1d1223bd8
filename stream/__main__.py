"""The command `segstream`, and `python -m stream`."""

import sys

from stream.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
