"""The worlds: what exists, what happens in it, and what goes wrong, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from stream.core.limits import Limits
from tests.sim.shop import Weather
from tests.sim.source import Table

Draw = Callable[[random.Random], "World"]


@dataclass
class World:
    """Times in seconds of the simulation. Counts are how often something happens before calm_s, when faults end.

    exact: nothing may ever be told that an orderly reader would not have told.
    """

    name: str
    tables: list[Table]
    limits: Limits
    weather: Weather = field(default_factory=Weather)
    partitions: int = 2
    instances: int = 1
    segments: int = 3
    members: int = 8
    transactions_n: int = 40
    history_n: int = 0
    calm_s: float = 20.0
    transactions: bool = True
    abort: float = 0.0
    exact: bool = False
    compaction: bool = False
    burst: float = 0.3
    repeats: int = 0
    snapshots: int = 0
    crashes: int = 0
    stops: int = 0
    joins: int = 0
    pauses: int = 0
    cuts: int = 0
    failing: int = 0
    missing: int = 0
    missing_for_ever: bool = False
    refused: int = 0
    bad_codes: bool = False
    garbage: int = 0
    fail_overs: int = 0
    grows: bool = False


def limits_of(rng: random.Random, **changes: float) -> Limits:
    values: dict[str, float] = {
        "members_max": rng.choice((3, 5, 500)),
        "slots": rng.choice((1, 2, 8)),
        "linger_s": 0.2,
        "idle_s": rng.choice((0.0, 0.05)),
        "backlog_linger_s": 0.8,
        "api_timeout_s": 2.0,
        "settle_s": rng.choice((0.3, 1.0)),
        "window_age_s": rng.choice((1.0, 5.0, 60.0)),
        "commit_interval_s": rng.choice((0.05, 0.2, 0.5)),
        "repeat_hold_s": 15.0,
        "forget_after_s": rng.choice((5.0, 3600.0)),
        "missing_retry_s": 0.5,
        "missing_retry_cap_s": 3.0,
        "window_records_max": rng.choice((30, 1000)),
        "standings_max": rng.choice((60, 1000)),
    }
    return Limits(**(values | changes))  # type: ignore[arg-type]


def storm(rng: random.Random) -> Weather:
    return Weather(
        timeout=rng.choice((0.0, 0.05, 0.2)),
        dropped=rng.choice((0.0, 0.05, 0.2)),
        error_5xx=rng.choice((0.0, 0.1)),
        throttled=rng.choice((0.0, 0.05)),
        refused=rng.choice((0.0, 0.05)),
        item=rng.choice((0.0, 0.05)),
        slow=rng.choice((0.0, 0.2)),
        late_removals=rng.choice((0.0, 0.5, 1.0)),
    )


def composite(rng: random.Random) -> list[Table]:
    return [Table("rows", rng.choice(("composite", "composite", "routed")), rng.random() < 0.5, rng.random() < 0.5)]


def surrogate(rng: random.Random) -> list[Table]:
    kind = rng.choice(("surrogate", "surrogate", "tier"))
    return [Table("rows", kind, rng.random() < 0.5, rng.random() < 0.5)]


def two_tables(rng: random.Random) -> list[Table]:
    return [
        Table("rows", "surrogate", rng.random() < 0.5, rng.random() < 0.5),
        Table("more", rng.choice(("surrogate", "tier")), rng.random() < 0.5, rng.random() < 0.5),
    ]


def either(rng: random.Random) -> list[Table]:
    return rng.choice((composite, surrogate, two_tables))(rng)


def plain(rng: random.Random) -> World:
    return World("plain", composite(rng), limits_of(rng), exact=True)


def stormy(rng: random.Random) -> World:
    return World("stormy", either(rng), limits_of(rng), storm(rng), abort=0.1, exact=True)


def rows_share(rng: random.Random) -> World:
    """Two rows, or two tables, say one membership."""
    tables = rng.choice((surrogate, two_tables))(rng)
    return World("rows_share", tables, limits_of(rng), storm(rng), partitions=3, members=3, segments=2, exact=True)


def repeats(rng: random.Random) -> World:
    return World("repeats", either(rng), limits_of(rng), storm(rng), members=4, repeats=4, exact=True)


def snapshots(rng: random.Random) -> World:
    return World(
        "snapshots", either(rng), limits_of(rng), storm(rng), repeats=rng.randint(0, 2), snapshots=3, burst=0.6
    )


def crashes(rng: random.Random) -> World:
    return World(
        "crashes",
        either(rng),
        limits_of(rng),
        storm(rng),
        members=rng.choice((3, 8)),
        crashes=3,
        abort=0.1,
        calm_s=40.0,
    )


def handover(rng: random.Random) -> World:
    tables = composite(rng)
    return World(
        "handover",
        tables,
        limits_of(rng),
        storm(rng),
        partitions=4,
        instances=2,
        stops=2,
        joins=2,
        crashes=1,
        calm_s=40.0,
    )


def orderly(rng: random.Random) -> World:
    """Only orderly leaves: nothing older is ever shown."""
    return World(
        "orderly", either(rng), limits_of(rng), storm(rng), partitions=3, stops=3, joins=1, calm_s=40.0, exact=True
    )


def paused(rng: random.Random) -> World:
    tables = either(rng)
    return World(
        "paused", tables, limits_of(rng), storm(rng), instances=1 if tables[0].sole else 2, pauses=3, calm_s=45.0
    )


def cut(rng: random.Random) -> World:
    tables = either(rng)
    return World("cut", tables, limits_of(rng), storm(rng), instances=1 if tables[0].sole else 2, cuts=3, calm_s=45.0)


def narrow(rng: random.Random) -> World:
    limits = limits_of(
        rng,
        members_max=3,
        window_records_max=rng.choice((1, 4, 8)),
        window_age_s=rng.choice((0.0, 0.5)),
        standings_max=rng.choice((1, 4, 10)),
    )
    return World("narrow", either(rng), limits, storm(rng), repeats=rng.randint(0, 1), crashes=rng.randint(0, 1))


def missing(rng: random.Random) -> World:
    return World(
        "missing",
        either(rng),
        limits_of(rng),
        storm(rng),
        missing=rng.randint(1, 3),
        missing_for_ever=rng.random() < 0.5,
        crashes=rng.randint(0, 2),
        stops=rng.randint(0, 1),
    )


def one_fails(rng: random.Random) -> World:
    """Of one segment every call fails, longer than the window and memory hold what is owed to it."""
    limits = limits_of(
        rng,
        members_max=rng.choice((1, 3)),
        window_records_max=rng.choice((4, 8, 1000)),
        standings_max=rng.choice((4, 10, 1000)),
    )
    return World(
        "one_fails", either(rng), limits, Weather(late_removals=0.5), failing=1, crashes=rng.randint(0, 1),
        stops=rng.randint(0, 1),
    )  # fmt: skip


def refused(rng: random.Random) -> World:
    return World(
        "refused", either(rng), limits_of(rng), storm(rng), refused=2, bad_codes=True, garbage=3,
        crashes=rng.randint(0, 1), abort=0.1,
    )  # fmt: skip


def first_start(rng: random.Random) -> World:
    return World(
        "first_start",
        either(rng),
        limits_of(rng),
        storm(rng),
        history_n=60,
        transactions_n=20,
        crashes=rng.randint(0, 2),
    )


def anew(rng: random.Random) -> World:
    """A first start from compacted topics, and compaction ahead of the reader."""
    return World(
        "anew", either(rng), limits_of(rng), storm(rng), history_n=60, transactions_n=30, compaction=True,
        crashes=rng.randint(0, 1),
    )  # fmt: skip


def untransacted(rng: random.Random) -> World:
    return World(
        "untransacted",
        either(rng),
        limits_of(rng),
        storm(rng),
        transactions=False,
        crashes=2,
        stops=1,
        calm_s=40.0,
        abort=0.1,
    )


def fail_over(rng: random.Random) -> World:
    limits = limits_of(rng, repeat_hold_s=2.0)
    return World("fail_over", either(rng), limits, storm(rng), fail_overs=2, repeats=1, crashes=rng.randint(0, 1))


def everything(rng: random.Random) -> World:
    tables = either(rng)
    limits = limits_of(rng)
    if rng.random() < 0.3:
        limits = limits_of(
            rng,
            members_max=3,
            window_records_max=rng.choice((2, 8)),
            standings_max=rng.choice((2, 10)),
            commit_interval_s=0.05,
        )
    return World(
        "everything",
        tables,
        limits,
        storm(rng),
        partitions=rng.randint(1, 4),
        instances=1 if tables[0].sole else rng.randint(1, 3),
        members=rng.choice((3, 10)),
        history_n=rng.choice((0, 30)),
        transactions_n=60,
        calm_s=60.0,
        abort=0.1,
        repeats=2,
        snapshots=1,
        crashes=2,
        stops=1,
        joins=1,
        pauses=1,
        cuts=1,
        missing=rng.randint(0, 1),
        refused=rng.randint(0, 1),
        bad_codes=rng.random() < 0.3,
        garbage=1,
    )


WORLDS: dict[str, Draw] = {
    draw.__name__: draw
    for draw in (
        plain,
        stormy,
        rows_share,
        repeats,
        snapshots,
        crashes,
        handover,
        orderly,
        paused,
        cut,
        narrow,
        missing,
        one_fails,
        refused,
        first_start,
        anew,
        untransacted,
        fail_over,
        everything,
    )
}
