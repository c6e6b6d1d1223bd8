"""The stack as a whole: Kafka, a schema registry, PostgreSQL and Connect with Debezium, each a process of its own.

with Stack() as stack:
    stack.start()
    stack.sql("create table ...")
    stack.connect("shop", {"table.include.list": "public.t", **json_converters()})
    stack.wait_caught_up("shop")
"""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from stack.broker import Broker
from stack.connect import Connect
from stack.kit import kit
from stack.postgres import Postgres
from stack.process import POLL_S, StackError
from stack.registry import Registry

T = TypeVar("T")

PARTS: Final = ("kafka", "registry", "postgres", "connect")
CAUGHT_UP_S: Final = 60
QUIET_S: Final = 0.4
MARK_INTERVAL_S: Final = 2


def json_converters(*, schemas: bool = False) -> dict[str, str]:
    """Connector settings for JSON, plain or each with its schema."""
    return {
        f"{side}.converter{name}": value
        for side in ("key", "value")
        for name, value in (
            ("", "org.apache.kafka.connect.json.JsonConverter"),
            (".schemas.enable", str(schemas).lower()),
        )
    }


class Stack:
    """Starts what it is asked for. Connectors, topics and tables of one Stack are told apart by their names alone."""

    def __init__(self) -> None:
        """Raises kit.StackMissing when `make stack` was not run."""
        self._kit = kit()
        # PostgreSQL's account must pass through it; PostgreSQL closes its own folder
        self.folder = Path(tempfile.mkdtemp(prefix="stack-"))
        self.folder.chmod(0o755)
        self._broker: Broker | None = None
        self._registry: Registry | None = None
        self._postgres: Postgres | None = None
        self._connect: Connect | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, parts: Iterable[str] = PARTS, *, partitions: int = 4) -> None:
        """Start the parts and wait until each serves. partitions: of topics that come to exist by being written to.

        Raises StackError with the tail of the log of the part that does not serve; what was started is ended then.
        """
        wanted = set(parts)
        if unknown := wanted - set(PARTS):
            raise ValueError(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
        if "connect" in wanted and self._broker is None:
            wanted.add("kafka")
        try:
            self._start(wanted, partitions)
        except BaseException:
            self.stop()
            raise

    def _start(self, wanted: set[str], partitions: int) -> None:
        # all are set going before any is waited for
        if "registry" in wanted:
            self._registry = Registry(self._kit, self.folder / "registry")
            self._registry.start()
        if "kafka" in wanted:
            self._broker = Broker(self._kit, self.folder / "kafka", partitions=partitions)
            self._broker.format()
            self._broker.start()
        if "postgres" in wanted:
            self._postgres = Postgres(self._kit, self.folder / "postgres")
            self._postgres.format()
            self._postgres.start()
            self._postgres.wait()
        if "kafka" in wanted:
            self.broker.wait()
        if "connect" in wanted:
            self._connect = Connect(self._kit, self.folder / "connect", self.broker.address)
            self._connect.start()
            self._connect.wait()
        if "registry" in wanted:
            self.registry.wait()

    def stop(self) -> None:
        """End every part, by its process id, and remove their data. May be called twice."""
        if self._connect:
            self._connect.server.stop(grace_s=10)
        if self._registry:
            self._registry.server.stop(grace_s=5)
        if self._broker:
            self._broker.server.stop(grace_s=10)
        if self._postgres:
            self._postgres.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def broker(self) -> Broker:
        return _started(self._broker, "kafka")

    @property
    def registry(self) -> Registry:
        return _started(self._registry, "registry")

    @property
    def postgres(self) -> Postgres:
        return _started(self._postgres, "postgres")

    @property
    def worker(self) -> Connect:
        return _started(self._connect, "connect")

    def has(self, part: str) -> bool:
        """Whether this part was started."""
        return {"kafka": self._broker, "registry": self._registry, "postgres": self._postgres,
                "connect": self._connect}[part] is not None  # fmt: skip

    @property
    def broker_address(self) -> str:
        return self.broker.address

    @property
    def registry_url(self) -> str:
        return self.registry.url

    def sql(self, statement: str, params: Any = None) -> list[tuple[Any, ...]]:
        return self.postgres.sql(statement, params)

    def create_topic(self, name: str, partitions: int = 4, config: dict[str, str] | None = None) -> None:
        self.broker.create_topic(name, partitions, config or {})

    def avro_converters(self) -> dict[str, str]:
        """Connector settings for Avro, framed with the registry's schema ids."""
        return {
            f"{side}.converter{name}": value
            for side in ("key", "value")
            for name, value in (
                ("", "io.confluent.connect.avro.AvroConverter"),
                (".schema.registry.url", self.registry_url),
            )
        } | {"schema.name.adjustment.mode": "avro"}

    def connect(self, name: str, config: dict[str, str]) -> None:
        """Create a Debezium PostgreSQL connector and wait until it streams.

        name is its topic prefix, slot and publication too (a-z, 0-9, _), unless config says otherwise.
        """
        defaults = {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "plugin.name": "pgoutput",
            "database.hostname": "127.0.0.1",
            "database.port": str(self.postgres.port),
            "database.user": "segstream",
            "database.dbname": "postgres",
            "topic.prefix": name,
            "slot.name": name,
            "publication.name": name,
            "publication.autocreate.mode": "filtered",
            "decimal.handling.mode": "string",
            "poll.interval.ms": "50",
            # its wait for a slot that a killed worker still holds is 10 s else
            "slot.retry.delay.ms": "500",
            "slot.max.retries": "60",
        }
        whole = defaults | config
        self.worker.put(name, whole)
        self.worker.server.wait(lambda: self._streams(whole["slot.name"]), CAUGHT_UP_S, f"stream from slot {name}")

    def delete_connector(self, name: str) -> None:
        """Delete it with its slot and its publication; its topics stay."""
        self.worker.delete(name)
        self.worker.server.wait(lambda: not self._streams(name), CAUGHT_UP_S, f"let go of slot {name}")
        self.sql("select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s", [name])
        self.sql(f'drop publication if exists "{name}"')

    def restart_connect(self, *, kill: bool = True, offset_flush_interval_ms: int | None = None) -> None:
        """Restart the worker with its connectors. Killed, it repeats all events since its last write of offsets."""
        self.end_connect(kill=kill)
        if offset_flush_interval_ms is not None:
            self.worker.offset_flush_interval_ms = offset_flush_interval_ms
        self.worker.start()
        self.worker.wait()

    def end_connect(self, *, kill: bool = True) -> None:
        if kill:
            self.worker.server.kill()
        else:
            self.worker.server.stop()

    def _streams(self, slot: str) -> bool:
        rows = self.sql("select active from pg_replication_slots where slot_name = %s", [slot])
        return bool(rows and rows[0][0])

    def wait_caught_up(self, slot: str, topic: str | None = None, deadline_s: float = CAUGHT_UP_S) -> dict[int, int]:
        """Wait until all that is committed in the database now is on Kafka.

        slot: of a connector whose topic prefix is the slot's name. A marker is written to the log of the database and
        awaited on Kafka; as other partitions may lag behind the marker's, the topics must be quiet for QUIET_S after
        it. Returns the end offsets of topic (all topics of the prefix are watched when it is None, and {} returned).
        """
        until = time.monotonic() + deadline_s
        self._await_marker(slot, until)
        last: dict[tuple[str, int], int] = {}
        quiet_since = time.monotonic()
        while time.monotonic() < until:
            ends = self._ends(slot, topic)
            if ends != last:
                last, quiet_since = ends, time.monotonic()
            elif time.monotonic() - quiet_since >= QUIET_S:
                return {partition: end for (_, partition), end in ends.items()} if topic else {}
            time.sleep(POLL_S)
        raise StackError(f"the topics of {slot} were not quiet within {deadline_s:.0f} s: is somebody writing?")

    def _await_marker(self, slot: str, until: float) -> None:
        marker = f"mark-{uuid.uuid4().hex}"
        next_mark = 0.0

        def mark() -> None:
            # Again and again: a connector that was just restarted takes its first event to find its place by, and
            # where nothing else is written it waits for a second one.
            nonlocal next_mark
            if time.monotonic() >= next_mark:
                self.sql("select pg_logical_emit_message(true, %s, '')", [marker])
                next_mark = time.monotonic() + MARK_INTERVAL_S

        for message in self._read(f"{slot}.message", until, mark):
            if marker.encode() in (message.value() or b""):
                return
        slots = self.sql(
            "select slot_name, active, confirmed_flush_lsn, pg_current_wal_lsn() from pg_replication_slots"
        )
        raise self.worker.server.error(f"did not bring the marker of slot {slot} to Kafka; slots: {slots}; it")

    def read(self, topic: str, count: int, deadline_s: float = 30) -> list[Message]:
        """The first count records of a topic. Raises StackError when there are fewer on the deadline."""
        found = []
        for message in self._read(topic, time.monotonic() + deadline_s):
            found.append(message)
            if len(found) == count:
                return found
        raise StackError(f"{topic} had {len(found)} of {count} records after {deadline_s:.0f} s")

    def _read(self, topic: str, until: float, idle: Callable[[], None] = lambda: None) -> Iterable[Message]:
        """A topic from its beginning, until the deadline; it need not exist yet. idle is called while nothing comes."""
        consumer = self._consumer()
        try:
            while not (partitions := self._partitions(topic)):
                if time.monotonic() > until:
                    return
                idle()
                time.sleep(POLL_S)
            consumer.assign([TopicPartition(topic, one, OFFSET_BEGINNING) for one in partitions])
            while time.monotonic() < until:
                message = consumer.poll(POLL_S)
                if message is None:
                    idle()
                    continue
                if message.error():
                    raise StackError(f"{topic} cannot be read: {message.error()}")
                yield message
        finally:
            consumer.close()

    def _partitions(self, topic: str) -> list[int]:
        # all topics are listed: asking for one by name would create it
        found = self.broker.admin.list_topics(timeout=10).topics.get(topic)
        return sorted(found.partitions) if found else []

    def _ends(self, prefix: str, topic: str | None) -> dict[tuple[str, int], int]:
        consumer = self._consumer()
        try:
            topics = self.broker.admin.list_topics(timeout=10).topics
            names = [topic] if topic else [name for name in topics if name.startswith(f"{prefix}.")]
            return {
                (name, one): consumer.get_watermark_offsets(TopicPartition(name, one), timeout=10, cached=False)[1]
                for name in names
                for one in (topics[name].partitions if name in topics else ())
            }
        except KafkaException as error:
            raise StackError(f"the ends of {prefix}'s topics cannot be read: {error}") from error
        finally:
            consumer.close()

    def _consumer(self) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self.broker_address,
                "group.id": "stack-reader",  # never joined: partitions are assigned by hand
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )


def _started(part: T | None, name: str) -> T:
    if part is None:
        raise StackError(f"{name} was not started")
    return part
