"""Topics that the program writes: what an administrative request's end means."""

from concurrent.futures import Future
from typing import Any

import confluent_kafka as ck
import pytest

from stream.edge import state
from stream.edge.state import Topics
from stream.errors import Unavailable


class Admin:
    """Ends each request as it is told."""

    def __init__(self, end: BaseException | None) -> None:
        self.end = end

    def create_topics(self, new: list[Any], **_: Any) -> dict[str, "Future[None]"]:
        return {one.topic: self._future() for one in new}

    def describe_topics(self, _topics: Any, **_: Any) -> dict[str, "Future[None]"]:
        return {"t": self._future()}

    def _future(self) -> "Future[None]":
        future: Future[None] = Future()
        if isinstance(self.end, TimeoutError):
            return future  # it never ends
        if self.end is not None:
            future.set_exception(self.end)
        else:
            future.set_result(None)
        return future


def topics(monkeypatch: pytest.MonkeyPatch, end: BaseException | None) -> Topics:
    found = Topics({"bootstrap.servers": "127.0.0.1:9"}, create=True, replication_factor=None)
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
