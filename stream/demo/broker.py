"""librdkafka's mock cluster, held by this process and used by others over TCP. Not for backlogs: 5 MB a partition."""

from __future__ import annotations

import confluent_kafka as ck

from stream.errors import Unavailable


class EmbeddedBroker:
    """One mock broker on a free loopback port. A topic, of 4 partitions, exists once something is produced to it."""

    partitions = 4

    def __init__(self) -> None:
        self._holder = ck.Producer({"bootstrap.servers": "localhost:9", "test.mock.num.brokers": 1, "log_level": 0})
        brokers = self._holder.list_topics(timeout=10).brokers
        broker = next(iter(brokers.values()))
        self.address = f"{broker.host}:{broker.port}"
        self._reader = ck.Consumer({"bootstrap.servers": self.address, "group.id": "demo-watch", "log_level": 0})

    def producer(self) -> ck.Producer:
        """Writes as a connector does: a repeated request must not bring older records behind newer ones."""
        return ck.Producer(
            {"bootstrap.servers": self.address, "enable.idempotence": True, "linger.ms": 5, "log_level": 0}
        )

    def check_whole(self) -> None:
        """Raises Unavailable when the broker has dropped records: what follows would be a lie."""
        for name, topic in self._reader.list_topics(timeout=10).topics.items():
            for partition in topic.partitions:
                low, _ = self._reader.get_watermark_offsets(
                    ck.TopicPartition(name, partition), timeout=10, cached=False
                )
                if low > 0:
                    raise Unavailable(
                        f"the embedded broker dropped {low} records of {name}[{partition}]: it keeps 5 MB a partition",
                        advice="run the demo shorter or slower",
                    )

    def close(self) -> None:
        self._reader.close()
