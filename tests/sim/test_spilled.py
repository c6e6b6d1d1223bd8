"""The same laws hold with rows and counts in the scratch file: each process moves there with its second row."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stream.core import table
from stream.core.effects import Effect
from stream.core.engine import Engine
from stream.edge.scratch import Scratch
from stream.edge.spill import Spill
from stream.edge.store import LmdbIndex, LmdbRows
from tests.sim import instance
from tests.sim.run import describe, play
from tests.sim.worlds import WORLDS

SEEDS_PER_WORLD = 12
NAMED_TOO = ("two_names", "name_crashes", "parents_crash", "segments_crash", "all_names")


class Seen:
    """What came by of the engines of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spills: list[Spill] = []
        self.stored = 0


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    found = Seen(tmp_path)

    class Spilling(Engine):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            self.spill = Spill(
                found.folder, 1, lambda _kind, _text: None, lambda folder: Scratch(folder, writes_max=20)
            )
            found.spills.append(self.spill)
            super().__init__(*arguments, index=self.spill.index, **more)

        def effects(self, now_s: float, wall_ms: int) -> list[Effect]:
            self.spill.turn(self, {})
            for part in self.parts():
                found.stored += isinstance(part.rows, LmdbRows) and isinstance(part.table.index, LmdbIndex)
            return super().effects(now_s, wall_ms)

    monkeypatch.setattr(instance, "Engine", Spilling)
    monkeypatch.setattr(table, "COUNTS_MAX", 3)
    yield found
    for spill in found.spills:
        spill.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("world", [*WORLDS, *NAMED_TOO])
def test_no_law_is_broken(world: str, seen: Seen) -> None:
    for seed in range(SEEDS_PER_WORLD):
        result = play(seed, world)
        for spill in seen.spills:
            spill.close()
        seen.spills.clear()
        assert result.violation is None, describe(seed, world)
    assert seen.stored > 100, "next to nothing was kept in the file"
