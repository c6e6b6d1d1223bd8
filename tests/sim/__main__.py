"""python -m tests.sim [--seeds N] [--first K] [--world NAME] [--seed S --trace]."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from tests.sim.named_worlds import NAMED
from tests.sim.run import describe, play, play_many
from tests.sim.worlds import WORLDS

DESCRIBED_MAX = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="Try to break the engine, seed by seed.")
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--world", choices=sorted({**WORLDS, **NAMED}), help="this world alone; else each in turn")
    parser.add_argument("--seed", type=int, help="this seed alone")
    parser.add_argument("--trace", action="store_true", help="print every event of it")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        result = play(arguments.seed, arguments.world, trace=arguments.trace)
        print(*(result.lines if arguments.trace else ()), sep="\n")  # noqa: T201  # a command
        print(describe(arguments.seed, arguments.world))  # noqa: T201  # a command
        return 1 if result.law else 0
    turns = [(seed, arguments.world) for seed in range(arguments.first, arguments.first + arguments.seeds)]
    results, rate = play_many(turns)
    broken = [result for result in results if result.law]
    for result in broken[:DESCRIBED_MAX]:
        print(describe(result.seed, result.world))  # noqa: T201  # a command
    for world, count in sorted(Counter(f"{result.world}: {result.law}" for result in broken).items()):
        print(f"{count} x {world}")  # noqa: T201  # a command
    print(f"{len(results)} seeds, {len(broken)} failed, {rate:.1f} seeds/s")  # noqa: T201  # a command
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
