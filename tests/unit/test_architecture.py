"""ARCHITECTURE.md names every file of the program and every entry beside it, and nothing else."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAP = (ROOT / "ARCHITECTURE.md").read_text().partition("\n## The map\n")[2].partition("\n## ")[0]
LINES = [
    line for block in re.findall(r"^```\n(.*?)^```$", MAP, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]
NAMED = [line.split()[0] for line in LINES]
BESIDE = ("bench", "tests", "docs", "schemas", "helm")


def there() -> set[str]:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "stream").rglob("*.py")}
    beside = {f"{folder}/{path.name}" for folder in BESIDE for path in (ROOT / folder).iterdir()}
    return files | {name for name in beside if not name.endswith("__pycache__")}


def test_the_map_names_every_file() -> None:
    missing = sorted(there() - set(NAMED))
    assert not missing, f"give each a line in ARCHITECTURE.md: {missing}"


def test_the_map_names_nothing_that_is_missing() -> None:
    gone = sorted(set(NAMED) - there())
    assert not gone, f"take their lines out of ARCHITECTURE.md: {gone}"


def test_each_is_named_once_and_explained() -> None:
    assert len(NAMED) == len(set(NAMED))
    assert [line for line in LINES if not re.fullmatch(r"\S+  +\S.+", line)] == []
