"""What the control topic's records say, and which of them are ignored."""

from __future__ import annotations

import pytest

from stream.core.model import Slice, TopicPartition
from stream.edge.control import Accepted, Controls, acceptance, control_topic

TOPIC = control_topic("g")


class Topic:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.controls = Controls(lambda kind, text: self.said.append(f"{kind}: {text}"))
        self.end = 0

    def say(self, *records: tuple[bytes | None, bytes | None], partition: int = 0) -> list[Accepted]:
        offsets = list(range(self.end, self.end + len(records)))
        self.end += len(records)
        keys, values = [key for key, _ in records], [value for _, value in records]
        at_ms = [0] * len(records)
        self.controls.feed(
            Slice(TopicPartition(TOPIC, partition), 1, offsets, keys, values, at_ms, list(records), lambda _: ())
        )
        return self.controls.news()


GOLD, VALUE = acceptance("gold")


def test_what_is_accepted_is_told_once() -> None:
    topic = Topic()
    assert TOPIC == "g-control"
    assert topic.say((GOLD, VALUE), acceptance("blue"), (GOLD, VALUE)) == [
        Accepted("gold", accepted=True),
        Accepted("blue", accepted=True),
    ]
    assert topic.say((GOLD, VALUE)) == []
    assert topic.said == []


def test_a_record_without_a_value_takes_it_back() -> None:
    topic = Topic()
    assert topic.say((GOLD, None)) == []
    topic.say((GOLD, VALUE))
    assert topic.say((GOLD, None)) == [Accepted("gold", accepted=False)]
    assert topic.say((GOLD, VALUE), (GOLD, None)) == [Accepted("gold", accepted=False)]


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        (GOLD, b'{"v":2,"accept_code":"gold"}', "version 2"),
        (GOLD, b'{"v":1,"accept_code":"blue"}', "not about its key"),
        (GOLD, b'{"v":1}', "not about its key"),
        (GOLD, b'{"v":1,"accept_code":7}', "no control record"),
        (GOLD, b"[]", "no control record"),
        (GOLD, b"", "no control record"),
        (GOLD, b"\xff", "no control record"),
        (b"pause/all", b'{"v":1,"pause":"all"}', "no such key"),
        (b"accept_code/a/b", b'{"v":1,"accept_code":"a/b"}', "no such key"),
        (b"accept_code/..", b'{"v":1,"accept_code":".."}', "no such key"),
        (b"accept_code/", b'{"v":1,"accept_code":""}', "no such key"),
        (b"\xff\xfe", b"{}", "no such key"),
        (None, VALUE, "no such key"),
        (b"pause/all", None, "no such key"),
    ],
)
def test_what_is_not_understood_is_said_once_and_ignored(key: bytes | None, value: bytes | None, why: str) -> None:
    topic = Topic()
    assert topic.say((key, value), (key, value)) == []
    (said,) = topic.said
    assert said.startswith("control: record ")
    assert why in said
    assert topic.say((GOLD, VALUE)) == [Accepted("gold", accepted=True)]


def test_a_newer_version_s_fields_do_not_hide_what_this_one_knows() -> None:
    assert Topic().say((GOLD, b'{"v":1,"accept_code":"gold","by":"ops"}')) == [Accepted("gold", accepted=True)]


def test_a_topic_that_begins_anew_has_said_nothing() -> None:
    topic = Topic()
    topic.say((GOLD, VALUE))
    topic.say(acceptance("blue"), partition=1)
    topic.controls.anew(TOPIC, [TopicPartition(TOPIC, 0)])
    assert topic.controls.news() == [Accepted("gold", accepted=False)]
    assert topic.say((GOLD, VALUE)) == [Accepted("gold", accepted=True)]
    assert list(topic.controls.waiting()) == []


def test_what_is_remembered_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.edge.control.ACCEPTED_MAX", 2)
    monkeypatch.setattr("stream.edge.control.SAID_MAX", 3)
    topic = Topic()
    news = topic.say(*(acceptance(f"c{n}") for n in range(9)))
    assert [one.code for one in news] == ["c0", "c1"]
    topic.say(*((f"k{n}".encode(), b"{}") for n in range(9)))
    assert len(topic.said) == 3
    assert topic.say((b"x" * 500, b"{}")) == []
