"""The state topics: row states and offsets written in one transaction, and read back on assignment.

Without transactions (brokers that have none) the states are written and acknowledged first, then the loop commits the offsets.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import confluent_kafka as ck
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package does not say what it exports
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from stream.core.effects import Commit
from stream.core.model import TopicPartition
from stream.edge.trouble import patiently
from stream.errors import DataError, Unavailable

FLUSH_TIMEOUT_S: Final = 30.0
CLOSE_S: Final = 1.0
READ_MAX: Final = 10_000
ADMIN_TIMEOUT_S: Final = 15.0
IDS_TIMEOUT_S: Final = 5.0
"""Asked now and then while records wait."""
MARGIN_S: Final = 1.0
"""The client's own time-out says more than ours, so it goes first."""


def state_topic(group: str, topic: str) -> str:
    return f"{group}-{topic}-rows"


class Committed(NamedTuple):
    """How a commit ended. fatal: the producer cannot go on (another instance took its place, or the broker refused for good)."""

    number: int
    ok: bool
    fatal: bool
    detail: str
    seconds: float


class Committer:
    """One thread that writes one commit at a time; the loop asks finished() and never waits while it runs."""

    def __init__(
        self,
        properties: Mapping[str, Any],
        group: str,
        *,
        transactions: bool,
        transaction_timeout_ms: int,
        log: Callable[[str, str], None],
    ) -> None:
        self._group: Final = group
        self._transactions: Final = transactions
        self._log: Final = log
        owned: dict[str, Any] = {
            "enable.idempotence": True,
            "linger.ms": 5,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 1_048_576,
            "error_cb": lambda error: log("kafka", str(error.str())),
        }
        if transactions:
            # a new id for each process: who may commit is decided by the group's membership, not by this name
            owned["transactional.id"] = f"{group}-{uuid.uuid4().hex[:12]}"
            owned["transaction.timeout.ms"] = transaction_timeout_ms
        self._producer = ck.Producer({**producer_properties(properties), **owned})
        self._jobs: queue.SimpleQueue[tuple[Commit, Any] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Committed] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._ready = not transactions

    def start(self) -> None:
        """Raises Unavailable when the broker does not take transactions within the time-out."""
        if self._transactions:
            try:
                self._producer.init_transactions(FLUSH_TIMEOUT_S)
            except ck.KafkaException as error:
                raise Unavailable(
                    f"the broker does not begin transactions: {error.args[0].str()}",
                    advice="a broker without transactions needs `transactions: false`",
                ) from error
        self._thread.start()

    def submit(self, commit: Commit, group_metadata: Any) -> None:
        self._jobs.put((commit, group_metadata))

    def finished(self, wait_s: float = 0.0) -> Committed | None:
        """The commit that ended, waiting for at most so long; None when none did."""
        try:
            return self._done.get(timeout=wait_s) if wait_s else self._done.get_nowait()
        except queue.Empty:
            return None

    def close(self) -> None:
        """End the thread. Who needs the commit in flight waits for it before; one that hangs is left to the broker's time-out."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            commit, metadata = job
            started = time.monotonic()
            try:
                ok, fatal, detail = self._commit(commit, metadata)
            except Exception as error:  # noqa: BLE001 - the thread must answer, whatever happened
                ok, fatal, detail = False, True, f"{type(error).__name__}: {error}"
            self._done.put(Committed(commit.number, ok, fatal, detail, time.monotonic() - started))

    def _commit(self, commit: Commit, metadata: Any) -> tuple[bool, bool, str]:
        if not self._transactions:
            failed = self._write(commit)
            return not failed, False, failed
        producer = self._producer
        producer.begin_transaction()
        try:
            failed = self._write(commit)
            if failed:
                self._insist(lambda: producer.abort_transaction(FLUSH_TIMEOUT_S))
                return False, False, failed
            offsets = [ck.TopicPartition(*tp, o, metadata=m) for tp, (o, m) in commit.offsets.items()]
            # retriable errors leave open whether it happened: only asking again tells
            self._insist(lambda: producer.send_offsets_to_transaction(offsets, metadata, FLUSH_TIMEOUT_S))
            self._insist(lambda: producer.commit_transaction(FLUSH_TIMEOUT_S))
        except ck.KafkaException as error:
            reason = error.args[0]
            if reason.txn_requires_abort():
                self._insist(lambda: producer.abort_transaction(FLUSH_TIMEOUT_S))
                return False, False, str(reason.str())
            return False, True, str(reason.str())
        return True, False, ""

    def _insist(self, step: Callable[[], None]) -> None:
        deadline = time.monotonic() + 2 * FLUSH_TIMEOUT_S
        while True:
            try:
                step()
            except ck.KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def _write(self, commit: Commit) -> str:
        """Produce the writes and wait for them. The reason of the first failure, empty when all are there."""
        failures: list[str] = []

        def reported(error: ck.KafkaError | None, _: Any) -> None:
            if error is not None and not failures:
                failures.append(str(error.str()))

        callback = {} if self._transactions else {"on_delivery": reported}
        for tp, states in commit.states.items():
            topic = state_topic(self._group, tp.topic)
            rest: list[dict[str, Any]] = [{"key": key, "value": value} for key, value in states.items()]
            while rest:
                queued = self._producer.produce_batch(topic, rest, partition=tp.partition, **callback)
                if queued < len(rest):
                    failed = [m for m in rest if "_error" in m]
                    if any(m["_error"].code() != ck.KafkaError._QUEUE_FULL for m in failed):  # noqa: SLF001 - the client's own name
                        return str(failed[0]["_error"].str())
                    self._producer.poll(0.1)
                    rest = [{"key": m["key"], "value": m["value"]} for m in failed]
                else:
                    rest = []
        left = self._producer.flush(FLUSH_TIMEOUT_S)
        if left:
            return f"{left} state records were not acknowledged in {FLUSH_TIMEOUT_S:g} s"
        return failures[0] if failures else ""


def producer_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The settings' properties without those that only a consumer has.

    Its clients print nothing by themselves: what they have to say comes as an error, and the consumer says it, too.
    """
    consumer_only = (
        "group.", "session.timeout.ms", "heartbeat.interval.ms", "max.poll.interval.ms", "partition.assignment.strategy",
        "fetch.", "queued.", "max.partition.fetch.bytes", "check.crcs", "coordinator.query.interval.ms",
    )  # fmt: skip
    return {**quiet(properties), **{k: v for k, v in properties.items() if not k.startswith(consumer_only)}}


def quiet(properties: Mapping[str, Any]) -> dict[str, Any]:
    """What keeps librdkafka from writing to stderr, past the log and its redaction; nothing where debug is asked for."""
    return {} if "debug" in properties else {"log_level": 0}


def reader_properties(properties: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Properties of a consumer that reads whole partitions outside any group: librdkafka wants a name of one all the same."""
    ours = ("group.instance.id", "group.protocol", "group.remote.assignor", "partition.assignment.strategy")
    return {
        **quiet(properties),
        **{name: value for name, value in properties.items() if not name.startswith(ours)},
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
    }


class Restoration:
    """Reads the state of some partitions, from their beginning to the end that was captured at the start, step by step."""

    def __init__(self, properties: Mapping[str, Any], group: str, tps: Sequence[TopicPartition]) -> None:
        self.rows: dict[TopicPartition, MutableMapping[bytes, bytes]] = {tp: {} for tp in tps}
        self.records = 0
        self._by_topic = {state_topic(group, tp.topic): tp.topic for tp in tps}
        base = reader_properties(properties, f"{group}-restore")
        self._consumer = ck.Consumer(base)
        # the end with open transactions included: they must be waited for, one way or the other
        uncommitted = ck.Consumer({**base, "isolation.level": "read_uncommitted"})
        self._ends: dict[tuple[str, int], int] = {}
        try:
            for tp in tps:
                place = (state_topic(group, tp.topic), tp.partition)
                # another instance may have made the topic a moment ago, and no broker leads its partitions yet
                low, high = patiently(
                    partial(
                        uncommitted.get_watermark_offsets,
                        ck.TopicPartition(*place),
                        timeout=ADMIN_TIMEOUT_S,
                        cached=False,
                    ),
                    ADMIN_TIMEOUT_S,
                )
                if high > low:
                    self._ends[place] = high
        except ck.KafkaException as error:
            raise Unavailable(f"state topic of {tps[0].topic}: {error.args[0].str()}") from error
        finally:
            uncommitted.close()
        self._consumer.assign([ck.TopicPartition(*place, ck.OFFSET_BEGINNING) for place in self._ends])

    def step(self, wait_s: float) -> bool:
        """Read on for at most so long; True when everything is there. Raises Unavailable on a broker's error."""
        if not self._ends:
            return True
        message: Any
        for message in self._consumer.consume(READ_MAX, wait_s):
            error = message.error()
            place = (message.topic(), message.partition())
            if error is not None:
                if error.code() != ck.KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own name
                    raise Unavailable(f"reading {place[0]}[{place[1]}]: {error.str()}")
                if message.offset() >= self._ends.get(place, 0):
                    self._ends.pop(place, None)
                continue
            rows = self.rows[TopicPartition(self._by_topic[place[0]], place[1])]
            key, value = message.key(), message.value()
            self.records += 1
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value
            if message.offset() + 1 >= self._ends.get(place, 1 << 62):
                self._ends.pop(place, None)
        return not self._ends

    def close(self) -> None:
        self._consumer.close()


class Topics:
    """Creates and verifies the topics that the program writes; knows the ids of those that it reads.

    verify: whether the broker can be asked for configurations and ids.
    """

    def __init__(
        self, properties: Mapping[str, Any], *, create: bool, verify: bool, replication_factor: int | None
    ) -> None:
        self._admin = AdminClient(producer_properties(properties))
        self._create = create
        self._verify = verify
        self._replication = replication_factor

    def ensure(self, topic: str, partitions: int, known: Mapping[str, int]) -> bool:
        """A compacted topic with so many partitions. Raises DataError when another stands in its place, Unavailable.

        Whether it may hold something already: not when it was made here just now, or does not exist.
        """
        if topic not in known:
            if not self._create:
                if self._verify:
                    # a broker that makes topics by itself makes them with a retention: the rows would be gone after a week
                    raise DataError(
                        f"topic {topic} does not exist, and state.create_topics is false",
                        advice=_made(topic, partitions),
                    )
                return False
            new = NewTopic(
                topic,
                num_partitions=partitions,
                replication_factor=self._replication or -1,
                config={"cleanup.policy": "compact", "compression.type": "producer"},
            )
            future = self._admin.create_topics([new], request_timeout=ADMIN_TIMEOUT_S)[topic]
            try:
                future.result(ADMIN_TIMEOUT_S + MARGIN_S)
            except (ck.KafkaException, TimeoutError) as error:
                # a broker may not know yet what another instance made, and wrote to, a moment ago
                if _code(error) == ck.KafkaError.TOPIC_ALREADY_EXISTS:
                    return True
                raise Unavailable(
                    f"cannot create topic {topic}: {_text(error)}", advice=_made(topic, partitions)
                ) from error
            return False
        if known[topic] != partitions:
            raise DataError(
                f"state topic {topic} has {known[topic]} partitions, its source has {partitions}",
                advice=f"the source topic was recreated or its partition count raised: delete {topic} and the group's offsets "
                "of the source topic, then start anew with `start: beginning`",
            )
        policy = self.policy(topic)
        if policy not in ("", "compact"):
            raise DataError(
                f"state topic {topic} has cleanup.policy={policy}: its rows would be lost",
                advice=f"kafka-configs --alter --entity-type topics --entity-name {topic} --add-config cleanup.policy=compact",
            )
        return True

    def policy(self, topic: str) -> str:
        """Its cleanup.policy; empty where that may not be asked. Raises Unavailable."""
        if not self._verify:
            return ""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        future = self._admin.describe_configs([resource], request_timeout=ADMIN_TIMEOUT_S)[resource]
        try:
            config = future.result(ADMIN_TIMEOUT_S + MARGIN_S)
        except (ck.KafkaException, TimeoutError) as error:
            if _code(error) == ck.KafkaError.TOPIC_AUTHORIZATION_FAILED:
                return ""  # reading configs is a right of its own: without it the operator vouches for the topic
            raise Unavailable(f"configuration of {topic}: {_text(error)}") from error
        return str(config["cleanup.policy"].value)

    def ids(self, topics: Sequence[str]) -> dict[str, str]:
        """The topics' ids; empty where the broker does not tell."""
        if not self._verify or not topics:
            return {}
        try:
            futures = self._admin.describe_topics(ck.TopicCollection(list(topics)), request_timeout=IDS_TIMEOUT_S)
            return {name: str(future.result(IDS_TIMEOUT_S + MARGIN_S).topic_id) for name, future in futures.items()}
        except (ck.KafkaException, TimeoutError):
            return {}


def _made(topic: str, partitions: int) -> str:
    return f"create it: kafka-topics --create --topic {topic} --partitions {partitions} --config cleanup.policy=compact"


def _code(error: Exception) -> int | None:
    return int(error.args[0].code()) if isinstance(error, ck.KafkaException) else None


def _text(error: Exception) -> str:
    return str(error.args[0].str()) if isinstance(error, ck.KafkaException) else "no answer"
