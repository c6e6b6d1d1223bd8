"""Topics that the program writes: what an administrative request's end means."""

from concurrent.futures import Future
from typing import Any

import confluent_kafka as ck
import pytest

from stream.edge import state
from stream.edge.state import Topics
from stream.errors import DataError, Unavailable


class Admin:
    """Ends each request as it is told."""

    def __init__(self, end: BaseException | None) -> None:
        self.end = end

    def create_topics(self, new: list[Any], **_: Any) -> dict[str, "Future[None]"]:
        return {one.topic: self._future() for one in new}

    def describe_topics(self, _topics: Any, **_: Any) -> dict[str, "Future[None]"]:
        return {"t": self._future()}

    def describe_configs(self, resources: list[Any], **_: Any) -> dict[Any, "Future[None]"]:
        return {resources[0]: self._future()}

    def _future(self) -> "Future[None]":
        future: Future[None] = Future()
        if isinstance(self.end, TimeoutError):
            return future  # it never ends
        if self.end is not None:
            future.set_exception(self.end)
        else:
            future.set_result(None)
        return future


def topics(monkeypatch: pytest.MonkeyPatch, end: BaseException | None, *, create: bool = True) -> Topics:
    found = Topics({"bootstrap.servers": "127.0.0.1:9"}, create=create, verify=True, replication_factor=None)
    monkeypatch.setattr(found, "_admin", Admin(end))
    for name in ("ADMIN_TIMEOUT_S", "IDS_TIMEOUT_S", "MARGIN_S"):
        monkeypatch.setattr(state, name, 0.01)
    return found


def test_a_topic_made_here_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not topics(monkeypatch, None).ensure("rows", 4, {})


def test_a_topic_made_by_another_instance_a_moment_ago_may_hold_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker that was asked did not know it yet: taken for empty, its rows would be told to be lost."""
    exists = ck.KafkaException(ck.KafkaError(ck.KafkaError.TOPIC_ALREADY_EXISTS))
    assert topics(monkeypatch, exists).ensure("rows", 4, {})


def test_no_answer_is_an_error_with_an_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="no answer"):
        topics(monkeypatch, TimeoutError()).ensure("rows", 4, {})


def test_ids_that_nobody_tells_in_time_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert topics(monkeypatch, TimeoutError()).ids(["t"]) == {}


def test_a_topic_that_is_missing_and_may_not_be_made_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker would make it with a retention at the first write, and the rows would be gone after that."""
    with pytest.raises(DataError, match="does not exist") as refused:
        topics(monkeypatch, None, create=False).ensure("rows", 4, {})
    assert "--partitions 4 --config cleanup.policy=compact" in (refused.value.advice or "")


@pytest.mark.parametrize("create", [True, False])
def test_a_state_topic_that_is_not_compacted_is_refused_whoever_made_it(
    monkeypatch: pytest.MonkeyPatch, *, create: bool
) -> None:
    found = topics(monkeypatch, None, create=create)
    monkeypatch.setattr(found, "policy", lambda _topic: "delete")
    with pytest.raises(DataError, match=r"cleanup\.policy=delete"):
        found.ensure("rows", 4, {"rows": 4})


def test_whoever_may_not_read_configurations_vouches_for_the_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    denied = ck.KafkaException(ck.KafkaError(ck.KafkaError.TOPIC_AUTHORIZATION_FAILED))
    assert topics(monkeypatch, denied, create=False).ensure("rows", 4, {"rows": 4})


def test_a_broker_that_cannot_be_asked_is_not() -> None:
    found = Topics({"bootstrap.servers": "127.0.0.1:9"}, create=False, verify=False, replication_factor=None)
    assert not found.ensure("rows", 4, {})
    assert found.ensure("rows", 4, {"rows": 4})
    assert found.ids(["rows"]) == {}
