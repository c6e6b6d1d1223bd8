"""The core's steps, each alone: the real code over records that were decoded already, with an answer for every call at once.

Columns in microseconds of CPU a record: what the row says (map), the row table (fold, the mapping within), making calls (batch),
judging and confirming their answers (settle), and building the commit with the stored form of each row (store).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from stream.core.claims import mapping
from stream.core.effects import Commit, Restored, Send
from stream.core.engine import Engine
from stream.core.limits import Limits
from stream.core.mapping import TableRule
from stream.core.model import Change, Outcome, TopicPartition
from stream.core.owners import TableSpec
from stream.core.verdict import VerdictPolicy

AT_ONCE = 5_000
TURNS = 6
TURN_S = 0.02


def steps(topic: str, items: Sequence[Any]) -> dict[str, float]:
    """Microseconds a record for each step."""
    tp = TopicPartition(topic, 0)
    spec = TableSpec(mapping(TableRule((("column", "segment"),), (("id", "customer_id"),))), sole=True)
    spent = dict.fromkeys(("map", "fold", "batch", "settle", "store"), 0.0)
    started = time.process_time()
    for item in items:
        if type(item) is Change and item.after is not None:
            spec.mapping.says(item)
    spent["map"] = time.process_time() - started

    engine = Engine(lambda _: spec, Limits(slots=32, commit_interval_s=1e9), VerdictPolicy())
    now_s = 1.0
    engine.partitions_known(topic, 1)
    engine.assigned([tp])
    engine.effects(now_s, 1)
    engine.restored(
        Restored(tp, epoch=1, rows={}, position=0, metadata="", fresh=True, end=0, fold_to=0, meta=None, partitions=1),
        now_s,
    )
    for effect in engine.effects(now_s, 1):
        if isinstance(effect, Commit):
            engine.committed(effect.number, ok=True)
    engine.behind = True
    for start in range(0, len(items), AT_ONCE):
        some = items[start : start + AT_ONCE]
        zeros = [0] * len(some)
        before = time.process_time()
        engine.feed(tp, 1, some, range(start, start + len(some)), zeros, [600] * len(some), zeros, now_s)
        spent["fold"] += time.process_time() - before
        for _ in range(TURNS):
            now_s += TURN_S
            _turn(engine, now_s, spent)
    now_s += 6.0  # longer than a lane lingers, and too short for rows to count as stuck
    while engine.standings():
        now_s += TURN_S
        _turn(engine, now_s, spent)
    before = time.process_time()
    done = [effect for effect in engine.effects(now_s + 2e9, 1) if isinstance(effect, Commit)]
    spent["store"] = time.process_time() - before
    assert done, "nothing was to be stored"
    return {name: round(seconds / len(items) * 1e6, 2) for name, seconds in spent.items()}


def _turn(engine: Engine, now_s: float, spent: dict[str, float]) -> None:
    before = time.process_time()
    calls = [effect.call for effect in engine.effects(now_s, 1) if isinstance(effect, Send)]
    sent = time.process_time()
    for call in calls:
        engine.settle(Outcome(call, "answered", 201, (), None, "", "", now_s, 0.02), now_s, 0.5, now_s)
    engine.delivery.delivered.clear()
    spent["batch"] += sent - before
    spent["settle"] += time.process_time() - sent
