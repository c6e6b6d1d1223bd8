"""Single turns of the loop, with its rooms in a state that is hard to come by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loop_trial import Trial

from stream.core.effects import Restored
from stream.core.model import TopicPartition
from stream.demo.broker import EmbeddedBroker
from stream.edge.kafka import Taken
from stream.edge.state import Committed
from stream.loop import Loop


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker()
    yield broker
    broker.close()


@pytest.fixture
def trial(broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Trial]:
    trial = Trial(broker, tmp_path)
    yield trial
    trial.close()


def owning(trial: Trial, fold_to: int = 0) -> tuple[Loop, TopicPartition]:
    """A loop that has not joined a group and acts as if partition 0, the only one, were its own."""
    loop, tp = trial.loop(), TopicPartition(trial.topic, 0)
    loop.watch.looked_s = float("inf")
    loop.engine.partitions_known(tp.topic, 1)
    loop.engine.assigned([tp])
    loop._turn(0.0)
    loop._restores.clear()
    loop.source._epochs[tp] = 1
    loop.engine.restored(Restored(tp, 1, {}, 0, "", fresh=True, fold_to=fold_to, partitions=1), 0.0)
    return loop, tp


def test_an_end_told_while_records_wait_for_a_schema_is_not_forgotten(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the last record lie transaction markers: without the end the first fold would never be over."""
    loop, tp = owning(trial, fold_to=7)
    waiting = {tp}
    taken = [Taken([], 0, [(tp, 7)], []), Taken([], 0, [], [])]
    monkeypatch.setattr(loop.intake, "waiting", lambda: set(waiting))
    monkeypatch.setattr(loop.source, "take", lambda *_: taken.pop(0))
    monkeypatch.setattr(loop.source, "flow", lambda *_: None)
    part = loop.engine.part(tp)
    assert part is not None
    loop.once()
    assert part.ledger.position == 0
    waiting.clear()
    loop.once()
    assert part.ledger.position == 7


def test_only_what_is_still_ours_is_committed_after_the_states(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without transactions the group would take offsets of partitions that belong to somebody else by now."""
    loop, tp = owning(trial)
    committed: list[object] = []
    monkeypatch.setattr(loop.source, "commit", committed.append)
    monkeypatch.setattr(loop.committer, "submit", lambda *_: None)
    commit = loop.engine.commits.build(loop.engine.parts(), 0.0)
    assert list(commit.offsets) == [tp]
    loop.on_lost([tp])
    done = Committed(commit.number, ok=True, fatal=False, detail="", seconds=0.0)
    monkeypatch.setattr(loop.committer, "finished", lambda _: done)
    loop._commits(0.0)
    assert loop.engine.commits.flying is None
    assert not committed


def test_the_seconds_of_a_pause_and_the_end_of_the_token_are_told(trial: Trial) -> None:
    loop, _ = owning(trial)
    now_s = 1000.0
    loop.report.write(loop.engine, (), 0, now_s, 0.0)
    loop.engine.delivery.blocked_until_s = now_s + 1.5
    loop.engine.delivery.blocked_reason = "throttled"
    for _ in range(4):
        now_s += 1.0
        loop.report.write(loop.engine, (), 0, now_s, 0.0)
    value = loop.metrics.registry.get_sample_value
    assert value("segstream_api_throttled_seconds_total") == pytest.approx(1.5)
    loop.report._next_s = 0.0
    loop._turn(0.0)
    assert value("segstream_token_expiry_timestamp_seconds") == 4_000_000_000.0
