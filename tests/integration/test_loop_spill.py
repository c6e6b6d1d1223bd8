"""The loop with more rows than it may keep in memory: live, over a restart, and what is left on the disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from loop_trial import Trial

from stream.core.effects import Restored
from stream.demo.broker import EmbeddedBroker
from stream.edge.store import LmdbIndex, LmdbRows
from stream.loop import Loop

ROWS = 2_500


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    found = EmbeddedBroker()
    yield found
    found.close()


@pytest.fixture
def trial(broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Trial]:
    found = Trial(broker, tmp_path)
    yield found
    found.close()


def rows_of(loop: Loop) -> int:
    return sum(len(part.rows) for part in loop.engine.parts())


def test_rows_above_the_limit_are_in_the_file_live_and_after_a_restart(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.edge.state.READ_MAX", 200)
    folder = tmp_path / "rows"
    folder.mkdir()
    trial.values["state"] |= {"rows_in_memory_max": 1_000, "directory": str(folder)}
    for number in range(ROWS):
        after = {"id": number, "segment": "gold", "member": f"c-{number}"}
        value = {"op": "c", "before": None, "after": after, "source": {"ts_ms": 1, "snapshot": "false"}}
        trial.producer.produce(trial.topic, key=json.dumps({"id": number}), value=json.dumps(value), partition=0)
    assert trial.producer.flush(10) == 0
    first = trial.begin()
    trial.until(lambda: rows_of(first) == ROWS and first.spill.spilled and not first.spill.moving)
    assert len(trial.members.told()) == ROWS
    assert len(list(folder.iterdir())) == 1
    first.stop()
    trial.loops.clear()
    assert list(folder.iterdir()) == []

    trial.members.calls.clear()
    second = trial.begin()
    restored: list[Restored] = []
    restore = second.engine.restored
    monkeypatch.setattr(second.engine, "restored", lambda found, now_s: (restored.append(found), restore(found, now_s)))
    trial.until(lambda: rows_of(second) == ROWS and second.spill.spilled and not second.spill.moving)
    # never whole in memory: the file took over while the state was read
    assert all(isinstance(found.rows, LmdbRows) for found in restored if found.rows)
    parts = [part for part in second.engine.parts() if part.rows]
    assert all(isinstance(part.rows, LmdbRows) and isinstance(part.table.index, LmdbIndex) for part in parts)
    trial.producer.produce(trial.topic, key=json.dumps({"id": 7}), value=None, partition=0)
    assert trial.producer.flush(10) == 0
    trial.until(trial.members.told)
    assert [(call.op, call.members) for call in trial.members.calls] == [("remove", ("c-7",))]
    second.stop()
    trial.loops.clear()
    assert list(folder.iterdir()) == []
