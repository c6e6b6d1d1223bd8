"""docs/sandbox.md names every switch, and only tests that exist."""

import re
from pathlib import Path

from stream.sandbox.faults import FAULTS

DOCS = (Path(__file__).parents[3] / "docs" / "sandbox.md").read_text(encoding="utf-8")


def test_every_switch_is_explained() -> None:
    assert {name for name in FAULTS if f"`{name}`" not in DOCS} == set()


def test_every_named_test_exists() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)", tests))
    assert set(re.findall(r"\btest_\w+", DOCS)) - there == set()
