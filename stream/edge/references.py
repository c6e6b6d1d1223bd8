"""The reference tables of one instance: their topics read whole, decoded and folded, and who is to be told of changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from stream.core.decode.spec import DecodeSpec
from stream.core.model import Slice, TopicPartition
from stream.core.references import Reference, ReferenceRule
from stream.edge.intake import Intake, Readable, SchemaSource
from stream.edge.metrics import Metrics
from stream.edge.spill import Spill
from stream.edge.whole import Feed, WholeTopics
from stream.errors import SettingsError

RECORDS_MAX: Final = 5_000
BUDGET_S: Final = 0.02
"""Of one step: the main walk must not starve."""


class References:
    """Every reference table. `step` is called on the loop's thread each turn, `check` with the cluster's topics now and then.

    rules: what is kept of each table, and how its topic is decoded; the columns to decode are found here. registry: one of its own,
    as its thread may use it while the other's is in use. further: feeds of other topics that are read whole by the same client,
    and need not be there. log(kind, text) is for people, now() in seconds.
    Raises SettingsError where two references read one topic in different ways.
    """

    def __init__(
        self,
        properties: Mapping[str, Any],
        group: str,
        rules: Sequence[tuple[ReferenceRule, DecodeSpec]],
        registry: SchemaSource | None,
        *,
        metrics: Metrics,
        spill: Spill | None,
        further: Mapping[str, Feed] | None = None,
        log: Callable[[str, str], None],
        now: Callable[[], float],
    ) -> None:
        self._metrics: Final = metrics
        self._log: Final = log
        self._specs: Final = _specs(rules)
        self.tables: Final[dict[str, Reference]] = {}
        self._topic_of: Final[dict[str, str]] = {}
        self._tables_of: Final[dict[str, list[Reference]]] = {}
        for rule, spec in rules:
            table = self.tables[rule.name] = Reference(rule, self._specs[spec.topic].columns)
            self._topic_of[rule.name] = spec.topic
            self._tables_of.setdefault(spec.topic, []).append(table)
            if spill is not None:
                spill.keep(table)
        self._changed: dict[str, dict[str, None]] = {}
        self._read: Counter[str] = Counter()
        self._newest_ms: dict[str, int] = {}
        self._said: set[tuple[str, str]] = set()
        self._intake: Final = Intake(self._specs.__getitem__, registry, log=log, now=now)
        self._further: Final = dict(further or {})
        feeds: dict[str, Feed] = {**dict.fromkeys(self._specs, self), **self._further}
        self._whole: Final = WholeTopics(
            properties, f"{group}-references", feeds, optional=self._further, log=log, now=now
        )

    # ---- for the loop --------------------------------------------------------------------------------------------

    @property
    def topics(self) -> list[str]:
        """The topics that are read: `check` wants their ids."""
        return [*self._specs, *self._further]

    def check(self, counts: Mapping[str, int], ids: Mapping[str, str]) -> None:
        """The cluster's topics with their partition counts; the ids of ours, where the broker tells. Raises Unavailable."""
        self._whole.check(counts, ids)

    def step(self, records_max: int = RECORDS_MAX, budget_s: float = BUDGET_S) -> list[tuple[str, list[str]]]:
        """Read on, without waiting. For each reference of which something changed: its name, and the keys.

        Raises Unavailable when the client, or the disk below it, cannot go on.
        """
        for readable in self._intake.resumed():
            self._fold(readable)
        self._whole.step(records_max, budget_s)
        changed, self._changed = self._changed, {}
        return [(name, list(keys)) for name, keys in changed.items()]

    @property
    def busy(self) -> bool:
        """Whether more is there already: the loop need not wait before the next step."""
        return self._whole.full

    @property
    def ready(self) -> bool:
        """Whether every table was read to the end that its topic had at the start."""
        return not any(self._why(name) for name in self.tables)

    def why(self) -> str:
        """Why not, as one line; empty when all are ready."""
        return "; ".join(f"reference {name}: {why}" for name in self.tables if (why := self._why(name)))

    def _why(self, name: str) -> str:
        why = self.tables[name].halted or self._whole.why(self._topic_of[name])
        schemas = self._intake.why_waiting() if why else ""
        return f"{why}, waits for {schemas}" if schemas else why

    def get(self, name: str, key: str) -> tuple[bool | int | str | None, ...] | None:
        """What this reference's row with this key last held; None when there never was one."""
        return self.tables[name].get(key)

    def deleted(self, name: str, key: str) -> bool:
        return self.tables[name].deleted(key)

    def report(self) -> None:
        """Write the metrics, and say what is new about records that cannot be used. Once a second is enough."""
        for name, table in self.tables.items():
            self._metrics.reference(name, len(table), self._whole.lag(self._topic_of[name]), ready=not self._why(name))
            if self._read[name]:
                self._metrics.reference_read(name, self._read[name], self._newest_ms.get(name, 0) / 1000)
            for reason, count in table.counts.items():
                self._metrics.reference_problem(name, reason, count)
                detail = table.details.get(reason, "")
                self._say(name, reason, f"records that cannot be used, {reason}{': ' if detail else ''}{detail}")
            table.counts.clear()
            if table.wider:
                columns = ", ".join(table.wider)
                self._say(
                    name,
                    "wider",
                    f"its record key has more columns ({columns}): rows that share {table.rule.key} are one here",
                )
        self._read.clear()

    def _say(self, name: str, what: str, text: str) -> None:
        """Once for each table and reason: how often is told by the metrics."""
        if (name, what) not in self._said:
            self._said.add((name, what))
            self._log("reference", f"{name}: {text}")

    def close(self) -> None:
        self._intake.close()
        self._whole.close()

    # ---- as the feed of its topics -------------------------------------------------------------------------------

    def feed(self, taken: Slice) -> None:
        for readable in self._intake.read(taken):
            self._fold(readable)

    def waiting(self) -> Iterable[TopicPartition]:
        return self._intake.waiting()

    def anew(self, topic: str, partitions: Iterable[TopicPartition]) -> None:
        self._intake.forget(partitions)
        for table in self._tables_of[topic]:
            table.clear()

    def _fold(self, readable: Readable) -> None:
        topic, items = readable.slice.tp.topic, readable.items
        tables = self._tables_of[topic]
        newest_ms = getattr(items[-1], "ts_ms", 0)
        for table in tables:
            self._read[table.rule.name] += len(items)
            if newest_ms:
                self._newest_ms[table.rule.name] = newest_ms
            if not table.halted:
                self._fold_into(table, readable)
        if all(table.halted for table in tables):
            self._whole.stop(topic, tables[0].halted)
            self._intake.forget([tp for tp in self._intake.waiting() if tp.topic == topic])

    def _fold_into(self, table: Reference, readable: Readable) -> None:
        name, tp = table.rule.name, readable.slice.tp
        keys = table.fold(readable.items, tp.partition)
        if keys:
            self._changed.setdefault(name, {}).update(dict.fromkeys(keys))
        if table.halted:
            self._log("reference", f"{name} stops at partition {tp.partition} of {tp.topic}: {table.halted}")


def _specs(rules: Sequence[tuple[ReferenceRule, DecodeSpec]]) -> dict[str, DecodeSpec]:
    """What to decode of each topic: the columns of all references that read it."""
    specs: dict[str, DecodeSpec] = {}
    for rule, given in rules:
        known = specs.get(given.topic)
        columns = (*(known.columns if known is not None else ()), *rule.decoded())
        specs[given.topic] = replace(given, columns=tuple(dict.fromkeys(columns)))
        if known is not None and replace(known, columns=()) != replace(given, columns=()):
            raise SettingsError(
                f"reference {rule.name}: topic {given.topic} is read by another reference with another envelope, format or framing"
            )
    return specs
