"""The source and what Debezium makes of it, folded by a few lines that share nothing with the program under test.

If these fail, the truth that the other tests compare with cannot be had from the topic at all.
"""
# ruff: noqa: S310 - the registry is the stack's own

from __future__ import annotations

import functools
import io
import json
import struct
import urllib.request
from typing import Any

import fastavro
import pytest
from cases import CASES, Case, Encoding
from source import Source
from stack.stack import Stack

ENCODINGS: tuple[Encoding, ...] = ("json", "avro", "json_schemas")


@functools.cache
def schema(registry_url: str, schema_id: int) -> Any:
    with urllib.request.urlopen(f"{registry_url}/schemas/ids/{schema_id}", timeout=10) as answer:
        return fastavro.parse_schema(json.loads(json.load(answer)["schema"]))


def read(registry_url: str, raw: bytes | None) -> Any:
    if raw is None:
        return None
    if raw[:1] == b"\x00":
        (schema_id,) = struct.unpack(">I", raw[1:5])
        return fastavro.schemaless_reader(io.BytesIO(raw[5:]), schema(registry_url, schema_id), None)
    value = json.loads(raw)
    return value["payload"] if isinstance(value, dict) and value.keys() == {"schema", "payload"} else value


def says(case: Case, row: dict[str, Any]) -> tuple[str, str] | None:
    if case.kind == "tier":
        return None if row["tier"] is None else (f"tier-{row['tier']}", str(row["customer_id"]))
    return None if row.get("deleted_at") is not None else (row["segment_code"], row["customer_id"])


def fold(stack: Stack, source: Source, records: int) -> dict[str, set[str]]:
    rows: dict[str, tuple[str, str] | None] = {}
    for message in stack.read(source.topic, records):
        key = json.dumps(read(stack.registry_url, message.key()), sort_keys=True)
        value = read(stack.registry_url, message.value())
        if source.case.table.get("envelope") != "unwrapped":
            value = value and value["after"]
        elif value and value.get("__deleted") == "true":
            value = None
        rows[key] = says(source.case, value) if value else None
    found: dict[str, set[str]] = {}
    for row in rows.values():
        if row:
            found.setdefault(row[0], set()).add(row[1])
    return found


@pytest.mark.parametrize(("case", "encoding"), [(name, ENCODINGS[i % 3]) for i, name in enumerate(CASES)])
def test_the_topic_holds_the_truth(stack: Stack, case: str, encoding: Encoding) -> None:
    source = Source(stack, case, encoding, seed=1, name=f"source_{case}", alter_key=True)
    source.create(rows=50)
    source.connect()
    source.run(200)
    source.fill(50, "last")  # the writers may have deleted nearly all
    ends = source.caught_up()
    assert source.outcomes["committed"] > 100, source.outcomes
    assert source.outcomes["altered"] == len(source.alterations)
    truth = source.truth()
    assert sum(map(len, truth.values())) > 20, "too little is left of the table for a comparison to mean anything"
    assert fold(stack, source, sum(ends.values())) == truth
    source.drop()
