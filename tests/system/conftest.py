from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stack.stack import Stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The whole stack, up once for all tests: they keep apart by the names of their connectors and tables."""
    with Stack() as whole:
        whole.start()
        yield whole
