from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stack.stack import Stack


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seeds", default=None, metavar="A-B", help="seeds of the seeded tests, instead of the few of each run"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        first, _, last = str(metafunc.config.getoption("--seeds", None) or f"0-{metafunc.module.SEEDS - 1}").partition(
            "-"
        )
        metafunc.parametrize("seed", range(int(first), int(last or first) + 1))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The whole stack, up once for all tests: they keep apart by the names of their connectors and tables."""
    with Stack() as whole:
        whole.start()
        yield whole
