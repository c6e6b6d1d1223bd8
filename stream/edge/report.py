"""From what the engine counted to what Prometheus reads; once a second, so that it costs nothing per record."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from stream.core.engine import Engine
from stream.core.model import TopicPartition
from stream.edge.ends import Ends
from stream.edge.metrics import LATENCY_BUCKETS_S, Metrics
from stream.edge.standstill import Standstill

INTERVAL_S: Final = 1.0
REFUSED: Final = frozenset({"auth", "forbidden", "credentials"})
"""Reasons for which nothing is sent though retail.red did not ask for a pause."""


class Report:
    """Reads the engine's counts into the metrics. `totals` keeps what the log's summary lines say."""

    def __init__(self, metrics: Metrics, properties: Mapping[str, Any]) -> None:
        self._metrics: Final = metrics
        self._ends: Final = Ends(properties)
        self._standstill: Final = Standstill()
        self._next_s = 0.0
        self._written_s = float("inf")
        self.totals: Counter[str] = Counter()

    def due(self, now_s: float) -> bool:
        return now_s >= self._next_s

    def write(
        self, engine: Engine, assigned: Collection[TopicPartition], paused: int, now_s: float, wall_s: float
    ) -> None:
        """Everything that changed since the last call. assigned: restored yet or not."""
        self._next_s = now_s + INTERVAL_S
        metrics = self._metrics
        delivery = engine.delivery
        if delivery.blocked_reason not in REFUSED:
            metrics.throttled(min(delivery.blocked_until_s, now_s) - self._written_s)
        self._written_s = now_s
        for key, count in engine.tally.items():
            self._count(key, count)
        engine.tally.clear()
        self._delivered(engine)
        metrics.open_edits(engine.delivery.lanes.depth())
        metrics.paused(paused)
        metrics.pending(engine.pending())
        metrics.rows(sum(len(part.rows) for part in engine.parts()))
        metrics.halted(engine.halted)
        self._lag(engine, now_s)
        for topic, times in self._oldest(engine, assigned, now_s, wall_s).items():
            metrics.oldest_unacked(topic, min(times, default=None))

    def _oldest(
        self, engine: Engine, assigned: Iterable[TopicPartition], now_s: float, wall_s: float
    ) -> dict[str, list[float]]:
        """Of each topic, since when something is not done: read and held, stored undone, or not read. Empty when all is."""
        oldest: dict[str, list[float]] = {}
        for tp in assigned:
            times = oldest.setdefault(tp.topic, [])
            part = engine.part(tp)
            if part is not None and (held := part.ledger.oldest()) is not None:
                read_s, source_ms = held
                times.append(source_ms / 1000 if source_ms else wall_s - (now_s - read_s))
            position = part.ledger.position if part is not None else None
            since_s = self._standstill.look(tp, position, self._ends.known.get(tp), wall_s)
            if since_s is not None:
                times.append(since_s)
        for topic, at_s in engine.undone(now_s, wall_s).items():
            oldest.setdefault(topic, []).append(at_s)
        return oldest

    def _count(self, key: tuple[str, ...], count: int) -> None:
        metrics = self._metrics
        kind = key[0]
        if kind == "consumed":
            metrics.consumed(key[1], key[2], count)
            self.totals["records"] += count
        elif kind == "skipped":
            metrics.skipped(key[1], count)
        elif kind == "letters":
            metrics.lettered(key[1], count)
            self.totals["letters"] += count
        elif kind == "retries":
            metrics.retried(key[1], count)
        elif kind == "alarms":
            metrics.alarmed(key[1], count)
        elif kind == "lookups":
            metrics.looked_up(key[1], count)
        elif kind == "segments_defined":
            metrics.defined(key[1], count)
        elif kind == "members_sent":
            self.totals[key[1]] += count

    def _delivered(self, engine: Engine) -> None:
        delivered, engine.delivery.delivered = engine.delivery.delivered, []
        for at_s, source_ms in delivered:
            buckets: Counter[tuple[int, bool]] = Counter()
            sums: dict[tuple[int, bool], float] = {}
            for ms in source_ms:
                latency_s = max(0.0, at_s - abs(ms) / 1000)
                place = (bisect_left(LATENCY_BUCKETS_S, latency_s), ms < 0)
                buckets[place] += 1
                sums[place] = sums.get(place, 0.0) + latency_s
            for place, count in buckets.items():
                # the mean of a bucket lies within it, so that it is counted where its members belong
                self._metrics.delivered("snapshot" if place[1] else "stream", sums[place] / count, count)

    def _lag(self, engine: Engine, now_s: float) -> None:
        """Lag against ends that were asked for, not against the last fetch: a paused partition fetches nothing."""
        self._ends.look([part.tp for part in engine.parts()], now_s)
        for part in engine.parts():
            end = self._ends.known.get(part.tp)
            if end is not None and part.written is not None:
                self._metrics.lag(part.tp.topic, part.tp.partition, max(0, end - part.written[0]))

    def forget(self, tps: list[TopicPartition]) -> None:
        self._ends.forget(tps)
        self._standstill.forget(tps)
        for tp in tps:
            self._metrics.unassigned(tp.topic, [tp.partition])
