"""Looks at Kafka without touching it: no group is joined, nothing is committed, produced or created.

Brokers without the administrative requests (or a user without the rights) leave answers out: None means unknown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

import confluent_kafka as ck
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package does not say what it exports
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from stream.core.model import Slice, TopicPartition
from stream.edge.kafka import FIRST_CALL_TIMEOUT_S, Position, consumer_properties
from stream.edge.state import producer_properties
from stream.edge.trouble import AUTHORIZATION_ERRORS, refused, trouble

ANSWER_TIMEOUT_S: Final = 5.0
SAMPLE_TIMEOUT_S: Final = 10.0
SAMPLE_BYTES_MAX: Final = 67_108_864
PARTITIONS_SAMPLED_MAX: Final = 32


class TopicFacts(NamedTuple):
    """What brokers tell about a topic. partitions: 0 when it is not there; the rest is None when unknown.

    operations: what this user may do with it, in lower case (read, write, describe …).
    """

    partitions: int
    config: Mapping[str, str] | None
    operations: frozenset[str] | None
    topic_id: str | None


class Answer(NamedTuple):
    """Whether something would work: None when nobody tells; why not, in one line; denied: for lack of rights."""

    works: bool | None
    why: str = ""
    denied: bool = False


class Sampled(NamedTuple):
    """Some records of one topic. low, high: of each partition. why: what went wrong, empty when nothing did."""

    slices: list[Slice]
    low: dict[int, int]
    high: dict[int, int]
    why: str = ""
    denied: bool = False


class Probe:
    """Asks the brokers. Every method ends within some seconds. Raises SettingsError for properties that are refused."""

    def __init__(self, properties: Mapping[str, Any], group: str) -> None:
        self._errors: list[ck.KafkaError] = []
        self._group: Final = group
        quiet: dict[str, Any] = {"log_level": 0, "error_cb": self._errors.append}
        self._producing: Final = {**producer_properties(properties), **quiet}
        try:
            self._admin: Final = AdminClient(self._producing)
            consuming = consumer_properties(properties, **quiet)
            consuming.pop("group.instance.id", None)
            # offsets are asked under the group's own name without joining it; records are read under another
            self._offsets: Final = ck.Consumer({**consuming, "group.id": group})
            self._records: Final = ck.Consumer(
                {
                    **consuming,
                    "group.id": f"{group}-check",
                    "auto.offset.reset": "earliest",
                    "fetch.max.bytes": 16_777_216,
                }
            )
        except ck.KafkaException as error:
            raise refused(error) from error

    def topics(self) -> dict[str, int]:
        """Every topic's partition count. Raises Unavailable or AuthError, saying what the client saw last."""
        try:
            found = self._offsets.list_topics(timeout=FIRST_CALL_TIMEOUT_S).topics
        except ck.KafkaException as error:
            self._offsets.poll(0)  # what the client has to report is handed out here only
            raise trouble("no broker answers", error.args[0], self._errors) from error
        return {name: len(topic.partitions) for name, topic in found.items() if topic.error is None}

    def facts(self, topics: Sequence[str], counts: Mapping[str, int]) -> tuple[dict[str, TopicFacts], frozenset[str]]:
        """Facts of these topics, and what this user may do with the cluster as a whole (empty when unknown)."""
        there = [name for name in topics if name in counts]
        configs: dict[Any, Future[Any]] = {}
        described: dict[str, Future[Any]] = {}
        cluster: Future[Any] | None = None
        # all are asked before any is waited for: a broker that answers none costs one time-out
        if there:
            resources = [ConfigResource(ResourceType.TOPIC, name) for name in there]
            configs = self._admin.describe_configs(resources, request_timeout=ANSWER_TIMEOUT_S)
            described = self._admin.describe_topics(
                ck.TopicCollection(there), include_authorized_operations=True, request_timeout=ANSWER_TIMEOUT_S
            )
        if there or topics:
            cluster = self._admin.describe_cluster(include_authorized_operations=True, request_timeout=ANSWER_TIMEOUT_S)
        config = {resource.name: _result(future) for resource, future in configs.items()}
        rights = _result(cluster) if cluster is not None else None
        found: dict[str, TopicFacts] = {}
        for name in topics:
            entries = config.get(name)
            told = _result(described[name]) if name in described else None
            found[name] = TopicFacts(
                counts.get(name, 0),
                None if entries is None else {key: str(entry.value) for key, entry in entries.items()},
                None if told is None else _operations(told),
                None if told is None or told.topic_id is None else str(told.topic_id),
            )
        return found, (_operations(rights) or frozenset()) if rights is not None else frozenset()

    def creatable(self, topics: Mapping[str, int], replication_factor: int | None) -> dict[str, Answer]:
        """Whether these topics (with so many partitions) could be created: the brokers validate, and create nothing."""
        if not topics:
            return {}
        new = [
            NewTopic(n, count, replication_factor or -1, config={"cleanup.policy": "compact"})
            for n, count in topics.items()
        ]
        futures = self._admin.create_topics(new, validate_only=True, request_timeout=ANSWER_TIMEOUT_S)
        return {name: _answer(future) for name, future in futures.items()}

    def transactions(self) -> Answer:
        """Whether the brokers begin transactions for this user. The id is this command's own: nobody is fenced."""
        producer = ck.Producer({**self._producing, "transactional.id": f"{self._group}-check"})
        try:
            producer.init_transactions(FIRST_CALL_TIMEOUT_S)
        except ck.KafkaException as error:
            return Answer(
                works=False, why=str(error.args[0].str()), denied=error.args[0].code() in AUTHORIZATION_ERRORS
            )
        return Answer(works=True)

    def committed(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, Position]:
        """The group's offsets, without joining it. Raises Unavailable, AuthError."""
        found: dict[TopicPartition, Position] = {}
        try:
            parts = self._offsets.committed([ck.TopicPartition(*tp) for tp in tps], timeout=FIRST_CALL_TIMEOUT_S)
        except ck.KafkaException as error:
            raise trouble(f"the offsets of group {self._group}", error.args[0], self._errors) from error
        for part in parts:
            if part.error is not None:
                raise trouble(f"the offsets of group {self._group}", part.error, self._errors)
            if part.offset >= 0:
                found[TopicPartition(part.topic, part.partition)] = Position(part.offset, part.metadata or "")
        return found

    def sample(self, topic: str, partitions: int, begin: int, end: int) -> Sampled:
        """Up to so many records from each partition's beginning, and from its end, in the order of their offsets."""
        low: dict[int, int] = {}
        high: dict[int, int] = {}
        windows: dict[int, list[tuple[int, int]]] = {}
        try:
            for number in range(min(partitions, PARTITIONS_SAMPLED_MAX)):
                place = ck.TopicPartition(topic, number)
                low[number], high[number] = self._records.get_watermark_offsets(place, ANSWER_TIMEOUT_S, cached=False)
                first, last = low[number], high[number]
                middle = min(first + begin, last)
                windows[number] = [(first, middle), (max(middle, last - end), last)]
            slices = [*self._read(topic, {n: w[0] for n, w in windows.items()}, begin)]
            slices += self._read(topic, {n: w[1] for n, w in windows.items()}, end)
        except ck.KafkaException as error:
            reason = error.args[0]
            return Sampled([], low, high, str(reason.str()), reason.code() in AUTHORIZATION_ERRORS)
        return Sampled(slices, low, high)

    def _read(self, topic: str, windows: Mapping[int, tuple[int, int]], most: int) -> list[Slice]:
        open_ = {number: end for number, (start, end) in windows.items() if start < end}
        runs: dict[int, list[Any]] = {number: [] for number in open_}
        if not open_:
            return []
        self._records.assign([ck.TopicPartition(topic, number, windows[number][0]) for number in open_])
        self._records.resume([ck.TopicPartition(topic, number) for number in open_])  # a pause outlives an assignment
        deadline = time.monotonic() + SAMPLE_TIMEOUT_S
        size = 0
        try:
            while open_ and time.monotonic() < deadline and size < SAMPLE_BYTES_MAX:
                message: Any
                for message in self._records.consume(1_000, 0.2):
                    number, error = message.partition(), message.error()
                    if error is not None:
                        if error.code() != ck.KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own name
                            raise ck.KafkaException(error)
                        open_.pop(number, None)
                    elif number in open_:
                        if message.offset() < open_[number]:
                            runs[number].append(message)
                            size += len(message.value() or b"")
                        if message.offset() + 1 >= open_[number] or len(runs[number]) >= most:
                            del open_[number]
                            self._records.pause([ck.TopicPartition(topic, number)])
        finally:
            self._records.unassign()
        return [_slice(TopicPartition(topic, number), run) for number, run in runs.items() if run]

    def close(self) -> None:
        self._offsets.close()
        self._records.close()


def _slice(tp: TopicPartition, run: list[Any]) -> Slice:
    headers: Callable[[int], Sequence[tuple[str, bytes | None]]] = lambda i: run[i].headers() or ()  # noqa: E731 - one expression, beside the others
    return Slice(
        tp,
        0,
        [m.offset() for m in run],
        [m.key() for m in run],
        [m.value() for m in run],
        [m.timestamp()[1] for m in run],
        run,
        headers,
    )


def _result(future: Future[Any]) -> Any:
    """What a request brought, None when it failed."""
    try:
        return future.result(ANSWER_TIMEOUT_S + 1)
    except (ck.KafkaException, TimeoutError):
        return None


def _answer(future: Future[Any]) -> Answer:
    try:
        future.result(ANSWER_TIMEOUT_S + 1)
    except ck.KafkaException as failure:
        error = failure.args[0]
        if error.code() in (ck.KafkaError._TIMED_OUT, ck.KafkaError._UNSUPPORTED_FEATURE):  # noqa: SLF001 - the client's own names
            return Answer(None, str(error.str()))
        if error.code() == ck.KafkaError.TOPIC_ALREADY_EXISTS:
            return Answer(works=True)
        return Answer(works=False, why=str(error.str()), denied=error.code() in AUTHORIZATION_ERRORS)
    except TimeoutError:
        return Answer(None, "no answer")
    return Answer(works=True)


def _operations(described: Any) -> frozenset[str] | None:
    allowed = described.authorized_operations
    return None if allowed is None else frozenset(str(operation.name).lower() for operation in allowed)
