"""Accepting a changed code: what would move, and the record that makes it move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from stream import wiring
from stream.core.claims import REFERENCE
from stream.core.mapping import SEGMENT_CODE
from stream.edge import control
from stream.edge.api import RetailRed
from stream.edge.state import Topics
from stream.errors import DataError, UsageError
from stream.inventory import gather
from stream.inventory.census import Census
from stream.inventory.look import topics
from stream.settings import Settings

PARTITIONS: Final = 1


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What accepting a code comes to. moves: reference, key, the code in use, and how many rows are members there.

    named: the table of segments names the code. there: what retail.red has of it (fixed, dynamic, inactive, missing). topic: where
    the record is. new: the topic was made just now.
    """

    code: str
    moves: tuple[tuple[str, str, str, int], ...]
    named: bool
    there: str
    topic: str
    new: bool

    def as_json(self) -> dict[str, Any]:
        moves = [{"reference": r, "key": k, "from": old, "rows": rows} for r, k, old, rows in self.moves]
        return {"code": self.code, "moves": moves, "named": self.named, "there": self.there, "topic": self.topic}

    def lines(self) -> list[str]:
        """What happens now, for people."""
        said = [
            f"reference {reference}, key {key}: {rows} rows move from {old} to {self.code}"
            for reference, key, old, rows in self.moves
        ]
        if not self.moves:
            said.append(f"no stored row moves to {self.code} now")
        if self.there == "dynamic":
            said.append(f"{self.code} is dynamic at retail.red: it takes no members")
        elif self.there == "missing":
            said.append(
                f"{self.code} is created first: the table of segments names it"
                if self.named
                else f"{self.code} does not exist at retail.red: who moves waits until it is created"
            )
        soon = "within a minute" if self.new else "at once"
        said.append(f"{self.topic}: written; running instances hear of it {soon}, others when they start")
        return said


def accept(settings: Settings, code: str, *, force: bool = False, say: gather.Say = lambda _: None) -> Acceptance:
    """Write that this code is accepted. force: also where nothing in the source says it now.

    Raises UsageError, DataError when there is nothing to accept or no topic to write to, Unavailable, AuthError, SettingsError.
    """
    if SEGMENT_CODE.fullmatch(code) is None:
        raise UsageError(f"--accept {code}: is no segment code: A-Z a-z 0-9 . _ - only, at most 128")
    if not wiring.references(settings):
        raise DataError("there are no references and no table of segments: no code can change")
    properties = wiring.kafka_properties(settings)
    counts = topics(settings, properties)
    named = gather.tables(settings, properties, counts, say)
    census, _ = gather.rows(settings, properties, counts, named, say)
    moves = _moves(code, named, census)
    in_table = code in named.told().named
    if not moves and not in_table and not force:
        raise DataError(
            f"no reference shows {code} as a changed code now, and no table of segments names it",
            advice="--force accepts it all the same: it counts as soon as a reference says it",
        )
    api = RetailRed(wiring.api_config(settings))
    try:
        segment = api.get_segment(code)
    finally:
        api.close()
    there = "missing" if segment is None else segment.type or "fixed"
    if there == "dynamic" and not force:
        raise DataError(
            f"{code} is dynamic at retail.red: whoever moved there would be in no segment",
            advice="give the source another code, or delete the dynamic segment; --force accepts it all the same",
        )
    topic = control.control_topic(settings.group_id)
    new = topic not in counts
    if new:
        _make(settings, properties, topic, counts)
    control.write(properties, topic, *control.acceptance(code))
    return Acceptance(code, moves, in_table, there, topic, new)


def _moves(code: str, named: gather.Named, census: Census) -> tuple[tuple[str, str, str, int], ...]:
    found: list[tuple[str, str, str, int]] = []
    for segment, used in census.used.items():
        if named.code(segment) == code:
            name, key = segment[len(REFERENCE) :].split(":", 1)
            found += [(name, key, old, rows) for old, rows in used.items() if old != code]
    return tuple(sorted(found))


def _make(settings: Settings, properties: dict[str, Any], topic: str, counts: dict[str, int]) -> None:
    state = settings.state
    if not state.create_topics:
        raise DataError(
            f"topic {topic} does not exist, and state.create_topics is false",
            advice=f"create it: kafka-topics --create --topic {topic} --partitions {PARTITIONS} --config cleanup.policy=compact",
        )
    topics = Topics(properties, create=True, verify=state.verify_topics, replication_factor=state.replication_factor)
    topics.ensure(topic, PARTITIONS, counts)
