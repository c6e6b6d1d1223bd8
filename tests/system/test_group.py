"""The group's own word, on a real Kafka without a source database: a process that stands still, and what it may do after."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewPartitions
from shop import Instance, Segments, Shop, await_equal, settings
from stack.stack import Stack

SEGMENTS = ("gold", "silver")
NUMBERS = count(1)
SESSION_S = 3


@pytest.fixture(scope="module")
def kafka() -> Iterator[Stack]:
    with Stack() as stack:
        stack.start(("kafka",))
        yield stack


class Table:
    """A table with (segment, member) as its key, and its topic, written as a connector would."""

    def __init__(self, kafka: Stack, partitions: int = 4) -> None:
        self.topic = f"group{next(NUMBERS)}.public.members"
        self.rows: set[tuple[str, str]] = set()
        self.partitions = partitions
        self.tables = {
            self.topic: {
                "segment": {"column": "segment"}, "member": {"id": "member"}, "partitioned_by": "membership",
                "format": "json", "envelope": "debezium",
            }
        }  # fmt: skip
        self._rng = random.Random(3)
        self._address = kafka.broker_address
        self._producer = self._fresh()
        kafka.create_topic(self.topic, partitions)

    def _fresh(self) -> Producer:
        # a topic that was just made refuses the first batch: without idempotence its repetition lands behind newer records
        return Producer(
            {"bootstrap.servers": self._address, "enable.idempotence": True, "linger.ms": 1, "log_level": 0}
        )

    def raise_to(self, kafka: Stack, partitions: int) -> None:
        kafka.broker.admin.create_partitions([NewPartitions(self.topic, partitions)])[self.topic].result(10)
        self.partitions = partitions
        self._producer = self._fresh()  # the other one does not know yet

    def write(self, changes: int) -> None:
        for _ in range(changes):
            row = (self._rng.choice(SEGMENTS), f"c-{self._rng.randrange(60)}")
            key = {"segment": row[0], "member": row[1]}
            gone = row in self.rows
            value = {
                "op": "d" if gone else "c", "before": key if gone else None, "after": None if gone else key,
                "source": {"ts_ms": int(time.time() * 1000), "snapshot": "false"},
            }  # fmt: skip
            self.rows ^= {row}
            number = hash_of(row) % self.partitions
            self._send(number, key, value)
            if gone:
                self._send(number, key, None)
        assert self._producer.flush(10) == 0

    def _send(self, partition: int, key: Any, value: Any) -> None:
        data = None if value is None else json.dumps(value)
        self._producer.produce(self.topic, key=json.dumps(key), value=data, partition=partition)

    def truth(self) -> Segments:
        found: Segments = {}
        for segment, member in self.rows:
            found.setdefault(segment, set()).add(member)
        return found


def hash_of(row: tuple[str, str]) -> int:
    return int(row[1].removeprefix("c-")) + len(row[0])


def committed(kafka: Stack, group: str, table: Table) -> dict[int, int]:
    consumer = Consumer({"bootstrap.servers": kafka.broker_address, "group.id": group, "log_level": 0})
    try:
        parts = [TopicPartition(table.topic, number) for number in range(table.partitions)]
        return {part.partition: part.offset for part in consumer.committed(parts, timeout=10)}
    finally:
        consumer.close()


def test_a_process_that_stood_still_writes_nothing_before_the_group_knows_it_again(
    kafka: Stack, tmp_path: Path
) -> None:
    table, group = Table(kafka), "stood"
    table.write(200)
    with Shop(tmp_path, SEGMENTS, faults={"latency_s": 0.3}) as shop:
        values = settings(kafka, shop, table.tables, group=group)
        with Instance(tmp_path, "one", values) as one:
            await_equal(shop, table.truth, running=one)
            before = shop.stats()["requests"]
            table.write(100)
            one.server.wait(lambda: shop.stats()["requests"] > before, 10, "send")
            table.write(200)
            time.sleep(0.15)  # calls queued and in flight, a transaction perhaps
            one.server.pause()
            with Instance(tmp_path, "two", values) as two:
                time.sleep(SESSION_S + 1)
                table.write(300)  # what the first holds is past now
                await_equal(shop, table.truth, running=two)
                offsets, requests = committed(kafka, group, table), shop.stats()["requests"]
                one.server.resume()
                time.sleep(1.5)
                assert shop.members() == table.truth()
                after = committed(kafka, group, table)
                assert all(after[number] >= offset for number, offset in offsets.items()), (offsets, after)
                assert shop.stats()["requests"] <= requests + 1, one.server.tail()  # a token, nothing else
                for _ in range(3):
                    table.write(50)
                    time.sleep(0.3)
                await_equal(shop, table.truth, running=two)
                two.stop()
            table.write(50)
            await_equal(shop, table.truth, running=one)
            one.stop()
        assert not shop.stats()["overlaps"], "operations of one membership were in flight at once"


def test_the_brokers_own_group_protocol(kafka: Stack, tmp_path: Path) -> None:
    """KIP-848: its settings are the consumer's alone, and no client complains about them."""
    table = Table(kafka)
    table.write(200)
    with Shop(tmp_path, SEGMENTS) as shop:
        values = settings(kafka, shop, table.tables, group="protocol")
        values["kafka"] = {
            "bootstrap.servers": kafka.broker_address, "group.id": "protocol", "group.protocol": "consumer",
            "group.instance.id": "member-one",
        }  # fmt: skip
        with Instance(tmp_path, "one", values) as one:
            await_equal(shop, table.truth, running=one)
            values["kafka"]["group.instance.id"] = "member-two"
            with Instance(tmp_path, "two", values) as two:
                two.await_ready()
                two.server.wait(lambda: two.metric("segstream_assigned_partitions") == 2, 20, "get its share")
                table.write(100)
                await_equal(shop, table.truth, running=two)
                one.kill()
                table.write(100)
                await_equal(shop, table.truth, running=two)
                two.stop()
                for instance in (one, two):
                    log = instance.server.tail(500)
                    assert "CONFWARN" not in log
                    assert "Traceback" not in log


@pytest.mark.parametrize("partitioned_by", ["membership", "none"])
def test_a_topic_raised_to_more_partitions_stops(kafka: Stack, tmp_path: Path, partitioned_by: str) -> None:
    """Rows whose keys changed partition left their state behind: going on would miss their deletes, in silence."""
    table = Table(kafka, partitions=2)
    table.tables[table.topic]["partitioned_by"] = partitioned_by
    table.write(50)
    with Shop(tmp_path, SEGMENTS) as shop:
        values = settings(kafka, shop, table.tables, group=f"more-{partitioned_by}")
        with Instance(tmp_path, "one", values) as one:
            await_equal(shop, table.truth, running=one)
            table.raise_to(kafka, 3)
            until_s = time.monotonic() + 20
            while one.server.is_running() and time.monotonic() < until_s:
                time.sleep(0.1)
            assert one.server.exit_code == 65, one.server.tail()
            assert "delete" in one.server.tail()


def test_a_topic_that_was_made_anew_is_not_mixed_with_what_was_known_of_it(kafka: Stack, tmp_path: Path) -> None:
    table = Table(kafka)
    table.write(50)
    with Shop(tmp_path, SEGMENTS) as shop:
        values = settings(kafka, shop, table.tables, group="anew")
        with Instance(tmp_path, "one", values) as one:
            await_equal(shop, table.truth, running=one)
            one.stop()
        kafka.broker.admin.delete_topics([table.topic])[table.topic].result(10)
        time.sleep(1)
        kafka.create_topic(table.topic, table.partitions)
        table.write(100)
        with Instance(tmp_path, "two", values) as two:
            until_s = time.monotonic() + 20
            while two.server.is_running() and time.monotonic() < until_s:
                time.sleep(0.1)
            assert two.server.exit_code == 65, two.server.tail()
            assert "delete" in two.server.tail()
