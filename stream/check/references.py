"""References and the table of segments: sampled, folded as `run` folds them, and judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stream import wiring
from stream.check.findings import Findings
from stream.check.sample import IDENTITIES_MAX, Fetch, decoded, other_envelope, plain_code
from stream.core.catalog import Catalog
from stream.core.claims import REFERENCE, term
from stream.core.decode import DecodeSpec, TopicDecoder
from stream.core.mapping import SEGMENT_CODE, Refusal, code_part
from stream.core.model import Change, SchemaId
from stream.core.references import Reference, ReferenceRule
from stream.edge.probe import Sampled
from stream.errors import SettingsError
from stream.settings import Settings

UNUSABLE_SHARE: Final = 0.5
"""Where so many rows hold nothing usable, a column is rather the wrong one."""
SHOWN_MAX: Final = 5


@dataclass(slots=True)
class Parents:
    """What samples of the references and the table of segments hold. whole: of these tables every record was looked at.

    identities: a few emails and numbers by kind, to be looked up and never shown.
    """

    tables: dict[str, Reference] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    identities: dict[str, dict[str, None]] = field(default_factory=dict, repr=False)

    def code(self, segment: str) -> str:
        """The code of a claim's segment, as far as the samples tell; "" where they do not."""
        if not segment.startswith(REFERENCE):
            return plain_code(segment)
        name, key = segment[len(REFERENCE) :].split(":", 1)
        row = self.tables[name].get(key) if name in self.tables else None
        return _code(row[0]) if row is not None else ""

    def named(self, settings: Settings) -> set[str]:
        """Codes that the table of segments names, as far as the samples tell."""
        if settings.segments.topic is None or wiring.SEGMENTS not in self.tables:
            return set()
        plan = wiring.plan(settings, self.tables)
        catalog = Catalog(plan, wiring.policy(settings), Counter(), lambda _kind, _text: None, lambda _: None)
        return set(catalog.says()[0])

    def shared(self, name: str) -> list[str]:
        """Codes that several rows of this reference have."""
        if name not in self.tables:
            return []
        codes = Counter(_code(row[0]) for row in _rows(self.tables[name]))
        return sorted(code for code, count in codes.items() if code and count > 1)


def _code(value: Any) -> str:
    code = code_part(value)
    return "" if isinstance(code, Refusal) or SEGMENT_CODE.fullmatch(code) is None else code


def _rows(table: Reference) -> list[tuple[Any, ...]]:
    return [row for key in table.every() if not table.deleted(key) and (row := table.get(key)) is not None]


def read(
    found: Findings, settings: Settings, rule: ReferenceRule, spec: DecodeSpec, sampled: Sampled, fetch: Fetch | None,
    parents: Parents, *, whole: bool,
) -> None:  # fmt: skip
    """Judge the samples of one table and keep what they hold. whole: they are all that there is. Raises what `fetch` does."""
    is_segments = rule.name == wiring.SEGMENTS
    what = "table of segments" if is_segments else f"reference {rule.name}"
    topic = spec.topic
    table = Reference(rule, spec.columns)
    decoder, changes, needs = TopicDecoder(spec), 0, None
    for one in sampled.slices:
        items, needs = decoded(decoder, one, fetch, needs)
        changes += sum(isinstance(item, Change) for item in items)
        table.fold(items, one.tp.partition)
    parents.tables[rule.name] = table
    if not sampled.slices:
        found.warn(topic, what, "no record to look at: nothing is proved", "let the snapshot run")
    elif needs is not None:
        _lacks_registry(found, settings, topic, what, needs)
    elif not changes and other_envelope(spec, sampled.slices, fetch):
        right = "unwrapped" if spec.envelope == "debezium" else "debezium"
        found.fail(
            topic, what, f"{spec.envelope} is set, and reads no row changes; {right} would",
            f"settings: envelope: {right}", SettingsError.exit_code,
        )  # fmt: skip
    elif table.halted:
        found.fail(
            topic, what, f"`run` waits there for ever: {table.halted}", "settings: name the column as the table does"
        )
    else:
        if whole:
            parents.whole.add(rule.name)
        _judge(found, settings, topic, what, table, parents)


def _lacks_registry(found: Findings, settings: Settings, topic: str, what: str, needs: SchemaId) -> None:
    if settings.registry is None:
        found.fail(
            topic, what, f"a schema is to be looked up by its {needs.kind}, and no registry is set",
            "settings: registry: {url: http://registry:8080}", SettingsError.exit_code,
        )  # fmt: skip
    else:
        found.warn(topic, what, "not looked into, as the registry does not answer")


def _judge(found: Findings, settings: Settings, topic: str, what: str, table: Reference, parents: Parents) -> None:
    rows = _rows(table)
    problems = {reason: count for reason, count in table.counts.items() if reason != "keyless_tombstone"}
    if not rows and (unreadable := table.counts["key"]):
        found.fail(
            topic, what, f"{unreadable} rows, and column {table.rule.key} holds no usable key in any",
            "settings: key: the column that other tables point to",
        )  # fmt: skip
        return
    if problems:
        lines = "; ".join(
            f"{reason} {count}{': ' + table.details[reason] if reason in table.details else ''}"
            for reason, count in sorted(problems.items())
        )
        found.warn(topic, what, f"records that cannot be used: {lines}")
    if not rows:
        found.warn(topic, what, "no row among the samples: nothing is proved", "insert a row, or snapshot")
        return
    if table.rule.name == wiring.SEGMENTS:
        _segments(found, topic, what, table)
        return
    if table.wider:
        found.warn(
            topic, what, f"its record key is ({', '.join(table.wider)}): rows that share {table.rule.key} are one here",
            "is it unique?",
        )  # fmt: skip
    one = settings.references[table.rule.name]
    kinds = (*(("code",) if one.code is not None else ()), *(kind for kind, _ in one.terms))
    if one.code is not None:
        _share(found, topic, what, f"hold no usable code in {one.code}", [bool(_code(row[0])) for row in rows])
    if one.terms:
        named = [_named(kinds, row, parents) for row in rows]
        columns = ", ".join(column for _, column in one.terms)
        _share(found, topic, what, f"identify nobody by {columns}", named)


def _named(kinds: Sequence[str], row: tuple[Any, ...], parents: Parents) -> bool:
    """Whether the row identifies somebody; a few of these are kept."""
    usable = False
    for kind, value in zip(kinds, row, strict=True):
        if kind == "code" or isinstance(text := term(kind, value), Refusal):
            continue
        usable = True
        if kind != "id":
            known = parents.identities.setdefault(kind, {})
            if len(known) < IDENTITIES_MAX:
                known[text.split(":", 1)[1]] = None
    return usable


def _share(found: Findings, topic: str, what: str, text: str, usable: list[bool]) -> None:
    lacking = usable.count(False)
    share = f"{lacking} of {len(usable)} rows ({100 * lacking / len(usable):.0f} %) {text}"
    if lacking == len(usable):
        found.fail(topic, what, f"every row of {len(usable)}: they {text}", "settings: name the right column")
    elif lacking > UNUSABLE_SHARE * len(usable):
        found.warn(topic, what, f"{share}: who points at them waits", "is it the right column?")
    else:
        found.ok(topic, what, f"{share}: who points at them waits" if lacking else f"none of {len(usable)} rows {text}")


def _segments(found: Findings, topic: str, what: str, table: Reference) -> None:
    """The table of segments: the first column kept is the code."""
    partitions: dict[str, set[int]] = {}
    names: Counter[str] = Counter()
    usable: list[bool] = []
    for key in table.every():
        row = table.get(key)
        if row is None or table.deleted(key):
            continue
        code = _code(row[0])
        usable.append(bool(code))
        if code:
            names[code] += 1
            partitions.setdefault(code, set()).add(table.partition(key))
    _share(found, topic, what, f"hold no usable code in {table.rule.columns[0]}: left out", usable)
    spread = [code for code, places in partitions.items() if len(places) > 1]
    twice = [code for code, count in names.items() if count > 1]
    if spread:
        found.warn(
            topic, "owner", f"rows of {spread[0]} are in {len(partitions[spread[0]])} partitions: the instances that own "
            "them name that segment by turns", "one row for each code",
        )  # fmt: skip
    elif twice:
        found.warn(topic, "owner", f"several rows have the code {twice[0]}: the last one read names it", "one row each")
    else:
        found.ok(topic, "owner", "whoever owns a row's partition creates its segment; each code has one row")


def pointed(found: Findings, topic: str, pointing: Mapping[str, Mapping[str, None]], parents: Parents) -> None:
    """Rows that point at references whose samples are all that there is: what they point at is there, or they wait."""
    for name, keys in pointing.items():
        if name not in parents.whole:
            found.ok(
                topic, f"points at {name}", f"{len(keys)} different keys; the reference is too long to look for each"
            )
            continue
        table = parents.tables[name]
        gone = sum(table.get(key) is None for key in keys)
        if not gone:
            found.ok(topic, f"points at {name}", f"{len(keys)} different keys, all there")
        elif gone < len(keys):
            found.warn(
                topic, f"points at {name}", f"{gone} of {len(keys)} different keys are not there: their rows wait"
            )
        else:
            found.fail(
                topic, f"points at {name}", f"none of {len(keys)} different keys is there",
                f"settings: `by`, or references.{name}.key: they are not of one kind",
            )  # fmt: skip
