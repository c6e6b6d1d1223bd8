"""Segments, customers and memberships in three tables, seeded, while everything restarts and the shop is in trouble.

At the end each segment of the source has its members, the shop's registered customers as a SELECT finds them; what is not
represented is counted as pending by its reason; and no guest was ever sent.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from cases import Encoding
from club import SHOWN_MAX, Club, Layout
from people import PeopleShop
from shop import READY_S, Instance, await_equal, settings
from stack.stack import Stack

SEEDS = 6
CHANGED_MIN = 20
ENCODINGS: tuple[Encoding, ...] = ("json", "avro")
ENDS = ("keep", "deactivate", "delete")
TROUBLE = {
    "latency_s": 0.005, "removal_delay_s": [0.0, 0.3], "error_share": 0.03, "row_error_share": 0.01, "throttle_share": 0.01,
    "retry_after_s": 1, "slow_share": 0.02, "slow_s": 0.5, "drop_after_share": 0.01, "late_share": 0.005, "late_s": [0.2, 0.9],
    "index_lag_s": 0.5, "unknown_customer": "404",
}  # fmt: skip


def test_whoever_is_meant_is_a_member_after_everything_that_restarts(stack: Stack, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    layout: Layout = "routed" if seed % 3 == 2 else "surrogate"
    with PeopleShop(stack, tmp_path, f"club_{seed}", faults=TROUBLE) as shop:
        club = Club(
            stack, shop, ENCODINGS[(seed + seed // 6) % 2], seed=seed, layout=layout, on_delete=ENDS[seed // 2 % 3]
        )
        club.create()
        club.connect()
        values = settings(stack, shop, group=shop.name, **club.settings)
        with Instance(tmp_path, "one", values) as one, Instance(tmp_path, "two", values) as two:
            club.start(300, writers=3, pause_s=0.2)
            if layout == "surrogate":
                two.kill()  # only alone an instance may act
            one.server.wait(lambda: shop.stats()["rows_changed"] > 0, READY_S, "send something")
            time.sleep(chance.uniform(0.2, 1.5))
            one.kill()
            one.start()
            if layout == "routed":
                time.sleep(chance.uniform(0.5, 2.0))
                if chance.random() < 0.5:
                    two.kill()
                else:
                    two.await_ready().stop()
            if chance.random() < 0.5:
                one.await_ready()
                time.sleep(chance.uniform(0.5, 1.5))
                one.stop()
                one.start()
            club.join()
            shop.end_faults()
            club.finish()
            club.caught_up()
            await_equal(shop, club.wanted, running=one, beside=[two], source_state=club.state)
            await_settled(club, one)
            one.await_ready().stop()
        stats = shop.stats()
        # what got no answer is repeated at once, but never its opposite sent
        opposite = {
            name: count for name, count in stats["overlaps_by"].items() if name[:3] != name.rpartition("_")[2][:3]
        }
        assert not opposite, (
            f"opposite operations of one membership were in flight at once: {stats['overlap_examples']}"
        )
        assert stats["rows_changed"] >= CHANGED_MIN, f"hardly anything was sent: {stats}"
        for guest in club.guests():
            for code in shop.segments():
                events = [event for event in shop.history(code, guest) if event["op"] == "add"]
                assert not events, f"guest {guest} was sent to {code}: {events}"
    club.drop()


def await_settled(club: Club, instance: Instance) -> None:
    """Wait until segments are called as the source calls them, and until what waits is counted by its reason."""
    until = time.monotonic() + 20
    while problems := [*catalog_problems(club), *pending_problems(club, instance)]:
        assert time.monotonic() < until, "\n".join([*problems, instance.state(), instance.server.tail(10)])
        time.sleep(0.2)


def catalog_problems(club: Club) -> list[str]:
    found, problems = club.shop.segments(), []
    wanted = club.catalog()
    for code, (name, text, counts) in wanted.items():
        there = found.get(code)
        if counts and there is None:
            problems.append(f"segment {code} is not there")
        elif counts and there is not None:
            if there["name"] != name:
                problems.append(f"segment {code} is called {there['name']!r}, not {name!r}")
            if text is not None and there["description"] != text[:SHOWN_MAX]:
                problems.append(f"segment {code} is described by {there['description'][:20]!r}, not {text[:20]!r}")
            if there["status"] != "active":
                problems.append(f"segment {code} is {there['status']}")
    for code, there in found.items():
        if club.on_delete == "delete" and not (code in wanted and wanted[code][2]):
            problems.append(f"segment {code} is there still")
        if club.on_delete == "deactivate" and not (code in wanted and wanted[code][2]) and there["status"] == "active":
            problems.append(f"segment {code} is active still")
    return problems


def pending_problems(club: Club, instance: Instance) -> list[str]:
    wanted: dict[str, tuple[int, float]] = dict.fromkeys(
        ("lookup", "lookup_failed", "customer_missing", "customer_uncertain"), (0, 0)
    )
    problems = []
    for why, (least, most) in (wanted | club.pending()).items():
        count = instance.metric("segstream_pending_rows", reason=why)
        if not least <= count <= most:
            problems.append(f"{count:.0f} rows are pending for {why}: {least} to {most} are")
    return problems
