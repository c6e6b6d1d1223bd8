"""The series that Prometheus gets."""

import time

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stream.core.reasons import ALARMS, LETTERS
from stream.edge.metrics import FRESHNESS_SLO_S, LATENCY_BUCKETS_S, Metrics

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(metrics: Metrics) -> Series:
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> Metrics:
    return Metrics(CollectorRegistry(), "1.2.3", clock)


def use_everything(metrics: Metrics) -> None:
    metrics.assigned("t", [0])
    metrics.consumed("t", "c", 5)
    metrics.skipped("heartbeat")
    metrics.lettered("unknown_customer")
    metrics.flushed("linger", "add", 250)
    metrics.open_edits(7)
    metrics.paused(1)
    metrics.requested("add", "201", 0.02)
    metrics.retried("throttled", 3)
    metrics.throttled(2.5)
    metrics.token_expires(5_000)
    metrics.lag("t", 0, 42)
    metrics.rebalanced("assign")
    metrics.committed("ok")
    metrics.alarmed("halted")
    metrics.halted(["t"])
    metrics.polled()
    metrics.delivered("stream", 0.7, 250)
    metrics.oldest_unacked("t", 990)
    metrics.source_event("t", 999)
    metrics.pending({"segment_missing": 2})
    metrics.rows(9)
    metrics.reference("customers", 3, 4, ready=True)
    metrics.reference_read("customers", 5, 998)
    metrics.reference_problem("customers", "key", 2)
    metrics.spent("poll", 0.1)


def test_names_labels_and_values(metrics: Metrics) -> None:
    use_everything(metrics)
    found = {
        key: value
        for key, value in scrape(metrics).items()
        if key[0].startswith("segstream_") and "_bucket" not in key[0]
    }
    t, r = ("topic", "t"), ("reference", "customers")
    expected: Series = {
        ("segstream_records_consumed_total", (("op", "c"), t)): 5,
        ("segstream_records_skipped_total", (("reason", "heartbeat"),)): 1,
        ("segstream_dead_letters_total", (("reason", "unknown_customer"),)): 1,
        ("segstream_flushes_total", (("trigger", "linger"),)): 1,
        ("segstream_batch_members_count", (("operation", "add"),)): 1,
        ("segstream_batch_members_sum", (("operation", "add"),)): 250,
        ("segstream_open_edits", ()): 7,
        ("segstream_halted_topics", ()): 1,
        ("segstream_paused_partitions", ()): 1,
        ("segstream_api_requests_total", (("code", "201"), ("operation", "add"))): 1,
        ("segstream_api_request_duration_seconds_count", (("operation", "add"),)): 1,
        ("segstream_api_request_duration_seconds_sum", (("operation", "add"),)): 0.02,
        ("segstream_api_retries_total", (("reason", "throttled"),)): 3,
        ("segstream_api_throttled_seconds_total", ()): 2.5,
        ("segstream_token_expiry_timestamp_seconds", ()): 5_000,
        ("segstream_consumer_lag_records", (("partition", "0"), t)): 42,
        ("segstream_assigned_partitions", ()): 1,
        ("segstream_rebalances_total", (("event", "assign"),)): 1,
        ("segstream_offset_commits_total", (("outcome", "ok"),)): 1,
        ("segstream_offset_commits_total", (("outcome", "failed"),)): 0,
        ("segstream_last_poll_timestamp_seconds", ()): 1_000,
        ("segstream_delivery_latency_seconds_count", (("origin", "stream"),)): 250,
        ("segstream_delivery_latency_seconds_sum", (("origin", "stream"),)): 175,
        ("segstream_oldest_unacked_timestamp_seconds", (t,)): 990,
        ("segstream_source_last_event_timestamp_seconds", (t,)): 999,
        ("segstream_pending_rows", (("reason", "segment_missing"),)): 2,
        ("segstream_rows", ()): 9,
        ("segstream_reference_rows", (r,)): 3,
        ("segstream_reference_lag_records", (r,)): 4,
        ("segstream_reference_ready", (r,)): 1,
        ("segstream_reference_records_total", (r,)): 5,
        ("segstream_reference_problems_total", (("reason", "key"), r)): 2,
        ("segstream_reference_last_event_timestamp_seconds", (r,)): 998,
        ("segstream_loop_seconds_total", (("state", "poll"),)): 0.1,
        ("segstream_build_info", (("version", "1.2.3"),)): 1,
    }
    for kind in ALARMS:
        expected["segstream_alarms_total", (("kind", kind),)] = int(kind == "halted")
    for reason in LETTERS:
        expected.setdefault(("segstream_dead_letters_total", (("reason", reason),)), 0)
    for state in ("decode", "api", "backpressure", "commit"):
        expected["segstream_loop_seconds_total", (("state", state),)] = 0
    assert found == pytest.approx(expected)
    assert any(name == "process_resident_memory_bytes" for name, _ in scrape(metrics))


def test_no_created_series(metrics: Metrics) -> None:
    use_everything(metrics)
    assert not [name for name, _ in scrape(metrics) if name.endswith("_created")]


def test_a_revoked_partition_leaves_no_series(metrics: Metrics) -> None:
    metrics.assigned("t", [0, 1])
    for partition in (0, 1):
        metrics.lag("t", partition, 5)
    metrics.source_event("t", 999)
    metrics.unassigned("t", [0])
    left = [key for key in scrape(metrics) if ("topic", "t") in key[1]]
    assert ("segstream_consumer_lag_records", (("partition", "0"), ("topic", "t"))) not in left
    assert ("segstream_source_last_event_timestamp_seconds", (("topic", "t"),)) in left
    metrics.unassigned("t", [1, 7])
    # late facts of what is owned no more
    metrics.lag("t", 1, 5)
    metrics.source_event("t", 999)
    metrics.oldest_unacked("t", 5)
    assert not [key for key in scrape(metrics) if ("topic", "t") in key[1]]
    assert scrape(metrics)["segstream_assigned_partitions", ()] == 0
    metrics.unassigned("never", [0])


def test_idle_reads_as_fresh_at_every_scrape(metrics: Metrics, clock: Clock) -> None:
    key = ("segstream_oldest_unacked_timestamp_seconds", (("topic", "t"),))
    metrics.assigned("t", [0])
    assert scrape(metrics)[key] == 1_000
    clock.now_s = 2_000
    assert scrape(metrics)[key] == 2_000
    metrics.oldest_unacked("t", 1_500)
    clock.now_s = 3_000
    assert scrape(metrics)[key] == 1_500
    # a source whose clock is ahead must not look fresher than fresh
    metrics.oldest_unacked("t", 9_999)
    assert scrape(metrics)[key] == 3_000
    metrics.oldest_unacked("t", None)
    assert scrape(metrics)[key] == 3_000


def test_the_objective_is_an_edge_and_counts_are_exact(metrics: Metrics) -> None:
    assert FRESHNESS_SLO_S in LATENCY_BUCKETS_S
    metrics.delivered("stream", FRESHNESS_SLO_S, 3)
    metrics.delivered("stream", FRESHNESS_SLO_S + 0.001, 2)
    metrics.delivered("stream", -5)  # a source whose clock is ahead
    found = scrape(metrics)

    def bucket(le: str) -> float:
        return found["segstream_delivery_latency_seconds_bucket", (("le", le), ("origin", "stream"))]

    assert (bucket("0.1"), bucket("5.0"), bucket("10.0"), bucket("+Inf")) == (1, 4, 6, 6)


def test_reasons_that_ended_become_zero(metrics: Metrics) -> None:
    metrics.pending({"a": 3, "b": 1})
    metrics.pending({"b": 2})
    found = scrape(metrics)
    assert found["segstream_pending_rows", (("reason", "a"),)] == 0
    assert found["segstream_pending_rows", (("reason", "b"),)] == 2


def test_the_standing_cost_of_a_call_is_small(metrics: Metrics) -> None:
    started_s = time.perf_counter()
    for _ in range(10_000):
        metrics.delivered("stream", 0.7, 500)
    assert (time.perf_counter() - started_s) / 10_000 < 50e-6
