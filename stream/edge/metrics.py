"""What Prometheus reads, as one object with a method for each thing that happens.

Timestamps, not ages: an age that nobody updates any more looks fine.
No label ever holds a segment, a member or an email.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from typing import TYPE_CHECKING, Final, Literal, Self

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily

from stream.core.reasons import ALARMS, LETTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

# a second series for each counter, which no panel reads
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library left it untyped

FRESHNESS_SLO_S: Final = 5.0
"""The freshness objective: an exact edge of delivery_latency_seconds, so that a ratio of its buckets is exact."""
LATENCY_BUCKETS_S: Final = (
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    FRESHNESS_SLO_S,
    10.0,
    30.0,
    60.0,
    300.0,
    1_800.0,
    7_200.0,
    86_400.0,
)
REQUEST_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
MEMBERS_BUCKETS: Final = (1, 5, 10, 50, 100, 250, 500, 1_000, 5_000, 10_000)

Origin = Literal["stream", "snapshot", "replay"]
LoopState = Literal["poll", "decode", "api", "backpressure", "commit"]


class Metrics:
    """Every metric of `run`, registered in the given registry under `segstream_`. Safe to call from any thread.

    version: of the program, for build_info. clock: seconds since the epoch.
    """

    def __init__(self, registry: CollectorRegistry, version: str, clock: Callable[[], float] = time.time) -> None:
        self.registry = registry
        self._clock = clock

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"segstream_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"segstream_{name}", text, labels, registry=registry)

        self._consumed = counter("records_consumed", "Records read, by what they are.", "topic", "op")
        self._skipped = counter("records_skipped", "Records without meaning for rows.", "reason")
        self._letters = counter("dead_letters", "Records and edits that became letters.", "reason")
        self._alarms = counter("alarms", "Alarms: each is an error in the log, for a person.", "kind")
        self._halted = gauge("halted_topics", "Topics that stopped at a record; the alarm says why.")
        self._flushes = counter("flushes", "Batches sent, by what made them due.", "trigger")
        self._open_edits = gauge("open_edits", "Edits waiting in open batches.")
        self._paused = gauge("paused_partitions", "Partitions paused because a limit is reached.")
        self._requests = counter(
            "api_requests", "Requests to retail.red that ended, by status or failure.", "operation", "code"
        )
        self._request_s = Histogram(
            "segstream_api_request_duration_seconds",
            "Seconds of one request to retail.red.",
            ("operation",),
            registry=registry,
            buckets=REQUEST_BUCKETS_S,
        )
        self._retries = counter("api_retries", "Members sent again, by why.", "reason")
        self._lookups = counter("lookups", "Customers looked for, by what came of it.", "result")
        self._defined = counter(
            "segments_defined", "Segments asked to be so at retail.red, by what came of it.", "result"
        )
        self._throttled = counter(
            "api_throttled_seconds", "Seconds in which nothing was sent because the API asked so."
        )
        self._token = gauge("token_expiry_timestamp_seconds", "When the access token in use expires.")
        self._lag = gauge(
            "consumer_lag_records", "Records between the committed offset and the end.", "topic", "partition"
        )
        self._assigned = gauge("assigned_partitions", "Partitions that this instance owns.")
        self._rebalances = counter("rebalances", "Rebalances, by what happened.", "event")
        self._commits = counter("offset_commits", "Commits of rows and offsets, by how they ended.", "outcome")
        self._polled = gauge("last_poll_timestamp_seconds", "When the loop last polled Kafka.")
        self._source = gauge(
            "source_last_event_timestamp_seconds",
            "When the source wrote the newest event or heartbeat read: a connector that stopped shows only here.",
            "topic",
        )
        self._pending = gauge("pending_rows", "Rows that wait for something, such as an unknown segment.", "reason")
        self._rows = gauge("rows", "Rows in the row table.")
        self._reference_rows = gauge("reference_rows", "Keys of a reference table, deleted ones included.", "reference")
        self._reference_lag = gauge(
            "reference_lag_records", "Records of a reference's topic that are not read yet.", "reference"
        )
        self._reference_ready = gauge(
            "reference_ready",
            "1 once the reference's topic was read to its end, 0 before and while it cannot be.",
            "reference",
        )
        self._reference_records = counter("reference_records", "Records of a reference's topic read.", "reference")
        self._reference_problems = counter(
            "reference_problems", "Records of a reference that could not be used, or not whole.", "reference", "reason"
        )
        self._reference_newest = gauge(
            "reference_last_event_timestamp_seconds", "When the source wrote the newest record read.", "reference"
        )
        self._loop = counter("loop_seconds", "Seconds of the loop, by what it did.", "state")
        self._members = CountedHistogram(
            "segstream_batch_members", "Members in one request.", MEMBERS_BUCKETS, "operation", registry
        )
        self._latency = CountedHistogram(
            "segstream_delivery_latency_seconds",
            "Seconds from the source's commit to the accepted request, a member each.",
            LATENCY_BUCKETS_S,
            "origin",
            registry,
        )
        self._unacked = _OldestUnacked(registry, clock)
        self._partitions: dict[str, set[int]] = {}
        Info("segstream_build", "The running program.", registry=registry).info({"version": version})
        for state in ("poll", "decode", "api", "backpressure", "commit"):
            self._loop.labels(state)
        for outcome in ("ok", "failed"):
            self._commits.labels(outcome)
        for kind in ALARMS:
            self._alarms.labels(kind)
        for reason in LETTERS:
            self._letters.labels(reason)
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

    @classmethod
    def fresh(cls, version: str) -> Self:
        """Metrics in a registry of their own."""
        return cls(CollectorRegistry(), version)

    # intake

    def consumed(self, topic: str, op: str, count: int = 1) -> None:
        """Count records read. op: r, c, u, d, t, tombstone, skip, unreadable."""
        self._consumed.labels(topic, op).inc(count)

    def skipped(self, reason: str, count: int = 1) -> None:
        self._skipped.labels(reason).inc(count)

    def lettered(self, reason: str, count: int = 1) -> None:
        self._letters.labels(reason).inc(count)

    # batching

    def flushed(self, trigger: str, operation: str, members: int) -> None:
        """Count a batch that was sent. trigger: size, age, idle, window, drain, split. operation: add or remove."""
        self._flushes.labels(trigger).inc()
        self._members.observe(operation, members)

    def open_edits(self, count: int) -> None:
        self._open_edits.set(count)

    def paused(self, partitions: int) -> None:
        self._paused.set(partitions)

    # API

    def requested(self, operation: str, code: str, duration_s: float) -> None:
        """Count a request that ended. code: the status, or refused, unknown, unsent."""
        self._requests.labels(operation, code).inc()
        if duration_s > 0:
            self._request_s.labels(operation).observe(duration_s)

    def retried(self, reason: str, members: int = 1) -> None:
        self._retries.labels(reason).inc(members)

    def looked_up(self, result: str, values: int) -> None:
        """Count identities. result: found, missing, ambiguous, uncertain, failed, or cached (known without asking)."""
        self._lookups.labels(result).inc(values)

    def defined(self, result: str, segments: int = 1) -> None:
        """Count definitions that ended. result: what it took, or dynamic, refused, failed, unsent."""
        self._defined.labels(result).inc(segments)

    def throttled(self, seconds: float) -> None:
        self._throttled.inc(max(0.0, seconds))

    def token_expires(self, at_s: float) -> None:
        self._token.set(at_s)

    # Kafka

    def assigned(self, topic: str, partitions: Iterable[int]) -> None:
        """Partitions were added to this instance."""
        self._partitions.setdefault(topic, set()).update(partitions)
        self._unacked.add(topic)
        self._count_assigned()

    def unassigned(self, topic: str, partitions: Iterable[int]) -> None:
        """Partitions were revoked or lost: their series end, and the topic's with the last."""
        owned = self._partitions.get(topic, set())
        for partition in partitions:
            owned.discard(partition)
            _remove(self._lag, topic, str(partition))
        if not owned:
            self._partitions.pop(topic, None)
            self._unacked.discard(topic)
            _remove(self._source, topic)
        self._count_assigned()

    def _count_assigned(self) -> None:
        self._assigned.set(sum(map(len, self._partitions.values())))

    def lag(self, topic: str, partition: int, records: int) -> None:
        """Set a partition's lag; of one that is not assigned it is ignored, or its series would stay for ever."""
        if partition in self._partitions.get(topic, ()):
            self._lag.labels(topic, str(partition)).set(records)

    def halted(self, topics: Collection[str]) -> None:
        self._halted.set(len(topics))

    def alarmed(self, kind: str, count: int = 1) -> None:
        self._alarms.labels(kind).inc(count)

    def rebalanced(self, event: Literal["assign", "revoke", "lost"]) -> None:
        self._rebalances.labels(event).inc()

    def committed(self, outcome: Literal["ok", "failed"]) -> None:
        self._commits.labels(outcome).inc()

    def polled(self) -> None:
        self._polled.set(self._clock())

    # freshness

    def delivered(self, origin: Origin, latency_s: float, members: int = 1) -> None:
        """Count members whose request was accepted, latency_s after the source's commit."""
        self._latency.observe(origin, max(0.0, latency_s), members)

    def oldest_unacked(self, topic: str, at_s: float | None) -> None:
        """Set when the source wrote the oldest event that is not done; None, all are: a scrape shows its own time."""
        self._unacked.set(topic, at_s)

    def source_event(self, topic: str, at_s: float) -> None:
        """Note the newest event or heartbeat of an assigned topic."""
        if topic in self._partitions:
            self._source.labels(topic).set(at_s)

    def pending(self, rows: Mapping[str, int]) -> None:
        """Set the pending rows of every reason; reasons left out become 0."""
        _set_all(self._pending, rows)

    def rows(self, count: int) -> None:
        self._rows.set(count)

    # references

    def reference(self, name: str, rows: int, lag_records: int | None, *, ready: bool) -> None:
        """Set what is known of one reference table. lag_records None: not known, left as it was."""
        self._reference_rows.labels(name).set(rows)
        self._reference_ready.labels(name).set(1 if ready else 0)
        if lag_records is not None:
            self._reference_lag.labels(name).set(lag_records)

    def reference_read(self, name: str, records: int, newest_s: float) -> None:
        """Count records of a reference's topic. newest_s: the source's time of the newest one, 0 when unknown."""
        self._reference_records.labels(name).inc(records)
        if newest_s:
            self._reference_newest.labels(name).set(newest_s)

    def reference_problem(self, name: str, reason: str, records: int) -> None:
        self._reference_problems.labels(name, reason).inc(records)

    def spent(self, state: LoopState, seconds: float) -> None:
        """Add to the time that the loop spent in one state."""
        self._loop.labels(state).inc(max(0.0, seconds))


class CountedHistogram:
    """A classic histogram with one label that takes many equal observations in one call (the library's takes one)."""

    def __init__(
        self, name: str, text: str, buckets: tuple[float, ...], label: str, registry: CollectorRegistry
    ) -> None:
        self._name, self._text, self._label = name, text, label
        self._buckets = buckets
        self._lock = threading.Lock()
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        registry.register(self)

    def observe(self, value_of_label: str, amount: float, count: int = 1) -> None:
        place = bisect_left(self._buckets, amount)
        with self._lock:
            counts = self._counts.get(value_of_label)
            if counts is None:
                counts = self._counts[value_of_label] = [0] * (len(self._buckets) + 1)
                self._sums[value_of_label] = 0.0
            counts[place] += count
            self._sums[value_of_label] += amount * count

    def describe(self) -> Iterable[Metric]:
        yield HistogramMetricFamily(self._name, self._text, labels=(self._label,))

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._text, labels=(self._label,))
        with self._lock:
            shown = [(value, list(counts), self._sums[value]) for value, counts in self._counts.items()]
        edges = [f"{float(edge)}" for edge in self._buckets] + ["+Inf"]
        for value, counts, total in shown:
            running = 0
            cumulative: list[tuple[str, float]] = []
            for edge, count in zip(edges, counts, strict=True):
                running += count
                cumulative.append((edge, running))
            family.add_metric((value,), cumulative, total)
        yield family


class _OldestUnacked:
    """oldest_unacked_timestamp_seconds: the scrape's own time while nothing is open, so that idle reads as fresh."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._oldest: dict[str, float | None] = {}
        registry.register(self)

    def add(self, topic: str) -> None:
        with self._lock:
            self._oldest.setdefault(topic, None)

    def discard(self, topic: str) -> None:
        with self._lock:
            self._oldest.pop(topic, None)

    def set(self, topic: str, at_s: float | None) -> None:
        with self._lock:
            if topic in self._oldest:
                self._oldest[topic] = at_s

    def describe(self) -> Iterable[Metric]:
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        family = self._family()
        now = self._clock()
        with self._lock:
            shown = dict(self._oldest)
        for topic, at_s in shown.items():
            family.add_metric((topic,), now if at_s is None else min(at_s, now))
        yield family

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(
            "segstream_oldest_unacked_timestamp_seconds",
            "When the source wrote the oldest event that is not done; the time of the scrape when all are.",
            labels=("topic",),
        )


def _remove(gauge: Gauge, *labels: str) -> None:
    # the library's remove() raises for a series that was never set
    if labels in gauge._metrics:  # noqa: SLF001 - there is no public way to ask
        gauge.remove(*labels)


def _set_all(gauge: Gauge, values: Mapping[str, int]) -> None:
    for labels in list(gauge._metrics):  # noqa: SLF001 - there is no public way to ask
        if labels[0] not in values:
            gauge.labels(*labels).set(0)
    for reason, count in values.items():
        gauge.labels(reason).set(count)
