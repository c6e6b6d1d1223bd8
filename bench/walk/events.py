"""A million Debezium-shaped records of segment_members(segment, customer_id): JSON of about 600 bytes, or framed Avro.

About a fifth are tombstones; a third of the rest concern a membership that changes again soon after. Knows the truth.
"""

from __future__ import annotations

import io
import json
import random
import struct
import time
from collections.abc import Iterator

import fastavro

KEY_SCHEMA = {
    "type": "record", "name": "Key", "namespace": "bench.public.segment_members",
    "fields": [{"name": "segment", "type": "string"}, {"name": "customer_id", "type": "long"}],
}  # fmt: skip
VALUE_SCHEMA = {
    "type": "record", "name": "Envelope", "namespace": "bench.public.segment_members",
    "fields": [
        {"name": "before", "default": None, "type": ["null", {
            "type": "record", "name": "Value", "fields": [
                {"name": "segment", "type": "string"}, {"name": "customer_id", "type": "long"},
                {"name": "added_at", "type": {"type": "string", "connect.name": "io.debezium.time.ZonedTimestamp"}},
            ]}]},
        {"name": "after", "default": None, "type": ["null", "Value"]},
        {"name": "source", "type": {
            "type": "record", "name": "Source", "namespace": "io.debezium.connector.postgresql", "fields": [
                {"name": "version", "type": "string"}, {"name": "connector", "type": "string"},
                {"name": "name", "type": "string"}, {"name": "ts_ms", "type": "long"},
                {"name": "snapshot", "default": "false", "type": [{"type": "string", "connect.default": "false"}, "null"]},
                {"name": "db", "type": "string"}, {"name": "sequence", "default": None, "type": ["null", "string"]},
                {"name": "schema", "type": "string"}, {"name": "table", "type": "string"},
                {"name": "txId", "default": None, "type": ["null", "long"]},
                {"name": "lsn", "default": None, "type": ["null", "long"]},
            ]}},
        {"name": "op", "type": "string"},
        {"name": "ts_ms", "default": None, "type": ["null", "long"]},
    ],
}  # fmt: skip
SCHEMAS = {1: json.dumps(KEY_SCHEMA), 2: json.dumps(VALUE_SCHEMA)}


class Table:
    """Rows that come and go; each step gives the records of one change."""

    def __init__(self, seed: int, segments: int, customers: int) -> None:
        self._random = random.Random(seed)
        self._segments = [f"seg-{n}" for n in range(segments)]
        self._customers = customers
        self._lsn = 26_000_000
        self._hot: list[tuple[str, int]] = []
        self.rows: set[tuple[str, int]] = set()

    def change(self) -> tuple[str, str, int, int]:
        """op, segment, customer, lsn."""
        pick = self._random
        if self._hot and pick.random() < 0.33:
            row = self._hot[int(pick.random() * len(self._hot))]
        else:
            row = (self._segments[int(pick.random() * len(self._segments))], 1 + int(pick.random() * self._customers))
            if len(self._hot) < 5_000:
                self._hot.append(row)
            else:
                self._hot[int(pick.random() * 5_000)] = row
        self._lsn += 112
        if row in self.rows:
            if pick.random() < 0.6:
                self.rows.discard(row)
                return "d", *row, self._lsn
            return "u", *row, self._lsn
        self.rows.add(row)
        return "c", *row, self._lsn

    def truth(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for segment, customer in self.rows:
            found.setdefault(segment, set()).add(str(customer))
        return found


def _json(op: str, segment: str, customer: int, lsn: int) -> tuple[bytes, bytes]:
    now = int(time.time() * 1000)
    key = f'{{"segment":"{segment}","customer_id":{customer}}}'.encode()
    row = f'{{"segment":"{segment}","customer_id":{customer},"added_at":"2026-11-23T10:15:30.123456Z"}}'
    fake = f'{{"segment":"{segment}","customer_id":{customer},"added_at":"1970-01-01T00:00:00.000000Z"}}'
    before, after = (fake, "null") if op == "d" else ("null", row)
    value = (
        f'{{"before":{before},"after":{after},"source":{{"version":"3.6.3.Final","connector":"postgresql","name":"bench",'
        f'"ts_ms":{now},"snapshot":"false","db":"shop","sequence":"[\\"{lsn}\\",\\"{lsn}\\"]","ts_us":{now}000,'
        f'"ts_ns":{now}000000,"schema":"public","table":"segment_members","txId":{lsn // 100},"lsn":{lsn},"xmin":null,'
        f'"origin":null,"origin_lsn":null}},"transaction":null,"op":"{op}","ts_ms":{now},"ts_us":{now}123,"ts_ns":{now}123456}}'
    ).encode()
    return key, value


def inserted(segment: str, customer: int, lsn: int) -> tuple[bytes, bytes]:
    """The record of one new row."""
    return _json("c", segment, customer, lsn)


def json_records(table: Table, count: int) -> Iterator[tuple[bytes, bytes | None]]:
    made = 0
    while made < count:
        op, segment, customer, lsn = table.change()
        key, value = _json(op, segment, customer, lsn)
        yield key, value
        made += 1
        if op == "d":
            yield key, None
            made += 1


def avro_records(table: Table, count: int) -> Iterator[tuple[bytes, bytes | None]]:
    key_schema, value_schema = fastavro.parse_schema(KEY_SCHEMA), fastavro.parse_schema(VALUE_SCHEMA)
    made = 0
    while made < count:
        op, segment, customer, lsn = table.change()
        now = int(time.time() * 1000)
        key, value = io.BytesIO(), io.BytesIO()
        key.write(struct.pack(">bI", 0, 1))
        fastavro.schemaless_writer(key, key_schema, {"segment": segment, "customer_id": customer})
        row = {"segment": segment, "customer_id": customer, "added_at": "2026-11-23T10:15:30.123456Z"}
        source = {
            "version": "3.6.3.Final", "connector": "postgresql", "name": "bench", "ts_ms": now, "snapshot": "false",
            "db": "shop", "sequence": f'["{lsn}","{lsn}"]', "schema": "public", "table": "segment_members",
            "txId": lsn // 100, "lsn": lsn,
        }  # fmt: skip
        value.write(struct.pack(">bI", 0, 2))
        before = {**row, "added_at": "1970-01-01T00:00:00.000000Z"} if op == "d" else None
        envelope = {"before": before, "after": None if op == "d" else row, "source": source, "op": op, "ts_ms": now}
        fastavro.schemaless_writer(value, value_schema, envelope)
        yield key.getvalue(), value.getvalue()
        made += 1
        if op == "d":
            yield key.getvalue(), None
            made += 1
