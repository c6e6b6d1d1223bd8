from __future__ import annotations

import sys

from stream.sandbox.command import main

sys.exit(main(sys.argv[1:]))
