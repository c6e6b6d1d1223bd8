"""The order of the looking: brokers, the tables that name segments, the stored rows, retail.red."""

from __future__ import annotations

from typing import Any, Final

from stream import wiring
from stream.edge.api import RetailRed, Segment
from stream.edge.probe import Probe
from stream.inventory import gather
from stream.inventory.compare import Inventory, compare
from stream.settings import Settings

ASKED_ALONE_MAX: Final = 1_000
"""Segments that are asked for one by one, as the list lacks them or their counts."""


def look(settings: Settings, say: gather.Say = lambda _: None) -> Inventory:
    """Compare; nothing is changed anywhere. say(what) tells what is going on.

    Raises SettingsError, Unavailable, AuthError, DataError when one side cannot be read.
    """
    properties = wiring.kafka_properties(settings)
    api = RetailRed(wiring.api_config(settings))
    try:
        say("asking retail.red")
        api.ping()
        counts = topics(settings, properties)
        named = gather.tables(settings, properties, counts, say)
        census, stateful = gather.rows(settings, properties, counts, named, say)
        table = named.told()
        say("listing the segments of retail.red")
        there = {segment.code: segment for segment in api.segments()}
        _complete(api, there, {*table.named, *table.gone, *census.tallies})
    finally:
        api.close()
    return compare(table, census, there, stateless=not stateful)


def topics(settings: Settings, properties: dict[str, Any]) -> dict[str, int]:
    """Every topic's partition count. Raises Unavailable, AuthError, SettingsError."""
    probe = Probe(properties, settings.group_id)
    try:
        return probe.topics()
    finally:
        probe.close()


def _complete(api: RetailRed, there: dict[str, Segment], known: set[str]) -> None:
    """Ask for those of the source's segments that the list lacks: a server may cut it short, and need not count in it."""
    lacking = [code for code in sorted(known) if code not in there or there[code].member_count is None]
    for code in lacking[:ASKED_ALONE_MAX]:
        found = api.get_segment(code)
        if found is not None:
            there[code] = found
