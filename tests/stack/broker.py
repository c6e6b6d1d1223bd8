"""Kafka: one node, KRaft, plain text on loopback."""
# ruff: noqa: S603 - it runs programs of its own installation

from __future__ import annotations

import base64
import subprocess
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from stack.kit import Kit
from stack.process import Server, StackError, free_ports, listens

READY_S = 60


class Broker:
    """Keeps its port and its data over stop, kill and start."""

    def __init__(self, kit: Kit, folder: Path, *, partitions: int = 4, heap_mb: int = 768) -> None:
        folder.mkdir(parents=True)
        self.port, controller = free_ports(2)
        self.address = f"127.0.0.1:{self.port}"
        self._kit = kit
        self._folder = folder
        self._settings = folder / "server.properties"
        self._settings.write_text(_properties(folder, self.port, controller, partitions))
        self.server = Server(
            "kafka", [*_java(kit), f"-Xmx{heap_mb}m", "-cp", f"{kit.kafka}/*", "kafka.Kafka", self._settings], folder
        )
        self._admin: AdminClient | None = None

    def format(self) -> None:
        # led by a letter: an id that begins with a dash would be taken for an option
        cluster = base64.urlsafe_b64encode(b"\x00" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        done = subprocess.run(
            [
                *_java(self._kit), "-XX:TieredStopAtLevel=1", "-cp", f"{self._kit.kafka}/*", "kafka.tools.StorageTool",
                "format", "--standalone", "-t", cluster, "-c", str(self._settings),
            ],
            capture_output=True, text=True, timeout=READY_S, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise StackError(f"kafka: its storage could not be formatted: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    def start(self) -> None:
        self.server.start()

    def wait(self) -> None:
        # librdkafka complains on stderr about each refused connect, so the port is tried first
        self.server.wait(lambda: listens(self.port), READY_S, "listen")
        self.server.wait(self._answers, READY_S)

    def _answers(self) -> bool:
        try:
            return bool(self.admin.list_topics(timeout=5).brokers)
        except KafkaException:
            return False

    @property
    def admin(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        return self._admin

    def create_topic(self, name: str, partitions: int, config: dict[str, str]) -> None:
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=config)
        self.admin.create_topics([topic], operation_timeout=20)[name].result(30)


def _java(kit: Kit) -> list[str]:
    return [str(kit.java), "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.showDateTime=true"]


def _properties(folder: Path, port: int, controller: int, partitions: int) -> str:
    return f"""\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder / "data"}
num.partitions={partitions}
auto.create.topics.enable=true
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=300
group.consumer.heartbeat.interval.ms=1000
log.cleaner.backoff.ms=1000
"""
