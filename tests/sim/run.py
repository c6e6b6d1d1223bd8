"""Playing seeds, and telling what went wrong in one."""

from __future__ import annotations

import multiprocessing
import random
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.sim.named_play import NamedPlay
from tests.sim.named_worlds import NAMED, NamedWorld
from tests.sim.play import Note, Play
from tests.sim.watch import Violation
from tests.sim.worlds import WORLDS

LAST_EVENTS = 40


@dataclass
class Result:
    seed: int
    world: str
    violation: Violation | None
    lines: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    calls: int = 0

    @property
    def law(self) -> str:
        """The law that was broken; empty when none was."""
        return self.violation.law if self.violation is not None else ""


class Brief(NamedTuple):
    """What another process tells of a seed."""

    seed: int
    world: str
    law: str
    calls: int


def play(seed: int, world: str | None = None, *, trace: bool = False) -> Result:
    """One seed, in this world or in the one whose turn it is. The same arguments give the same course."""
    everything = [*WORLDS, *NAMED]
    name = world or everything[seed % len(everything)]
    rng = random.Random(f"{name} {seed}")
    drawn = (WORLDS.get(name) or NAMED[name])(rng)
    course = NamedPlay(drawn, rng, trace=trace) if isinstance(drawn, NamedWorld) else Play(drawn, rng, trace=trace)
    result = Result(seed, name, None)
    try:
        course.run()
    except Violation as violation:
        result.violation = violation
    except Exception as error:  # noqa: BLE001  # an error of the engine is a finding, too
        where = "".join(traceback.format_exception(error)[-4:])
        result.violation = Violation("raised", f"{error!r}\n{where}")
    result.calls = course.shop.calls
    if course.notes is not None:
        result.notes = course.notes
        result.lines = [f"{note.at_s:8.3f} {note.text}" for note in course.notes]
    return result


def _brief(turn: tuple[int, str | None]) -> Brief:
    result = play(*turn)
    return Brief(result.seed, result.world, result.law, result.calls)


def play_many(turns: Sequence[tuple[int, str | None]]) -> tuple[list[Brief], float]:
    """These seeds and worlds, on every processor; and how many were played a second."""
    started_s = time.monotonic()
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("fork")) as pool:
        results = list(pool.map(_brief, turns, chunksize=max(1, min(20, len(turns) // 8))))
    return results, len(turns) / (time.monotonic() - started_s)


def describe(seed: int, world: str | None = None) -> str:
    """The seed, its world, the law, and the last events of the memberships concerned."""
    result = play(seed, world, trace=True)
    if result.violation is None:
        return f"seed {seed} world {result.world}: no violation"
    about = set(result.violation.about)
    segments = {segment for segment, _ in about}
    told = [
        f"{note.at_s:8.3f} {note.text}"
        for note in result.notes
        if note.segment is None
        or not about
        or (note.segment in segments and {(note.segment, m) for m in note.members} & about)
    ]
    return "\n".join(
        [
            f"seed {seed} world {result.world}: {result.violation} {sorted(about)}",
            *told[-LAST_EVENTS:],
            f"again: python -m tests.sim --world {result.world} --seed {seed} --trace",
        ]
    )
