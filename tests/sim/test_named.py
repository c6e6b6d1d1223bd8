"""A fixed budget of seeds through every world of names. More: python -m tests.sim --world by_email --seeds 10000."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.sim.named_worlds import NAMED
from tests.sim.run import describe, play, play_many

SEEDS_PER_WORLD = 80
SLOW = {"patient": 16}


@pytest.mark.parametrize("world", NAMED)
def test_no_law_is_broken(world: str, capsys: pytest.CaptureFixture[str]) -> None:
    results, rate = play_many([(seed, world) for seed in range(SLOW.get(world, SEEDS_PER_WORLD))])
    with capsys.disabled():
        print(f"\n{world}: {len(results)} seeds, {rate:.0f} a second", end="")  # noqa: T201  # how much was tried
    broken = [result.seed for result in results if result.law]
    assert not broken, f"{len(broken)} seeds of {len(results)}; the first:\n{describe(broken[0], world)}"
    assert sum(result.calls for result in results) > len(results), "these seeds send next to nothing"


def test_a_seed_is_played_the_same_way_each_time() -> None:
    first, again = play(3, "all_names", trace=True), play(3, "all_names", trace=True)
    assert first.lines == again.lines
    assert len(first.lines) > 100
