"""How the loop ends when something went wrong: soon, and without acting any more."""

import gc
import time
from collections.abc import Iterator
from pathlib import Path

import confluent_kafka as ck
import pytest
from loop_trial import Trial

from stream.core.effects import Restore
from stream.core.model import TopicPartition
from stream.demo.broker import EmbeddedBroker
from stream.errors import Fenced, Unfinished


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker()
    yield broker
    broker.close()


@pytest.fixture
def trial(broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Trial]:
    trial = Trial(broker, tmp_path)
    trial.row(1)
    yield trial
    trial.close()


def test_after_an_error_nothing_is_drained(trial: Trial) -> None:
    """The threads that would answer are gone by then: waiting for them would only keep the successor waiting."""
    trial.members.hangs = True
    loop = trial.begin()
    trial.until(lambda: trial.members.calls)
    started_s = time.monotonic()
    loop.close()
    assert time.monotonic() - started_s < 2.5
    assert not list(loop.engine.parts())


def test_a_drain_that_fails_still_forgets_what_was_left(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial.members.hangs = True
    loop = trial.begin()
    trial.until(lambda: trial.members.calls)

    def fenced(_wait_s: float) -> None:
        raise Fenced("the transaction cannot go on")

    monkeypatch.setattr(loop, "_commits", fenced)
    with pytest.raises(Fenced):
        loop.on_revoked([part.tp for part in loop.engine.parts()])
    assert not list(loop.engine.parts())


def test_a_stop_ends_in_time_though_a_commit_hangs(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.loop.COMMIT_GRACE_S", 0.2)
    trial.values["drain_s"] = 3
    loop = trial.begin()
    trial.until(lambda: trial.members.calls)
    trial.until(lambda: loop.engine.commits.flying is None and not loop.engine.standings())
    assert loop.committer is not None
    monkeypatch.setattr(loop.committer, "submit", lambda *_: None)
    started_s = time.monotonic()
    with pytest.raises(Unfinished, match="commit"):
        loop.stop()
    assert time.monotonic() - started_s < loop.settings.drain_s + 2


def test_a_takeover_does_not_begin_while_others_are_left(trial: Trial) -> None:
    loop = trial.loop()
    begun: list[object] = []
    loop.takeover.begin = begun.append  # type: ignore[method-assign]
    wanted = TopicPartition(trial.topic, 0)
    loop._perform(Restore((wanted,)))
    loop._leaving = True
    loop._turn(0.0)
    assert not begun
    loop._leaving = False
    loop._turn(0.0)
    assert begun == [[wanted]]


def test_a_drain_longer_than_the_lease_still_sends(trial: Trial) -> None:
    """Heartbeats go on while partitions are left; only a process that stood still has lost touch."""
    trial.values["kafka"]["session.timeout.ms"] = 3000
    loop = trial.begin()
    trial.until(lambda: trial.members.calls)
    lease_s = loop.settings.lease_s
    trial.members.hangs = True
    trial.row(2)
    trial.until(lambda: ("gold", "c-2") in trial.members.told())
    tps = [part.tp for part in loop.engine.parts()]
    loop.engine.drain(tps)
    until_s = time.monotonic() + lease_s + 0.5
    while time.monotonic() < until_s:
        loop._turn(0.01)
        time.sleep(0.01)
    assert loop.lease.valid()


def test_a_stop_without_any_broker_ends_in_time(trial: Trial) -> None:
    """The client would go on trying, in a commit and in leaving the group, until the session is over."""
    broker = EmbeddedBroker()
    trial.values["kafka"] |= {"bootstrap.servers": broker.address, "session.timeout.ms": 30_000}
    trial.values["drain_s"] = 2
    trial.producer = broker.producer()
    trial.row(1)
    loop = trial.begin()
    trial.until(lambda: trial.members.calls)
    trial.members.hangs = True
    trial.row(2)
    trial.until(lambda: ("gold", "c-2") in trial.members.told())
    broker.close()
    del broker
    gc.collect()
    trial.producer = None
    started_s = time.monotonic()
    with pytest.raises(Unfinished):
        loop.stop()
    assert time.monotonic() - started_s < 15


def test_a_dry_run_leaves_no_trace_also_when_it_was_paused_past_the_lease(trial: Trial, broker: EmbeddedBroker) -> None:
    loop = trial.begin(dry_run=True)
    trial.until(lambda: trial.members.calls and all(part.durable for part in loop.engine.parts()))
    loop.lease._contact_s -= 1e6
    assert not loop.lease.valid()
    trial.row(2)
    trial.until(lambda: ("gold", "c-2") in trial.members.told())
    assert loop.lease.valid()
    group = f"group-{trial.topic}"
    for name in (group, f"{group}-dry-run"):
        consumer = ck.Consumer({"bootstrap.servers": broker.address, "group.id": name, "log_level": 0})
        parts = consumer.committed([ck.TopicPartition(trial.topic, number) for number in range(4)], timeout=10)
        topics = consumer.list_topics(timeout=10).topics
        consumer.close()
        assert [part.offset for part in parts] == [ck.OFFSET_INVALID] * 4
        assert not [topic for topic in topics if topic.startswith(group)]
