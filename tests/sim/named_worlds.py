"""The worlds of names: customers and guests who come, change and go, parents and segments that are late, look-ups that mislead."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from stream.core.limits import LookupLimits
from tests.sim.customers import LookWeather, Match
from tests.sim.named import NamedTable
from tests.sim.worlds import World, limits_of, storm

EMAIL = (("email", "email"),)
NUMBER = (("number", "number"),)
BOTH = (("number", "number"), ("email", "email"))
PARENT = (("ref:customers", "customer"),)
MIXED = (("ref:customers", "customer"), ("email", "email"))
ID = (("id", "member"),)

PARENTS = {"customer_in": 0.25, "customer_change": 0.2, "customer_out": 0.05}
CATALOG = {"segment_in": 0.15, "segment_name": 0.05, "segment_out": 0.1}
HAPPENS = {"register": 4, "guest": 1}


@dataclass
class NamedWorld(World):
    """there, guests: the shares of people who are registered, or guests, at the start; steady: how many never change.

    acts: what happens to parents beside each row, by weight; happens: to customers, how often.
    numbered: every customer has a number. accepts: the operator accepts codes that changed.
    """

    match: Match = field(default_factory=Match)
    looks: LookWeather = field(default_factory=LookWeather)
    lookups: LookupLimits = field(default_factory=LookupLimits)
    there: float = 0.5
    guests: float = 0.2
    steady: int = 1
    numbered: bool = False
    acts: dict[str, float] = field(default_factory=dict)
    happens: dict[str, int] = field(default_factory=lambda: dict(HAPPENS))
    customers_table: bool = False
    segments_table: bool = False
    catalog: bool = False
    create_missing: bool = False
    on_delete: Literal["keep", "deactivate", "delete"] = "keep"
    define_fails: float = 0.0
    dynamic: bool = False
    accepts: bool = False
    step_max_s: float = 0.5


Draw = Callable[[random.Random], NamedWorld]


def looks_of(rng: random.Random) -> LookWeather:
    return LookWeather(
        failed=rng.choice((0.0, 0.1, 0.4)),
        timeout=rng.choice((0.0, 0.1)),
        partial=rng.choice((0.0, 0.1, 0.3)),
        ignored=rng.choice((0.0, 0.1, 0.3)),
        flagless=rng.choice((0.0, 0.1)),
        slow=rng.choice((0.0, 0.2)),
        lag_s=rng.choice((0.0, 1.0, 6.0)),
        list_max=rng.choice((1_000, 1_000, 2)),
    )


def lookups_of(rng: random.Random) -> LookupLimits:
    retry_s = rng.choice((1.0, 3.0))
    return LookupLimits(
        values_max=rng.choice((2, 5, 100)),
        url_bytes_max=rng.choice((30, 4_000)),
        slots=rng.choice((1, 2)),
        found_ttl_s=rng.choice((2.0, 30.0, 3_600.0)),
        missing_ttl_s=rng.choice((0.2, retry_s)),
        cache_max=rng.choice((2, 1_000)),
        retry_s=retry_s,
        retry_cap_s=rng.choice((4.0, 15.0)),
        retries_per_s=rng.choice((1.0, 5.0)),
    )


def match_of(rng: random.Random) -> Match:
    rule: Any = rng.choice(("lower", "lower", "exact"))
    return Match(rule, rule == "lower" and rng.random() < 0.3)


def table(rng: random.Random, who: tuple[tuple[str, str], ...], topic: str = "rows", **more: Any) -> NamedTable:
    return NamedTable(topic, more.pop("kind", "surrogate"), who, rng.random() < 0.5, rng.random() < 0.3, **more)


def world(rng: random.Random, name: str, tables: list[NamedTable], **more: Any) -> NamedWorld:
    values: dict[str, Any] = {
        "limits": limits_of(rng),
        "match": match_of(rng),
        "lookups": lookups_of(rng),
        "members": rng.choice((4, 8)),
        "transactions_n": 35,
        "calm_s": 30.0,
    }
    return NamedWorld(name, tables, **(values | more))


def by_email(rng: random.Random) -> NamedWorld:
    """People who are there, come late, or never; guests with their emails."""
    return world(rng, "by_email", [table(rng, rng.choice((EMAIL, NUMBER)))])


def by_list(rng: random.Random) -> NamedWorld:
    """A list of preference, and customers of whom one identity is known."""
    tie: Any = rng.choice(("none", "none", "lowest_internal_number", "highest_internal_number"))
    match = Match(rng.choice(("lower", "exact")), tie_break=tie)
    return world(
        rng, "by_list", [table(rng, BOTH)], looks=looks_of(rng), match=match, happens=HAPPENS | {"twin": 2}
    )  # fmt: skip


def look_ups(rng: random.Random) -> NamedWorld:
    """The service lags, fails, and answers what was not asked for."""
    return world(
        rng, "look_ups", [table(rng, rng.choice((EMAIL, BOTH)))], looks=looks_of(rng), weather=storm(rng), abort=0.1,
        happens=HAPPENS | {"twin": 1},
    )  # fmt: skip


def two_names(rng: random.Random) -> NamedWorld:
    """One customer by several identities, in several rows and tables."""
    tables = [table(rng, rng.choice((EMAIL, BOTH))), table(rng, rng.choice((NUMBER, ID)), "more")]
    return world(
        rng, "two_names", tables, weather=storm(rng), looks=looks_of(rng), members=3, segments=2, steady=2, there=0.8,
        crashes=rng.randint(0, 2), calm_s=40.0,
    )  # fmt: skip


def come_and_go(rng: random.Random) -> NamedWorld:
    """Customers change their email, merge, are deleted and register anew."""
    happens = HAPPENS | {"delete": 3, "email": 2, "merge": 1, "twin": 1}
    return world(
        rng, "come_and_go", [table(rng, rng.choice((EMAIL, BOTH)))], looks=looks_of(rng), weather=storm(rng),
        there=0.8, happens=happens, calm_s=40.0, crashes=rng.choice((0, 0, 2)),
    )  # fmt: skip


def name_crashes(rng: random.Random) -> NamedWorld:
    return world(
        rng, "name_crashes", [table(rng, rng.choice((EMAIL, BOTH)))], looks=looks_of(rng), weather=storm(rng),
        crashes=3, stops=rng.randint(0, 2), pauses=rng.randint(0, 1), cuts=rng.randint(0, 1), abort=0.1,
        calm_s=45.0, repeats=rng.choice((0, 2)),
    )  # fmt: skip


def parents(rng: random.Random) -> NamedWorld:
    """Rows point at a table of customers that is late, changes, and is deleted first."""
    return world(
        rng, "parents", [table(rng, rng.choice((PARENT, MIXED)))], acts=PARENTS, customers_table=True,
        looks=looks_of(rng) if rng.random() < 0.5 else LookWeather(), there=0.8,
    )  # fmt: skip


def parents_crash(rng: random.Random) -> NamedWorld:
    return world(
        rng, "parents_crash", [table(rng, rng.choice((PARENT, MIXED)))], acts=PARENTS, customers_table=True, there=0.8,
        looks=looks_of(rng), weather=storm(rng), crashes=3, stops=rng.randint(0, 2), pauses=rng.randint(0, 1),
        repeats=rng.choice((0, 2)), snapshots=rng.randint(0, 1), calm_s=45.0,
    )  # fmt: skip


def shared(rng: random.Random) -> NamedWorld:
    """Several processes: partitions by segment, or keys that hold a number."""
    kind = rng.choice(("routed", "composite"))
    who = NUMBER if kind == "composite" else rng.choice((EMAIL, BOTH, PARENT))
    refers = kind == "routed" and rng.random() < 0.5
    return world(
        rng, "shared", [table(rng, who, kind=kind, refers=refers)], looks=looks_of(rng), weather=storm(rng), partitions=4,
        instances=2, stops=2, joins=2, crashes=1, pauses=rng.randint(0, 1), calm_s=40.0, numbered=True,
        acts=(PARENTS if who is PARENT else {}) | (CATALOG if refers else {}), customers_table=who is PARENT,
        segments_table=refers, catalog=refers and rng.random() < 0.7, define_fails=rng.choice((0.0, 0.3)),
        on_delete=rng.choice(("keep", "deactivate", "delete")),
    )  # fmt: skip


def segments_late(rng: random.Random) -> NamedWorld:
    """Segments come to be after their members: by the table of segments, or because members need them."""
    refers = rng.random() < 0.7
    catalog = rng.random() < 0.8
    return world(
        rng, "segments_late", [table(rng, rng.choice((EMAIL, ID)), refers=refers)], weather=storm(rng), there=0.8,
        acts=CATALOG if refers or catalog else {}, segments_table=refers, catalog=catalog, segments=4,
        create_missing=rng.random() < 0.5, missing=0 if catalog else rng.randint(0, 2), missing_for_ever=rng.random() < 0.3,
        on_delete=rng.choice(("keep", "deactivate", "delete")), define_fails=rng.choice((0.0, 0.3)),
        dynamic=rng.random() < 0.2, steady=3,
    )  # fmt: skip


def segments_crash(rng: random.Random) -> NamedWorld:
    refers = rng.random() < 0.7
    return world(
        rng, "segments_crash", [table(rng, EMAIL, refers=refers)], weather=storm(rng), looks=looks_of(rng), there=0.8,
        acts=CATALOG, segments_table=refers, catalog=True, segments=4, create_missing=rng.random() < 0.5,
        on_delete=rng.choice(("keep", "deactivate", "delete")), define_fails=rng.choice((0.0, 0.3)), crashes=3,
        stops=rng.randint(0, 2), calm_s=45.0, repeats=rng.choice((0, 2)),
    )  # fmt: skip


def segments_back(rng: random.Random) -> NamedWorld:
    """Segments are deleted, and come back with their rows."""
    return world(
        rng, "segments_back", [table(rng, EMAIL, refers=True)], weather=storm(rng), there=0.9, segments=3,
        acts=CATALOG | {"segment_back": 0.2, "segment_out": 0.15}, segments_table=True, catalog=True,
        on_delete=rng.choice(("keep", "deactivate", "delete")), define_fails=rng.choice((0.3, 0.7)), calm_s=40.0,
    )  # fmt: skip


def patient(rng: random.Random) -> NamedWorld:
    """Hours go by: people register long after their rows, and are looked for slower and slower."""
    lookups = LookupLimits(
        retry_s=30.0, retry_cap_s=rng.choice((300.0, 1_200.0)), found_ttl_s=rng.choice((600.0, 7_200.0))
    )
    return world(
        rng, "patient", [table(rng, rng.choice((EMAIL, BOTH)))], looks=LookWeather(failed=0.1, lag_s=20.0),
        lookups=lookups, calm_s=3_000.0, transactions_n=40, there=0.3, happens={"register": 8, "guest": 2, "delete": 1},
        crashes=rng.randint(0, 2), stops=rng.randint(0, 1), step_max_s=5.0,
    )  # fmt: skip


def codes_change(rng: random.Random) -> NamedWorld:
    """A segment gets another code: an alarm, and nothing moves before it is accepted."""
    return world(
        rng, "codes_change", [table(rng, EMAIL, refers=True)], there=0.9, segments_table=True,
        acts=CATALOG | {"segment_code": 0.2}, catalog=rng.random() < 0.5, create_missing=rng.random() < 0.5,
        accepts=rng.random() < 0.6, weather=storm(rng), crashes=rng.choice((0, 0, 2)), calm_s=40.0,
    )  # fmt: skip


def all_names(rng: random.Random) -> NamedWorld:
    refers = rng.random() < 0.5
    tables = [
        table(rng, rng.choice((MIXED, PARENT)), refers=refers),
        table(rng, rng.choice((EMAIL, BOTH, ID)), "more"),
    ]
    catalog = rng.random() < 0.5
    return world(
        rng, "all_names", tables, looks=looks_of(rng), weather=storm(rng), there=0.7, customers_table=True,
        acts=PARENTS | (CATALOG if refers or catalog else {}), segments_table=refers, catalog=catalog,
        create_missing=rng.random() < 0.5, on_delete=rng.choice(("keep", "deactivate", "delete")),
        define_fails=0.2, happens=HAPPENS | {"delete": 1, "email": 1, "twin": 1, "merge": 1}, crashes=2, stops=1, pauses=1,
        cuts=1, repeats=1, snapshots=1, garbage=1, abort=0.1, transactions_n=60, calm_s=60.0,
        partitions=rng.randint(1, 3),
    )  # fmt: skip


NAMED: dict[str, Draw] = {
    draw.__name__: draw
    for draw in (
        by_email,
        by_list,
        look_ups,
        two_names,
        come_and_go,
        name_crashes,
        parents,
        parents_crash,
        shared,
        segments_late,
        segments_crash,
        segments_back,
        codes_change,
        patient,
        all_names,
    )
}
