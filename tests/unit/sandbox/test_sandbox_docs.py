"""docs/sandbox.md names every switch, and only tests that exist."""

import re
from pathlib import Path

from stream.sandbox import store
from stream.sandbox.faults import FAULTS
from stream.sandbox.state import Shop

DOCS = (Path(__file__).parents[3] / "docs" / "sandbox.md").read_text(encoding="utf-8")


def test_every_switch_is_explained() -> None:
    assert {name for name in FAULTS if f"`{name}`" not in DOCS} == set()


def test_every_named_test_exists() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)", tests))
    assert set(re.findall(r"\btest_\w+", DOCS)) - there == set()


def test_every_fact_has_a_test_unless_it_is_not_there() -> None:
    table = DOCS.partition("## Conformance")[2].partition("\n## ")[0]
    rows = [row for row in table.splitlines() if row.startswith("| ") and not row.startswith("| Fact")]
    assert len(rows) > 40
    assert [row for row in rows if "test_" not in row and "not there" not in row] == []


def test_the_example_of_a_shop_loads_and_is_quoted() -> None:
    path = Path(__file__).parents[3] / "examples" / "shop.jsonl"
    shop = Shop()
    store.load(shop, path)
    assert shop.segments["gold"].customers.ids == {"c-2"}
    assert f"```\n{path.read_text()}```" in DOCS
