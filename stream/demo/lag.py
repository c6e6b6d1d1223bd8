"""How many records the consumer's group has not committed: asked of the broker, so it is known while nobody consumes."""

from __future__ import annotations

from typing import Final

import confluent_kafka as ck

TIMEOUT_S: Final = 1.0


class Lag:
    """Of one topic and group. It looks only: it joins nothing and commits nothing."""

    def __init__(self, address: str, group: str, topic: str) -> None:
        self._topic: Final = topic
        self._consumer: Final = ck.Consumer(
            {
                "bootstrap.servers": address,
                "group.id": group,
                "enable.auto.commit": False,
                "isolation.level": "read_uncommitted",  # else it waits for the consumer's open transaction
                "allow.auto.create.topics": False,
                "log_level": 0,
            }
        )
        self._last: int | None = None

    def read(self) -> int | None:
        """Records between the committed offsets and the end; what was last known when the broker does not answer."""
        try:
            topic = self._consumer.list_topics(self._topic, timeout=TIMEOUT_S).topics[self._topic]
            places = [ck.TopicPartition(self._topic, partition) for partition in topic.partitions]
            lag = 0
            for place in self._consumer.committed(places, timeout=TIMEOUT_S) if places else ():
                low, high = self._consumer.get_watermark_offsets(place, timeout=TIMEOUT_S, cached=False)
                lag += high - max(place.offset, low)  # an offset below 0: none is committed
        except ck.KafkaException:
            return self._last
        self._last = lag
        return lag

    def close(self) -> None:
        self._consumer.close()
