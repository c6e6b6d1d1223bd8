"""From what the samples of one topic hold to findings, with the line to copy for each."""

from __future__ import annotations

from typing import Final

from stream.check.findings import Findings
from stream.check.sample import Seen
from stream.core.mapping import RowMapping
from stream.errors import SettingsError
from stream.settings import Table

SHOWN_MAX: Final = 5
FEW: Final = 50
"""Of so few changes nothing is concluded from what is absent."""

TO_TEXT: Final = 'connector: "decimal.handling.mode": "string"'


def table_name(topic: str) -> str:
    """schema.table as the connector names topics: prefix.schema.table."""
    return ".".join(topic.split(".")[-2:])


def full_identity(topic: str) -> str:
    return f"ALTER TABLE {table_name(topic)} REPLICA IDENTITY FULL;"


def key_columns(topic: str, mapping: RowMapping) -> str:
    columns = ",".join(dict.fromkeys(name for name in mapping.columns if name in mapping.key_columns))
    return f'connector: "message.key.columns": "{table_name(topic)}:{columns}"'


def judge(
    found: Findings, topic: str, table: Table, mapping: RowMapping, seen: Seen, *, other: int, has_registry: bool
) -> None:
    """other: how many samples the other envelope setting would read as row changes."""
    if not seen.records:
        found.warn(topic, "samples", "no record to look at: nothing is proved", "insert a row, or let the snapshot run")
        return
    changes = sum(seen.ops[op] for op in "rcud")
    forms = ", ".join(f"{form} {count}" for form, count in seen.forms.most_common())
    ops = ", ".join(f"{op} {count}" for op, count in seen.ops.most_common())
    found.ok(topic, "samples", f"{seen.records} records: {ops or 'none readable'}")
    _format(found, topic, table, seen, forms, has_registry=has_registry)
    if _envelope(found, topic, table, changes, other):
        return
    _readable(found, topic, seen, changes)
    if not changes:
        found.warn(topic, "rows", "no row change among the samples: nothing is proved", "insert a row, or snapshot")
        return
    _key(found, topic, mapping, seen)
    _owner(found, topic, table, mapping, seen)
    _identity(found, topic, table, mapping, seen, changes)
    _rows(found, topic, seen)


def _format(found: Findings, topic: str, table: Table, seen: Seen, forms: str, *, has_registry: bool) -> None:
    framed = sum(count for form, count in seen.forms.items() if form.startswith("avro"))
    plain = sum(count for form, count in seen.forms.items() if form.startswith("json"))
    if framed and seen.framings and table.framing not in seen.framings:
        allowed = " or ".join(sorted(seen.framings))
        found.fail(
            topic, "format", f"{forms}, but not as framing: {table.framing}",
            f"settings: framing: {allowed}", SettingsError.exit_code,
        )  # fmt: skip
    elif seen.needs is not None and not has_registry:
        found.fail(
            topic, "format", f"{forms}: a schema is to be looked up by its {seen.needs.kind}, and no registry is set",
            "settings: registry: {url: http://registry:8080}", SettingsError.exit_code,
        )  # fmt: skip
    elif seen.needs is not None:
        found.warn(topic, "format", f"{forms}: not looked into, as the registry does not answer")
    elif (table.format == "json" and framed) or (table.format == "avro" and plain):
        found.fail(
            topic, "format", f"{forms}, though format: {table.format} is set", "settings: format: auto",
            SettingsError.exit_code,
        )  # fmt: skip
    elif seen.forms["json with schema"]:
        found.ok(
            topic, "format", f"{forms}; the schema is most of each record",
            'connector, for less traffic: "value.converter.schemas.enable": "false"',
        )  # fmt: skip
    else:
        found.ok(topic, "format", forms + (f", framing {table.framing}" if framed else ""))


def _envelope(found: Findings, topic: str, table: Table, changes: int, other: int) -> bool:
    """Whether the envelope setting is wrong: then nothing else can be said."""
    if other > changes:
        right = "unwrapped" if table.envelope == "debezium" else "debezium"
        found.fail(
            topic, "envelope", f"{table.envelope} is set: it reads {changes} row changes, {right} would read {other}",
            f"settings: envelope: {right}", SettingsError.exit_code,
        )  # fmt: skip
        return True
    if changes:
        found.ok(topic, "envelope", table.envelope)
    return False


def _readable(found: Findings, topic: str, seen: Seen, changes: int) -> None:
    for count, detail in seen.halts.values():
        found.fail(
            topic, "columns", f"{count} records lack a mapped column, `run` stops there: {detail}",
            "settings: name the column as the table does; or begin after the column was added",
        )  # fmt: skip
    for reason, (count, detail) in seen.unreadable.items():
        advice = TO_TEXT if reason == "decimal" else ""
        if changes or seen.halts:
            found.warn(topic, "unreadable", f"{count} records would become letters ({reason}): {detail}", advice)
        else:
            found.fail(topic, "unreadable", f"{count} records, and no other can be read ({reason}): {detail}", advice)
    if seen.ops["t"]:
        found.warn(topic, "truncate", "TRUNCATE was sent: it is recorded, never executed", "compare, then rebuild")


def _key(found: Findings, topic: str, mapping: RowMapping, seen: Seen) -> None:
    if seen.keyless:
        found.fail(
            topic, "key", f"{seen.keyless} row changes have no key: `run` refuses such tables",
            f"ALTER TABLE {table_name(topic)} ADD PRIMARY KEY (…); or, with REPLICA IDENTITY FULL, "
            f"{key_columns(topic, mapping)}",
        )  # fmt: skip
        return
    shapes = [f"({', '.join(columns)})" for columns, _ in seen.keys.most_common(SHOWN_MAX)]
    if len(seen.keys) > 1:
        found.warn(
            topic, "key", f"its columns changed: {' and '.join(shapes)}", "old rows keep their old key: start anew"
        )
    else:
        found.ok(topic, "key", shapes[0])
    if seen.placed:
        found.warn(
            topic, "placement", f"{seen.placed} records have a key that stands in another partition, too",
            "was the partition count raised? Recreate the topic by a snapshot, so that each row has one partition",
        )  # fmt: skip


def _owner(found: Findings, topic: str, table: Table, mapping: RowMapping, seen: Seen) -> None:
    claim = table.partitioned_by
    if seen.broken:
        why, count = next(iter(seen.broken.items()))
        surrogate = "no column" in why
        found.fail(
            topic, "owner", f"partitioned_by: {claim} is contradicted by {count} keys: {why}",
            (f"{full_identity(topic)} {key_columns(topic, mapping)}, or settings: partitioned_by: none"
             if surrogate else full_identity(topic)),
        )  # fmt: skip
        return
    in_key = seen.keys and all(
        mapping.key_columns <= set(columns) <= mapping.key_columns_allowed for columns in seen.keys
    )
    if seen.fake_keys and (in_key or claim != "none"):
        found.fail(
            topic,
            "owner",
            f"{seen.fake_keys} deletes carry stand-ins in their key: they name no row",
            full_identity(topic),
        )
        return
    spread = [code for code, places in seen.segments.items() if len(places) > 1]
    if claim == "segment" and spread:
        found.fail(
            topic, "owner", f"segment {spread[0]} is in {len(seen.segments[spread[0]])} partitions, "
            "though partitioned_by: segment is set", "settings: partitioned_by: none, and run one instance",
        )  # fmt: skip
    elif claim != "none":
        number = claim == "membership" and table.terms[0][0] == "number"
        found.ok(
            topic, "owner", f"partitioned_by: {claim} holds in every sample",
            "it rests on numbers that are unique and never change: partitioned_by: none where they may" if number else "",
        )  # fmt: skip
    elif in_key and _may_move(table):
        found.ok(
            topic, "owner", f"one instance owns every partition (replicas: 1): the key holds {_may_move(table)}, "
            "which can come to mean another customer",
        )  # fmt: skip
    elif in_key:
        only = "no other table feeds these segments"
        if table.segment.reference is not None:
            only += ", and no two of its keys share a code"
        if table.terms[0][0] == "number":
            only += ", and a number is unique and never changes"
        found.ok(
            topic, "owner", "one instance owns every partition; the keys hold segment and member: more could share",
            f"settings, for several instances: partitioned_by: membership (if {only})",
        )  # fmt: skip
    else:
        found.ok(
            topic, "owner", "one instance owns every partition (replicas: 1): the key does not hold segment and member"
        )


def _may_move(table: Table) -> str:
    """What names the customer, where it can come to mean another one; empty where it cannot."""
    if len(table.terms) > 1:
        return "one of several identities"
    kind = table.terms[0][0]
    return "" if kind in ("id", "number") else "an email" if kind == "email" else "a reference"


def _identity(found: Findings, topic: str, table: Table, mapping: RowMapping, seen: Seen, changes: int) -> None:
    del mapping
    told = table.replica_identity
    newest = max((entry for entry in seen.latest.values() if entry[1] != "null"), default=(0, ""))[1]
    updates = seen.latest.get("u", (0, ""))[1]
    deletes = seen.ops["d"] + seen.ops["tombstone"]
    if newest == "key only":
        found.ok(topic, "replica identity", "the key alone says which membership ends")
    elif told == "full" and newest in ("stand-ins", "part"):
        found.fail(
            topic, "replica identity", "full is set, but the newest old rows hold stand-ins for what was not logged",
            full_identity(topic),
        )  # fmt: skip
    elif told == "full" and updates == "null" and table.envelope == "debezium":
        found.fail(topic, "replica identity", "full is set, but updates come without the old row", full_identity(topic))
    elif told == "default" and newest == "real":
        found.ok(
            topic, "replica identity", "FULL (or USING INDEX) is seen, default is set: old rows are not believed",
            "settings, if it is FULL: replica_identity: full, so that deletes of rows never seen are understood",
        )  # fmt: skip
    elif newest == "stand-ins" or updates == "null":
        found.ok(
            topic, "replica identity", "DEFAULT is seen: a delete of a row never seen becomes a letter",
            f"at the source, to understand those: {full_identity(topic)} settings: replica_identity: full",
        )  # fmt: skip
    else:
        found.ok(topic, "replica identity", f"{told} is set; no update or delete among the samples shows it")
    if not deletes and seen.ops["u"] + seen.ops["c"] >= FEW and table.envelope == "unwrapped":
        found.warn(
            topic, "deletes", f"none among {changes} changes: the transform may drop them",
            'connector: "transforms.unwrap.delete.tombstone.handling.mode": "rewrite"',
        )  # fmt: skip


def _rows(found: Findings, topic: str, seen: Seen) -> None:
    says = ", ".join(f"{what} {count}" for what, count in seen.says.most_common())
    codes = sorted(seen.segments)
    shown = ", ".join(codes[:SHOWN_MAX]) + (f" … ({len(codes)})" if len(codes) > SHOWN_MAX else "")
    text = f"{says or 'nothing but deletes'}; {seen.members} memberships in {len(codes)} segments: {shown or '-'}"
    usable = seen.says["membership"] + seen.says["not present"]
    if seen.refusals and not usable:
        found.fail(topic, "rows", f"every row would become a letter: {text}", _refused(seen))
    elif seen.refusals:
        found.warn(topic, "rows", f"some would become letters: {text}", _refused(seen))
    elif seen.says["not present"] and not seen.says["membership"]:
        found.warn(topic, "rows", f"no row counts as present: {text}", "settings: look at `present`")
    else:
        found.ok(topic, "rows", text)


def _refused(seen: Seen) -> str:
    lines = [f"{reason} {count}: {detail}" for reason, (count, detail) in sorted(seen.refusals.items())]
    if any(("dict" in detail or "float" in detail or "bytes" in detail) for _, detail in seen.refusals.values()):
        lines.append(TO_TEXT)
    return "; ".join(lines)
