"""Slices wait for schemas one partition at a time; without a registry the topic stops, with its reason."""

import time
from collections.abc import Sequence

from stream.core.decode.spec import DecodeSpec
from stream.core.model import Change, Halt, SchemaId, Slice, TopicPartition, Unreadable
from stream.edge.intake import Intake, Readable
from stream.errors import Unavailable

ROW = b'{"op":"c","before":null,"after":{"s":"gold","m":"c1"},"source":{"connector":"postgresql","ts_ms":1}}'
FRAMED = b"\0\0\0\0\x07" + b"binary"


def taken(*values: bytes, partition: int = 0, first: int = 0) -> Slice:
    n = len(values)
    keys = [b'{"id":1}'] * n
    return Slice(
        TopicPartition("t", partition), 1, range(first, first + n), keys, values, [0] * n, values, lambda _: ()
    )


class Schemas:
    """A registry that is down until told otherwise, and then knows no schema."""

    def __init__(self) -> None:
        self.up = False
        self.asked = 0

    def fetch(self, schema_id: SchemaId) -> str | None:  # noqa: ARG002 - the protocol's name
        self.asked += 1
        if not self.up:
            raise Unavailable("down")
        return None


def intake(registry: Schemas | None) -> Intake:
    return Intake(lambda topic: DecodeSpec(topic, ("s", "m")), registry, log=lambda *_: None, now=time.monotonic)


def kinds(readable: Sequence[Readable]) -> list[tuple[int, list[type]]]:
    return [(r.start, [type(item) for item in r.items]) for r in readable]


def test_without_a_registry_a_framed_record_stops_the_topic_after_what_came_before() -> None:
    one = intake(None)
    readable = one.read(taken(ROW, FRAMED, ROW))
    assert kinds(readable) == [(0, [Change, Halt])]
    halt = readable[0].items[-1]
    assert isinstance(halt, Halt)
    assert "id 7" in halt.detail
    assert "registry.url" in halt.detail
    assert not one.waiting()


def test_a_registry_that_is_down_holds_its_partition_alone_and_in_order() -> None:
    schemas = Schemas()
    one = intake(schemas)
    try:
        assert kinds(one.read(taken(ROW, FRAMED, ROW))) == [(0, [Change])]
        assert one.waiting() == {TopicPartition("t", 0)}
        assert one.why_waiting() == "schema id 7"
        assert one.read(taken(ROW, first=3)) == []
        assert kinds(one.read(taken(ROW, partition=1))) == [(0, [Change])]
        deadline = time.monotonic() + 10
        while not schemas.asked and time.monotonic() < deadline:
            time.sleep(0.02)
        schemas.up = True
        found: list[Readable] = []
        while one.waiting() and time.monotonic() < deadline:
            found += one.resumed()
            time.sleep(0.02)
        assert kinds(found) == [(1, [Unreadable, Change]), (0, [Change])]
        assert [list(r.slice.offsets)[r.start] for r in found] == [1, 3]
        assert not one.waiting()
        assert schemas.asked >= 2
    finally:
        one.close()


def test_what_was_taken_away_does_not_come_back() -> None:
    schemas = Schemas()
    one = intake(schemas)
    try:
        one.read(taken(FRAMED))
        one.forget([TopicPartition("t", 0)])
        schemas.up = True
        deadline = time.monotonic() + 10
        while schemas.asked < 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.1)
        assert one.resumed() == []
        assert not one.waiting()
    finally:
        one.close()
