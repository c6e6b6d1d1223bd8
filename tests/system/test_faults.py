"""What goes wrong in production, on purpose, while the source goes on writing. At the end the shop must be equal.

Each test writes from several connections all the while; nothing waits for a quiet moment before it breaks something.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from shop import Instance, Shop, await_equal, merged_truth, settings
from source import Source
from stack.stack import Stack

ENOUGH = 1_000_000  # transactions: the writers are stopped, they do not come to an end


@contextmanager
def writing(source: Source, pause_s: float = 0.05) -> Iterator[None]:
    source.start(ENOUGH, alter=False, pause_s=pause_s)
    try:
        yield
    finally:
        source.stop()


def made(stack: Stack, case: str, encoding: str, name: str) -> Source:
    source = Source(stack, case, encoding, seed=3, name=name)
    source.create(rows=50)
    source.connect()
    return source


@pytest.mark.parametrize(("case", "encoding"), [("composite", "avro"), ("surrogate", "json")])
def test_killed_again_and_again(stack: Stack, tmp_path: Path, case: str, encoding: str) -> None:
    source = made(stack, case, encoding, f"killed_{case}")
    with Shop(tmp_path, source.segments, faults={"latency_s": 0.02, "removal_delay_s": [0.0, 0.3]}) as shop:
        values = settings(stack, shop, source.tables, group=source.name)
        with writing(source):
            for number in range(3):
                with Instance(tmp_path, f"killed{number}", values) as instance:
                    await_requests(shop, instance, 20)  # past the wait of a takeover, with calls in flight
                    instance.kill()
        with Instance(tmp_path, "last", values) as instance:
            await_equal(shop, source.truth, running=instance, source_state=source.state)
            instance.stop()
    source.drop()


def test_two_instances_share_a_topic_and_one_is_killed(stack: Stack, tmp_path: Path) -> None:
    source = made(stack, "composite", "json", "doubled")
    with Shop(tmp_path, source.segments, faults={"latency_s": 0.01}) as shop:
        values = settings(stack, shop, source.tables, group=source.name)
        with Instance(tmp_path, "one", values) as one, Instance(tmp_path, "two", values) as two:
            one.await_ready()
            two.await_ready()
            with writing(source):
                time.sleep(3)
                one.kill()
                time.sleep(5)
                one.start()
                one.await_ready()
                time.sleep(3)
                two.stop()
                time.sleep(2)
            await_equal(shop, source.truth, running=one, source_state=source.state, beside=[two])
            one.stop()
    source.drop()


def test_a_second_instance_of_a_topic_that_cannot_be_shared_acts_only_alone(stack: Stack, tmp_path: Path) -> None:
    source = made(stack, "surrogate", "json", "unshared")
    with Shop(tmp_path, source.segments) as shop:
        values = settings(stack, shop, source.tables, group=source.name)
        with Instance(tmp_path, "one", values) as one:
            await_equal(shop, source.truth, running=one, source_state=source.state)
            with Instance(tmp_path, "two", values) as two:
                with writing(source):
                    time.sleep(8)
                before = shop.stats()["requests"]
                time.sleep(1)
                # neither owns all partitions: both say so and send nothing
                assert shop.stats()["requests"] == before
                two.stop()
            await_equal(shop, source.truth, running=one, source_state=source.state)
            one.stop()
    source.drop()


@pytest.mark.parametrize(
    ("again", "case", "encoding"),
    [("stream", "composite", "json"), ("stream", "surrogate", "avro"), ("snapshot", "surrogate", "json")],
)
def test_a_connector_that_repeats(stack: Stack, tmp_path: Path, again: str, case: str, encoding: str) -> None:
    """Nothing moves in the database while its events come again: then no membership may move in the shop either.

    A connector that is killed before it ever wrote an offset takes its snapshot again; one that is killed later
    repeats the stream since its last write.
    """
    seldom_ms = 600_000
    if again == "snapshot":
        stack.restart_connect(kill=False, offset_flush_interval_ms=seldom_ms)
    source = made(stack, case, encoding, f"repeats_{again}_{case}")
    if again == "stream":
        source.run(20, alter=False)
        source.caught_up()
        stack.restart_connect(kill=False, offset_flush_interval_ms=seldom_ms)
    with Shop(tmp_path, source.segments) as shop:
        # batches are so short that the window, sent as it comes, would be shown state by state
        short = {"linger_s": 0.01, "idle_s": 0.01}
        values = settings(stack, shop, source.tables, group=source.name, batch=short)
        with Instance(tmp_path, "one", values) as instance:
            with writing(source, pause_s=0.01):
                time.sleep(5)
            ends = source.caught_up()
            await_equal(shop, source.truth, running=instance, source_state=source.state)
            changed = changes(shop)
            stack.restart_connect(offset_flush_interval_ms=1000)
            repeated = sum(source.caught_up().values()) - sum(ends.values())
            rows = sum(map(len, source.truth().values()))
            assert repeated >= (1000 if again == "stream" else rows), f"the connector repeated {repeated} records"
            await_equal(shop, source.truth, running=instance, source_state=source.state, hold_s=2)
            assert changes(shop) == changed, "an older state was shown"
            instance.stop()
    source.drop()


def await_requests(shop: Shop, instance: Instance, count: int) -> None:
    """Wait until the shop has had so many more requests."""
    before = shop.stats()["requests"]
    instance.server.wait(lambda: shop.stats()["requests"] >= before + count, 30, f"send {count} requests")


def changes(shop: Shop) -> int:
    """How many rows of all requests so far changed something."""
    return int(shop.stats()["rows_changed"])


def test_a_shop_with_every_kind_of_trouble(stack: Stack, tmp_path: Path) -> None:
    source = made(stack, "surrogate_full", "json_schemas", "troubled")
    trouble = {
        "latency_s": 0.02, "row_error_share": 0.02, "throttle_share": 0.02, "retry_after_s": 1, "error_share": 0.03,
        "error_after_share": 0.03, "drop_after_share": 0.02, "drop_before_share": 0.02, "late_share": 0.01,
        "late_s": [0.2, 0.9], "removal_delay_s": [0.0, 0.9], "slow_share": 0.02, "slow_s": 0.5,
        "token_expires_s": 5, "auth_error_share": 0.01,
    }  # fmt: skip
    with Shop(tmp_path, source.segments, faults=trouble) as shop:
        values = settings(stack, shop, source.tables, group=source.name)
        with Instance(tmp_path, "one", values) as instance:
            with writing(source):
                time.sleep(12)
            shop.end_faults()
            await_equal(shop, source.truth, running=instance, source_state=source.state, hold_s=1.5)
            instance.stop()
        stats = shop.stats()
        assert stats.get("requests_within_retry_after", 0) == 0
        assert stats["statuses"].keys() >= {"429", "503", "cut"}, f"the trouble did not happen: {stats}"
    source.drop()


def test_a_broker_that_is_killed(stack: Stack, tmp_path: Path) -> None:
    source = made(stack, "tier", "json", "broken")
    with Shop(tmp_path, source.segments) as shop:
        values = settings(stack, shop, source.tables, group=source.name)
        with Instance(tmp_path, "one", values) as instance:
            instance.await_ready()
            with writing(source):
                time.sleep(2)
                stack.broker.server.kill()
                time.sleep(3)
                stack.broker.start()
                stack.broker.wait()
                time.sleep(3)
            source.caught_up()
            await_equal(shop, source.truth, running=instance, source_state=source.state)
            instance.stop()
    source.drop()


def test_two_tables_feed_the_same_segments(stack: Stack, tmp_path: Path) -> None:
    """A membership ends only when no row of either table says it."""
    first, second = made(stack, "surrogate", "json", "feeds_one"), made(stack, "soft_surrogate", "avro", "feeds_two")
    with Shop(tmp_path, first.segments) as shop:
        values = settings(stack, shop, first.tables | second.tables, group="feeds")
        with Instance(tmp_path, "one", values) as instance:
            with writing(first), writing(second):
                time.sleep(4)
            await_equal(shop, merged_truth(first, second), running=instance)
            instance.kill()
            first.run(40)
            instance.start()
            await_equal(shop, merged_truth(first, second), running=instance)
            instance.stop()
    first.drop()
    second.drop()
