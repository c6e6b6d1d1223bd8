"""What samples of one topic hold: read as `run` would read them, and counted.

Only counts, column names, segment codes and reasons are for people. A few identities are kept to look them up at retail.red, and
which rows of references are pointed at; neither is ever shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from stream.core.claims import CODE, REFERENCE
from stream.core.decode import DecodeSpec, TopicDecoder, row_key
from stream.core.mapping import Partly, Refusal, RowMapping
from stream.core.model import (
    MISSING,
    Change,
    Claim,
    Columns,
    Decoded,
    Halt,
    SchemaId,
    Skip,
    Slice,
    Tombstone,
    Truncate,
    Unreadable,
)

SEGMENTS_MAX: Final = 10_000
POINTED_MAX: Final = 10_000
IDENTITIES_MAX: Final = 5
"""Of each kind, to be looked up."""
_SCHEMA_HEADERS: Final = {
    "__value_schema_id": "confluent_guid_header",
    "apicurio.value.globalId": "apicurio_global_id_header",
    "apicurio.value.contentId": "apicurio_content_id_header",
}

Fetch = Callable[[SchemaId], str | None]
"""The registry's answer; raises SegstreamError."""

Code = Callable[[str], str]
"""The code of a claim's segment, "" where it is not known."""


def plain_code(segment: str) -> str:
    """Of a segment that is named by its code."""
    return segment[len(CODE) :] if segment.startswith(CODE) else ""


@dataclass(slots=True)
class Seen:
    """Counts of one topic's samples.

    forms: how values are written (json, json with schema, avro framed …). framings: those that framed ones allow.
    ops: r, c, u, d, t, tombstone, and skip reasons. unreadable, halts, refusals: reason to (count, one line).
    keys: column names of record keys. keyless: changes without a key. broken: why keys contradict the claimed case.
    segments: code to the partitions in which rows say it. placed: keys that stand in more than one partition.
    befores: (op, kind) of the old rows: real, stand-ins, part, null. latest: the newest such kind by op.
    fake_keys: deletes whose key holds stand-ins for mapped columns.
    identities: a few emails and numbers by kind. pointed: by reference, the keys that rows point at.
    """

    records: int = 0
    forms: Counter[str] = field(default_factory=Counter)
    framings: Counter[str] = field(default_factory=Counter)
    ops: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, tuple[int, str]] = field(default_factory=dict)
    halts: dict[str, tuple[int, str]] = field(default_factory=dict)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    says: Counter[str] = field(default_factory=Counter)
    keys: Counter[tuple[str, ...]] = field(default_factory=Counter)
    keyless: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    segments: dict[str, set[int]] = field(default_factory=dict)
    members: int = 0
    placed: int = 0
    befores: Counter[tuple[str, str]] = field(default_factory=Counter)
    latest: dict[str, tuple[int, str]] = field(default_factory=dict)
    fake_keys: int = 0
    newest_ms: int = 0
    needs: SchemaId | None = None
    identities: dict[str, dict[str, None]] = field(default_factory=dict, repr=False)
    pointed: dict[str, dict[str, None]] = field(default_factory=dict, repr=False)


def _note(into: dict[str, tuple[int, str]], reason: str, detail: str) -> None:
    count, first = into.get(reason, (0, detail))
    into[reason] = (count + 1, first)


def read(
    spec: DecodeSpec, mapping: RowMapping, slices: Sequence[Slice], fetch: Fetch | None, code: Code = plain_code
) -> Seen:
    """Count what these slices hold. Raises the SegstreamError of `fetch`."""
    seen = Seen()
    decoder = TopicDecoder(spec)
    members: set[Any] = set()
    places: dict[bytes, int] = {}
    for one in slices:
        seen.records += len(one.offsets)
        for i, value in enumerate(one.values):
            if value is not None:
                _form(seen, value, one.headers(i))
        items, seen.needs = decoded(decoder, one, fetch, seen.needs)
        for item, at_ms in zip(items, one.timestamps_ms, strict=False):
            _item(seen, mapping, item, one.tp.partition, at_ms, members, code)
            key = item.key if isinstance(item, (Change, Tombstone)) else None
            if key is not None and places.setdefault(row_key(key), one.tp.partition) != one.tp.partition:
                seen.placed += 1
    seen.members = len(members)
    return seen


def other_envelope(spec: DecodeSpec, slices: Sequence[Slice], fetch: Fetch | None) -> int:
    """How many of these records the other envelope setting would read as row changes."""
    other = replace(spec, envelope="unwrapped" if spec.envelope == "debezium" else "debezium")
    decoder = TopicDecoder(other)
    return sum(isinstance(item, Change) for one in slices for item in decoded(decoder, one, fetch)[0])


def decoded(
    decoder: TopicDecoder, one: Slice, fetch: Fetch | None, needed: SchemaId | None = None
) -> tuple[list[Decoded], SchemaId | None]:
    """The slice's items, and a schema that could not be asked for: this one, or `needed` before. Raises what `fetch` does."""
    items: list[Decoded] = []
    while True:
        found = decoder.decode(one, len(items))
        items += found.items
        if found.needs is None:
            return items, needed
        if fetch is None:
            return items, found.needs
        decoder.learn(found.needs, fetch(found.needs))


def _form(seen: Seen, value: bytes, headers: Sequence[tuple[str, bytes | None]]) -> None:
    named = [framing for name, framing in _SCHEMA_HEADERS.items() if any(header == name for header, _ in headers)]
    if named:
        seen.forms["avro, schema in a header"] += 1
        seen.framings.update(named)
    elif value[:1] == b"\0":
        seen.forms["avro, framed"] += 1
        # four zero bytes can only be the upper half of a long id: nobody's schema has the number 0
        seen.framings.update(["apicurio_int64"] if value[1:5] == b"\0\0\0\0" else ["confluent", "apicurio_content_id"])
    elif value[:1] == b"\1" and len(value) > 17:
        seen.forms["avro, framed"] += 1
        seen.framings["confluent_guid_prefix"] += 1
    elif value.startswith((b'{"schema":', b'{"payload":')):
        seen.forms["json with schema"] += 1
    elif value[:1] in (b"{", b"n"):
        seen.forms["json"] += 1
    else:
        seen.forms["something else"] += 1


def _item(
    seen: Seen, mapping: RowMapping, item: Decoded, partition: int, at_ms: int, members: set[Any], code: Code
) -> None:
    if isinstance(item, Unreadable):
        _note(seen.unreadable, item.reason, item.detail)
    elif isinstance(item, Halt):
        _note(seen.halts, item.reason, item.detail)
    elif isinstance(item, Skip):
        seen.ops[item.reason] += 1
    elif isinstance(item, Truncate):
        seen.ops["t"] += 1
    elif isinstance(item, Tombstone):
        seen.ops["tombstone"] += 1
    else:
        seen.ops[item.op] += 1
        seen.newest_ms = max(seen.newest_ms, item.ts_ms)
        _change(seen, mapping, item, partition, at_ms, members, code)


def _change(
    seen: Seen, mapping: RowMapping, item: Change, partition: int, at_ms: int, members: set[Any], code: Code
) -> None:
    after = item.after if item.op != "d" else None
    if item.key is None:
        seen.keyless += 1
        return
    seen.keys[tuple(item.key)] += 1
    why = mapping.key_breaks_claim(item.key, after)
    if why:
        seen.broken[why] = seen.broken.get(why, 0) + 1
    if item.op in ("u", "d"):
        kind = _before(mapping, item.key, item.before)
        seen.befores[item.op, kind] += 1
        if at_ms >= seen.latest.get(item.op, (0, ""))[0]:
            seen.latest[item.op] = (at_ms, kind)
    if after is None:
        mapped = [item.key[name] for name in mapping.key_columns if name in item.key]
        seen.fake_keys += bool(mapped) and all(_fake(value) for value in mapped)
        return
    said = mapping.says(item)
    if isinstance(said, Refusal):
        seen.says["refused"] += 1
        _note(seen.refusals, said.reason, said.detail)
    elif isinstance(said, Partly):
        seen.says["unchanged values left out"] += 1
    elif said is None:
        seen.says["not present"] += 1
    else:
        seen.says["membership"] += 1
        members.add(said)
        if isinstance(said, Claim):
            _claim(seen, said)
        segment = code(said.segment) if isinstance(said, Claim) else said[0]
        if segment and (segment in seen.segments or len(seen.segments) < SEGMENTS_MAX):
            seen.segments.setdefault(segment, set()).add(partition)


def _claim(seen: Seen, claim: Claim) -> None:
    for term in (claim.segment, *claim.terms):
        kind, value = term.split(":", 1)
        if term.startswith(REFERENCE):
            name, key = value.split(":", 1)
            pointed = seen.pointed.setdefault(name, {})
            if len(pointed) < POINTED_MAX:
                pointed[key] = None
        elif kind in ("email", "number"):
            known = seen.identities.setdefault(kind, {})
            if len(known) < IDENTITIES_MAX:
                known[value] = None


def _fake(value: Any) -> bool:
    """Whether a value may be Debezium's stand-in for one that the database did not log."""
    return value in (None, "", 0, False, MISSING) or (
        isinstance(value, str) and value.startswith("1970-01-01T00:00:00")
    )


def _before(mapping: RowMapping, key: Mapping[str, Any], before: Columns | None) -> str:
    """What the old row holds in those mapped columns that the key does not: real, stand-ins, part; or null."""
    if before is None:
        return "null"
    values = [value for name, value in zip(mapping.columns, before, strict=True) if name not in key]
    if not values:
        return "key only"
    fakes = [_fake(value) for value in values]
    if all(fakes):
        return "stand-ins"
    identity = [
        _fake(value)
        for name, value in zip(mapping.columns, before, strict=True)
        if name not in key and name in mapping.key_columns
    ]
    return "part" if any(identity) else "real"
