"""The source's side: the tables that name segments, read whole, and the stored rows, counted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from stream import __version__, wiring
from stream.core.catalog import Catalog
from stream.core.claims import CODE, REFERENCE
from stream.core.mapping import Refusal, code_part
from stream.core.model import TopicPartition
from stream.core.references import Reference
from stream.core.rowstate import META_KEY, decode_row
from stream.edge.metrics import Metrics
from stream.edge.references import References
from stream.edge.registry import Registry
from stream.edge.scratch import Scratch
from stream.edge.state import Restoration, state_topic
from stream.edge.store import LmdbRows
from stream.errors import DataError, Unavailable
from stream.inventory.census import Census
from stream.inventory.compare import Told
from stream.settings import Settings

K = TypeVar("K")

STALL_S: Final = 60.0
"""Without anything new to read for so long, nobody answers."""
WAIT_S: Final = 0.2
LOOK_EVERY: Final = 100_000
"""Counted rows between two looks at how much is in memory."""

Say = Callable[[str], None]


class Named:
    """The tables that name segments, as their topics say now. Empty where the settings have none."""

    def __init__(self, settings: Settings, tables: Mapping[str, Reference]) -> None:
        self._settings: Final = settings
        self.tables: Final = tables

    def code(self, segment: str) -> str:
        """The code of a claim's segment, "" while its reference does not tell a usable one."""
        if segment.startswith(CODE):
            return segment[len(CODE) :]
        name, key = segment[len(REFERENCE) :].split(":", 1)
        table = self.tables.get(name)
        row = table.get(key) if table is not None else None
        raw = code_part(row[0]) if row is not None else ""
        return "" if isinstance(raw, Refusal) else raw

    def told(self) -> Told:
        """What the table of segments says."""
        if wiring.SEGMENTS not in self.tables:
            return Told()
        plan = wiring.plan(self._settings, self.tables)
        named, gone = Catalog(plan, wiring.policy(self._settings), Counter(), _nobody, lambda _: None).says()
        return Told(named, frozenset(gone), self._settings.segments.on_delete)


def _nobody(_kind: str, _text: str) -> None:
    """Alarms are for the running instances."""


def tables(settings: Settings, properties: Mapping[str, Any], counts: Mapping[str, int], say: Say) -> Named:
    """Read the table of segments, and each reference that holds codes, to the end. Raises DataError, Unavailable."""
    rules = [
        (rule, spec)
        for rule, spec in wiring.references(settings)
        if rule.name == wiring.SEGMENTS or settings.references[rule.name].code is not None
    ]
    if not rules:
        return Named(settings, {})
    for _, spec in rules:
        if spec.topic not in counts:
            raise DataError(
                f"topic {spec.topic} does not exist, or this user may not describe it",
                advice="segstream check names topics like it",
            )
        say(f"reading {spec.topic}")
    notes: list[str] = []
    references = References(
        properties, settings.group_id, rules, _registry(settings), metrics=Metrics.fresh(__version__), spill=None,
        log=lambda _, text: notes.append(text), now=time.monotonic,
    )  # fmt: skip
    try:
        references.check(counts, {})
        deadline_s = time.monotonic() + STALL_S
        while not references.ready:
            moved = bool(references.step()) or references.busy
            for name, table in references.tables.items():
                if table.halted:
                    raise DataError(f"{'the table of segments' if name == wiring.SEGMENTS else name}: {table.halted}")
            if moved:
                deadline_s = time.monotonic() + STALL_S
            elif time.monotonic() > deadline_s:
                raise Unavailable("; ".join([references.why(), *notes[-1:]]))
            else:
                time.sleep(0.01)
        return Named(settings, references.tables)
    finally:
        references.close()


def _registry(settings: Settings) -> Registry | None:
    found = settings.registry
    if found is None:
        return None
    password = wiring.secret(found.password_file).decode() if found.password_file else None
    return Registry(found.url, found.username, password, found.ca_file, found.timeout_s)


def rows(
    settings: Settings, properties: Mapping[str, Any], counts: Mapping[str, int], named: Named, say: Say
) -> tuple[Census, bool]:
    """Count every stored row of the group, and whether there is any row state. Raises DataError, Unavailable.

    What is more than state.rows_in_memory_max goes into a scratch file.
    """
    census = Census(named.code)
    found = False
    topics = wiring.Tables(settings).consumed(counts)
    with Room(settings.state.directory, settings.state.rows_in_memory_max) as room:
        for topic in topics:
            partitions = counts.get(state_topic(settings.group_id, topic), 0)
            if topic == settings.segments.topic or not partitions:
                continue
            found = True
            _topic(census, settings, properties, topic, partitions, room, say)
        # what was in the file is gone with it
        census.members = {}
    return census, found


def _topic(
    census: Census, settings: Settings, properties: Mapping[str, Any], topic: str, partitions: int, room: Room, say: Say
) -> None:  # fmt: skip
    tps = [TopicPartition(topic, number) for number in range(partitions)]
    restoration = Restoration(properties, settings.group_id, tps)
    try:
        _read(restoration, topic, room, say)
    finally:
        restoration.close()
    for stored in restoration.rows.values():
        for key, data in stored.items():
            if key == META_KEY:
                continue
            census.count(decode_row(data))
            if census.rows % LOOK_EVERY == 0:
                census.members = room.fit({topic: census.members})[topic]
                say(f"counting the rows of {topic}: {census.rows}")
        room.release(stored)


def _read(restoration: Restoration, topic: str, room: Room, say: Say) -> None:
    deadline_s, before = time.monotonic() + STALL_S, 0
    while not restoration.step(WAIT_S):
        restoration.rows = room.fit(restoration.rows)
        if restoration.records != before:
            deadline_s, before = time.monotonic() + STALL_S, restoration.records
            say(f"reading the rows of {topic}: {before}")
        elif time.monotonic() > deadline_s:
            raise Unavailable(f"the row state of {topic} does not come: {before} records were read")


class Room:
    """Keeps mappings in memory while they are small, and in a scratch file when they are not."""

    def __init__(self, directory: Path | None, rows_max: int) -> None:
        self._directory: Final = directory
        self._rows_max: Final = rows_max
        self._scratch: Scratch | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._scratch is not None:
            self._scratch.close()

    @property
    def spilled(self) -> bool:
        """Whether something went into the file."""
        return self._scratch is not None

    def fit(self, held: dict[K, MutableMapping[bytes, bytes]]) -> dict[K, MutableMapping[bytes, bytes]]:
        """The same mappings, moved into the file where they are more than memory is to hold."""
        plain = {name: found for name, found in held.items() if isinstance(found, dict)}
        if not plain or sum(map(len, plain.values())) <= self._rows_max:
            return held
        if self._scratch is None:
            self._scratch = Scratch(self._directory)
        moved: dict[K, MutableMapping[bytes, bytes]] = {}
        for name, found in plain.items():
            stored = LmdbRows(self._scratch, found)
            stored.move(len(found))
            moved[name] = stored
        return {**held, **moved}

    def release(self, found: MutableMapping[bytes, bytes]) -> None:
        if isinstance(found, LmdbRows):
            found.release()
        else:
            found.clear()
