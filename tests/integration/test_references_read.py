"""Reference topics read whole, on an embedded broker."""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import confluent_kafka as ck
import pytest

from stream.core.decode.spec import DecodeSpec
from stream.core.engine import Engine
from stream.core.model import SchemaId, Slice, TopicPartition
from stream.core.references import ReferenceRule
from stream.demo.broker import EmbeddedBroker
from stream.edge.metrics import Metrics
from stream.edge.references import References
from stream.edge.scratch import Scratch
from stream.edge.spill import Spill
from stream.edge.store import LmdbRows
from stream.edge.whole import WholeTopics
from stream.errors import SettingsError, Unavailable

DATA = Path(__file__).parents[1] / "data" / "debezium"
NUMBERS = count(1)
EMAIL = ("email",)


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    found = EmbeddedBroker()
    yield found
    found.close()


class Schemas:
    """A registry that knows the captured schemas, once it is up."""

    def __init__(self) -> None:
        self.up = False
        self.asked = 0

    def fetch(self, schema_id: SchemaId) -> str | None:
        self.asked += 1
        if not self.up:
            raise Unavailable("the schema registry is down")
        schemas: dict[str, Any] = json.loads((DATA / "avro-schemas.json").read_text())
        return json.dumps(schemas[str(schema_id.value)])


class Reading:
    """References of one trial; topics have names of their own."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self.broker = broker
        self.topic = f"customers{next(NUMBERS)}"
        self.producer = broker.producer()
        self.said: list[str] = []
        self.metrics = Metrics.fresh("0")
        self.registry = Schemas()
        self.found: list[References] = []
        self.heard: dict[str, list[str]] = {}
        self.group = f"group-{self.topic}"

    def open(self, *rules: tuple[ReferenceRule, DecodeSpec], spill: Spill | None = None) -> References:
        rules = rules or ((ReferenceRule("customers", "id", EMAIL), self.spec()),)
        properties = {
            "bootstrap.servers": self.broker.address, "group.id": self.group, "session.timeout.ms": 6000,
            "group.instance.id": "one", "partition.assignment.strategy": "cooperative-sticky",
        }  # fmt: skip
        made = References(
            properties, self.group, rules, self.registry, metrics=self.metrics, spill=spill,
            log=lambda kind, text: self.said.append(f"{kind}: {text}"), now=time.monotonic,
        )  # fmt: skip
        self.found.append(made)
        return made

    def spec(self, topic: str = "", **more: Any) -> DecodeSpec:
        return DecodeSpec(topic or self.topic, (), **more)

    def put(self, *numbers: int, email: str = "{}@example.com", partition: int | None = None, **more: Any) -> None:
        for number in numbers:
            after = {"id": number, "email": email.format(number)} | more
            value = {"op": "c", "before": None, "after": after, "source": {"ts_ms": 5_000, "snapshot": "false"}}
            where = number % 4 if partition is None else partition
            self.produce(json.dumps({"id": number}).encode(), json.dumps(value).encode(), where)
        assert self.producer.flush(10) == 0

    def produce(self, key: bytes | None, value: bytes | None, partition: int) -> None:
        self.producer.produce(self.topic, key=key, value=value, partition=partition)
        self.producer.poll(0)

    def until(self, is_so: Callable[[], Any], patience_s: float = 15.0) -> None:
        deadline_s = time.monotonic() + patience_s
        while not is_so():
            assert time.monotonic() < deadline_s, (
                f"it did not come to be: {[one.why() for one in self.found]} {self.said}"
            )
            for one in self.found:
                for name, keys in one.step():
                    self.heard.setdefault(name, []).extend(keys)
            time.sleep(0.005)

    def value(self, name: str, **labels: str) -> float | None:
        for one in self.found:
            one.report()
        return self.metrics.registry.get_sample_value(
            f"segstream_reference_{name}", {"reference": "customers"} | labels
        )

    def close(self) -> None:
        for one in self.found:
            one.close()


@pytest.fixture
def reading(broker: EmbeddedBroker) -> Iterator[Reading]:
    found = Reading(broker)
    yield found
    found.close()


def test_a_topic_that_is_not_there_is_waited_for_then_read_whole_and_followed(reading: Reading) -> None:
    customers = reading.open()
    assert customers.topics == [reading.topic]
    near = reading.topic + "s"
    for _ in range(2):
        customers.check({near: 4}, {})
        customers.step()
    assert not customers.ready
    assert customers.why() == "reference customers: the topic does not exist, or may not be described"
    assert reading.said == [
        f"topics: {reading.topic}: the topic does not exist, or may not be described: waiting for it; there are ['{near}']"
    ]
    reading.put(*range(100))
    customers.check({reading.topic: 4}, {})
    assert not customers.ready
    assert customers.why() == "reference customers: reads"
    reading.until(lambda: customers.ready)
    assert sorted(map(int, reading.heard.pop("customers"))) == list(range(100))
    assert customers.get("customers", "77") == ("77@example.com",)
    assert customers.get("customers", "100") is None

    reading.put(77)
    reading.put(77, 100, email="new{}@example.com")
    reading.produce(b'{"id":3}', None, 3)
    reading.until(lambda: customers.get("customers", "100") and customers.deleted("customers", "3"))
    assert sorted(reading.heard["customers"]) == ["100", "77"]
    assert customers.get("customers", "77") == ("new77@example.com",)
    assert customers.get("customers", "3") == ("3@example.com",)

    assert reading.value("rows") == 101
    assert reading.value("ready") == 1
    assert reading.value("records_total") == 104
    assert reading.value("last_event_timestamp_seconds") == 5
    reading.until(lambda: reading.value("lag_records") == 0)


def test_the_group_is_never_joined_and_nothing_is_committed(reading: Reading) -> None:
    reading.put(1)
    customers = reading.open()
    customers.check({reading.topic: 4}, {})
    reading.until(lambda: customers.ready)
    customers.close()
    reading.found.clear()
    for group in (reading.group, f"{reading.group}-references"):
        consumer = ck.Consumer({"bootstrap.servers": reading.broker.address, "group.id": group, "log_level": 0})
        (part,) = consumer.committed([ck.TopicPartition(reading.topic, 1)], timeout=10)
        consumer.close()
        assert part.offset == ck.OFFSET_INVALID


def test_a_step_reads_no_more_than_it_may(reading: Reading) -> None:
    reading.put(*range(1_000), partition=0)
    customers = reading.open()
    customers.check({reading.topic: 4}, {})
    sizes = []
    deadline_s = time.monotonic() + 15
    while not customers.ready and time.monotonic() < deadline_s:
        before = len(customers.tables["customers"])
        customers.step(records_max=40, budget_s=10)
        sizes.append(len(customers.tables["customers"]) - before)
        assert customers.busy or len(customers.tables["customers"]) == sum(sizes)
    assert customers.ready
    assert sum(sizes) == 1_000
    assert max(sizes) == 40
    reading.until(lambda: not customers.busy)
    # no time at all: nothing is read, and there may be more
    reading.put(5_000)
    customers.step(budget_s=0)
    assert customers.busy
    assert customers.get("customers", "5000") is None


def test_raised_partitions_are_read_too(reading: Reading) -> None:
    reading.put(*range(8))
    customers = reading.open()
    customers.check({reading.topic: 2}, {})
    reading.until(lambda: customers.ready)
    assert len(customers.tables["customers"]) == 4
    customers.check({reading.topic: 4}, {})
    assert not customers.ready
    reading.until(lambda: customers.ready)
    assert len(customers.tables["customers"]) == 8
    assert reading.said == []
    # a row whose key moved
    reading.put(0, email="moved{}@example.com", partition=3)
    reading.until(lambda: customers.get("customers", "0") == ("moved0@example.com",))
    assert reading.value("problems_total", reason="two_partitions") == 1
    assert [text for text in reading.said if "two_partitions" in text] == [
        "reference: customers: records that cannot be used, two_partitions"
    ]


@pytest.mark.parametrize("how", ["id", "fewer", "away"])
def test_a_recreated_topic_is_read_anew(reading: Reading, how: str) -> None:
    reading.put(*range(4))
    customers = reading.open()
    customers.check({reading.topic: 4}, {reading.topic: "a"} if how == "id" else {})
    reading.until(lambda: customers.ready)
    customers.tables["customers"].values[b"of the one before"] = customers.tables["customers"].values[b"1"]
    reading.heard.clear()
    if how == "id":
        customers.check({reading.topic: 4}, {reading.topic: "a"})
        customers.check({reading.topic: 4}, {})
        assert customers.ready
        customers.check({reading.topic: 4}, {reading.topic: "b"})
    elif how == "fewer":
        customers.check({reading.topic: 2}, {})
    else:
        customers.check({}, {})
        assert not customers.ready
        customers.check({reading.topic: 4}, {})
    assert not customers.ready
    assert customers._whole._ends.known == {}
    assert f"topics: {reading.topic}: it was recreated: it is read anew, from the beginning" in reading.said
    reading.until(lambda: customers.ready)
    expected = ["0", "1"] if how == "fewer" else ["0", "1", "2", "3"]
    assert sorted(reading.heard["customers"]) == expected
    assert customers.get("customers", "of the one before") is None


def test_a_topic_that_was_away_for_a_moment_goes_on(reading: Reading) -> None:
    reading.put(1)
    customers = reading.open()
    customers.check({reading.topic: 4}, {reading.topic: "a"})
    reading.until(lambda: customers.ready)
    customers.check({}, {})
    assert not customers.ready
    customers.check({reading.topic: 4}, {reading.topic: "a"})
    assert customers.ready
    assert customers._whole._topics[reading.topic].trouble == ""
    assert customers.get("customers", "1") == ("1@example.com",)


@pytest.mark.parametrize("told", ["by the client", "by the broker"])
def test_either_way_to_know_the_end_is_enough(reading: Reading, monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    """A partition to which records keep coming may never have an end to tell of; and a broker may not answer."""
    reading.put(*range(8))
    customers = reading.open()
    whole = customers._whole
    if told == "by the client":
        monkeypatch.setattr(whole._ends, "look", lambda *_: None)
    else:
        monkeypatch.setattr(whole, "_event", lambda *_: None)
    customers.check({reading.topic: 4}, {})
    reading.until(lambda: customers.ready)
    assert len(customers.tables["customers"]) == 8
    assert (whole.lag(reading.topic) is None) == (told == "by the client")


class Stopping:
    """A feed that has enough of its topic at once."""

    def __init__(self) -> None:
        self.whole: WholeTopics | None = None
        self.fed: list[TopicPartition] = []

    def feed(self, taken: Slice) -> None:
        assert self.whole is not None
        self.fed.append(taken.tp)
        self.whole.stop(taken.tp.topic, "enough")

    def waiting(self) -> tuple[TopicPartition, ...]:
        return ()

    def anew(self, topic: str, partitions: Iterable[TopicPartition]) -> None:
        raise AssertionError((topic, partitions))


def test_a_feed_that_stops_its_topic_is_given_nothing_more(reading: Reading) -> None:
    reading.put(*range(4))
    feed = Stopping()
    properties = {"bootstrap.servers": reading.broker.address}
    whole = WholeTopics(properties, "g", {reading.topic: feed}, log=lambda *_: None, now=time.monotonic)
    feed.whole = whole
    whole.check({reading.topic: 4}, {})
    time.sleep(2)  # so that all partitions come at once
    deadline_s = time.monotonic() + 10
    while not feed.fed and time.monotonic() < deadline_s:
        whole.step(100, 1.0)
    # told in the same breath
    whole._gone[reading.topic] = "the offset of partition 0 is gone"
    whole.step(100, 1.0)
    assert len(feed.fed) == 1
    assert whole.why(reading.topic) == "enough"
    whole.close()


class Gone:
    """What the client says when an offset is not there any more."""

    def __init__(self, topic: str, partition: int) -> None:
        self._place = topic, partition

    def topic(self) -> str:
        return self._place[0]

    def partition(self) -> int:
        return self._place[1]


def test_an_offset_that_is_gone_begins_anew(reading: Reading) -> None:
    reading.put(*range(4))
    customers = reading.open()
    customers.check({reading.topic: 4}, {})
    reading.until(lambda: customers.ready)
    reading.heard.clear()
    for partition in (0, 1):
        customers._whole._event(Gone(reading.topic, partition), ck.KafkaError(ck.KafkaError.OFFSET_OUT_OF_RANGE))
    reading.until(lambda: len(reading.heard.get("customers", ())) == 4 and customers.ready)
    assert [text for text in reading.said if "anew" in text] == [
        f"topics: {reading.topic}: the offset of partition 1 is gone: it is read anew, from the beginning"
    ]


def test_what_cannot_go_on_stops_its_topic_alone(reading: Reading) -> None:
    other = Reading(reading.broker)
    other.put(1, code="gold")
    reading.put(1)
    segments = (ReferenceRule("segments", "id", ("code",)), other.spec())
    customers = reading.open((ReferenceRule("customers", "id", ("email", "number")), reading.spec()), segments)
    customers.check({reading.topic: 4, other.topic: 4}, {})
    reading.until(lambda: customers.get("segments", "1") and customers.tables["customers"].halted)
    assert "'number' is missing" in customers.why()
    assert not customers.ready
    assert [text for text in reading.said if "stops" in text] == [
        f"reference: customers stops at partition 1 of {reading.topic}: {customers.tables['customers'].halted}"
    ]
    reading.put(2, number="n-2")
    other.put(2, code="blue")
    reading.until(lambda: customers.get("segments", "2"))
    customers.check({reading.topic: 5, other.topic: 4}, {})
    assert customers.get("customers", "2") is None
    assert {tp.topic for tp in customers._whole._epochs} == {other.topic}
    assert reading.value("ready") == 0
    assert reading.metrics.registry.get_sample_value("segstream_reference_ready", {"reference": "segments"}) == 1


def test_a_stopped_topic_waits_for_no_schema(reading: Reading) -> None:
    reading.produce(b'{"id":5}', b"\0\0\0\0\7framed", 0)
    reading.producer.flush(10)
    customers = reading.open()
    customers.check({reading.topic: 4}, {})
    reading.until(customers._intake.waiting)
    reading.produce(b'{"id":1}', b'{"op":"c","before":null,"after":{"id":1},"source":{}}', 1)
    reading.until(lambda: customers.tables["customers"].halted)
    assert not customers._intake.waiting()
    assert customers.step() == []


def test_a_stopped_topic_begins_again_once_it_was_recreated(reading: Reading) -> None:
    reading.registry = cast("Schemas", None)
    reading.put(1)
    reading.produce(b'{"id":5}', b"\0\0\0\0\7framed", 1)
    reading.put(9)
    customers = reading.open()
    customers.check({reading.topic: 4}, {reading.topic: "a"})
    reading.until(lambda: customers.tables["customers"].halted)
    assert "set registry.url" in customers.why()
    assert customers.get("customers", "1") == ("1@example.com",)
    assert customers._whole._epochs == {}
    customers.check({reading.topic: 4}, {reading.topic: "a"})
    assert customers._whole._epochs == {}
    customers.check({reading.topic: 4}, {reading.topic: "b"})
    assert customers.get("customers", "1") is None
    assert customers.why() == "reference customers: reads"
    # the same records are there, so it stops again
    reading.until(lambda: customers.tables["customers"].halted)
    assert customers.get("customers", "1") == ("1@example.com",)
    assert customers.get("customers", "9") is None


def test_a_held_partition_of_a_recreated_topic_is_let_go(reading: Reading) -> None:
    reading.produce(b'{"id":5}', b"\0\0\0\0\7framed", 0)
    reading.put(1)
    customers = reading.open()
    customers.check({reading.topic: 4}, {reading.topic: "a"})
    held = {TopicPartition(reading.topic, 0)}
    reading.until(lambda: customers._whole._paused == held)
    customers.check({reading.topic: 4}, {reading.topic: "b"})
    assert customers._whole._paused == set()
    assert not customers._intake.waiting()
    # it is read again, and waits again
    reading.until(lambda: customers._whole._paused == held and customers.get("customers", "1"))


def test_what_is_passed_by_is_counted_and_said_once(reading: Reading) -> None:
    for partition in (0, 1):
        reading.produce(b'{"id":1}', b"no json", partition)
        reading.produce(b'{"id":1,"region":"eu"}', b'{"op":"t","source":{"ts_ms":1}}', partition)
        reading.produce(
            b'{"id":2,"region":"eu"}', b'{"op":"c","before":null,"after":{"id":2,"email":5},"source":{}}', 2
        )
    reading.put(3)
    customers = reading.open()
    customers.check({reading.topic: 4}, {})
    reading.until(lambda: customers.ready)
    assert reading.value("problems_total", reason="json") == 2
    assert reading.value("problems_total", reason="truncate") == 2
    assert customers.get("customers", "2") == (5,)
    assert reading.value("records_total") == 7
    texts = [text.partition(": ")[2] for text in reading.said]
    assert len(texts) == 3
    assert texts[1] == "customers: records that cannot be used, truncate"
    assert texts[0].startswith("customers: records that cannot be used, json: ")
    assert texts[2] == "customers: its record key has more columns (id, region): rows that share id are one here"


def test_framed_records_wait_for_their_schema_and_nobody_else_does(reading: Reading) -> None:
    lines = gzip.decompress((DATA / "events.jsonl.gz").read_bytes()).splitlines()
    events = [event for event in map(json.loads, lines) if event["topic"] == "srv.public.customers"]
    rule = ReferenceRule("customers", "id", EMAIL)
    reading.put(1_000, partition=1)
    for event in events:
        key, value = (base64.b64decode(event[name]) if event[name] else None for name in ("key_avro", "value_avro"))
        reading.produce(key, value, 0)
    reading.producer.flush(10)
    customers = reading.open((rule, reading.spec()))
    customers.check({reading.topic: 4}, {})
    reading.until(lambda: customers.get("customers", "1000") and reading.registry.asked)
    assert not customers.ready
    assert "waits for schema id" in customers.why()
    # more of that partition is left with the broker
    reading.put(1_001, partition=0)
    reading.put(1_002, partition=1)
    reading.until(lambda: customers.get("customers", "1002"))
    assert customers.get("customers", "1001") is None
    assert customers._whole._paused == {TopicPartition(reading.topic, 0)}
    reading.registry.up = True
    reading.until(lambda: customers.ready and customers.get("customers", "1001"), 30)
    assert customers._whole._paused == set()
    expected = {}
    for event in events:
        value = json.loads(event["value"]) if event["value"] else {}
        if value.get("op") in ("c", "r", "u"):
            expected[str(value["after"]["id"])] = (value["after"]["email"],)
    assert len(expected) > 1
    assert {key: customers.get("customers", key) for key in expected} == expected


def test_two_references_share_a_topic(reading: Reading) -> None:
    reading.put(1, 2, uuid="x", number=7)
    by_id = (ReferenceRule("customers", "id", EMAIL), reading.spec())
    by_email = (ReferenceRule("emails", "email", ("number", "id")), reading.spec())
    both = reading.open(by_id, by_email)
    both.check({reading.topic: 4}, {})
    reading.until(lambda: both.ready)
    assert both.get("customers", "2") == ("2@example.com",)
    assert both.get("emails", "2@example.com") == (7, 2)
    assert sorted(reading.heard["emails"]) == ["1@example.com", "2@example.com"]
    with pytest.raises(SettingsError, match="read by another reference"):
        reading.open(by_id, (by_email[0], reading.spec(envelope="unwrapped")))


def small(directory: Path | None) -> Scratch:
    return Scratch(directory, map_bytes=1 << 20, headroom_bytes=1 << 19, writes_max=3)


def test_many_keys_move_into_the_file_while_it_reads(reading: Reading, tmp_path: Path) -> None:
    spill = Spill(tmp_path, 100, lambda _, text: reading.said.append(text), small)
    engine: Any = type("Nothing", (Engine,), {"__init__": lambda _: None, "parts": list, "tables": list})()
    customers = reading.open(spill=spill)
    reading.put(*range(100))
    customers.check({reading.topic: 4}, {})
    reading.until(lambda: customers.ready)
    spill.turn(engine, {})
    assert list(tmp_path.iterdir()) == []
    reading.put(100)
    reading.until(lambda: customers.get("customers", "100"))
    spill.turn(engine, {})
    table = customers.tables["customers"]
    assert isinstance(table.values, LmdbRows)
    assert not spill.spilled
    assert spill.index(engine) == {}
    # half way, and afterwards
    table.values._front = {key: data for key, data in table.values.items() if key < b"5"}
    reading.put(7, 70, 101, email="new{}@example.com")
    reading.produce(b'{"id":8}', None, 0)
    reading.until(lambda: customers.get("customers", "101") and customers.deleted("customers", "8"))
    spill.turn(engine, {})
    assert not spill.moving
    assert len(table) == 102
    assert table.get("7") == table.get("7") == ("new7@example.com",)
    assert table.get("70") == ("new70@example.com",)
    assert table.get("8") == ("8@example.com",)
    assert reading.value("rows") == 102
    reading.heard.clear()
    customers.check({}, {})
    customers.check({reading.topic: 4}, {})
    assert len(table) == 0
    reading.until(lambda: customers.ready)
    assert isinstance(table.values, LmdbRows)
    assert len(set(reading.heard["customers"])) == len(table) == 102
    moved = next(text for text in reading.said if "move to" in text)
    assert moved.startswith("101 references, more than rows_in_memory_max")
    spill.close()
    assert list(tmp_path.iterdir()) == []


def test_without_a_broker_nothing_waits(reading: Reading) -> None:
    away = EmbeddedBroker()
    address = away.address
    away.close()
    del away
    reading.broker = cast("EmbeddedBroker", SimpleNamespace(address=address))
    customers = reading.open()
    started_s = time.monotonic()
    customers.check({reading.topic: 4}, {})
    for _ in range(100):
        assert customers.step() == []
    assert time.monotonic() - started_s < 2
    reading.until(lambda: any(text.startswith("kafka: ") for text in reading.said))
    assert customers.why() == "reference customers: reads"
    started_s = time.monotonic()
    customers.close()
    assert time.monotonic() - started_s < 5
    reading.found.clear()
