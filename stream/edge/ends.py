"""Where partitions end, asked now and then and never waited for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # it does not say what it exports

from stream.core.model import TopicPartition
from stream.edge.state import producer_properties

INTERVAL_S: Final = 5.0
REQUEST_TIMEOUT_S: Final = 10.0


class Ends:
    """The ends of some partitions, some seconds old. The broker is asked, as what was fetched last says nothing of a paused one."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self.known: dict[TopicPartition, int] = {}
        self._admin: Final = AdminClient(producer_properties(properties))
        self._next_s = float("-inf")
        self._asked: dict[TopicPartition, Any] = {}

    def look(self, tps: Iterable[TopicPartition], now_s: float) -> None:
        """Take answers that came, and ask for these when it is time again."""
        for tp, future in list(self._asked.items()):
            if future.done():
                del self._asked[tp]
                if future.exception() is None:
                    self.known[tp] = future.result().offset
        if now_s < self._next_s or self._asked:
            return
        wanted = {ck.TopicPartition(*tp): OffsetSpec.latest() for tp in tps}  # type: ignore[no-untyped-call]
        if wanted:
            self._next_s = now_s + INTERVAL_S
            answers = self._admin.list_offsets(wanted, request_timeout=REQUEST_TIMEOUT_S)
            self._asked = {TopicPartition(p.topic, p.partition): future for p, future in answers.items()}

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """Answers about these that came or are under way are not wanted; they are asked about again at once."""
        for tp in tps:
            self.known.pop(tp, None)
            self._asked.pop(tp, None)
        self._next_s = float("-inf")
