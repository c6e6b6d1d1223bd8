"""Whoever switches a check off says why."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_noqa_has_a_reason_behind_it() -> None:
    bare = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("stream", "tests", "bench")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"# noqa: [A-Z0-9, ]+$", line)
    ]
    assert bare == []
