"""The stack itself: if these fail, no other system test means anything."""
# ruff: noqa: S310 - the URLs are its own servers

from __future__ import annotations

import io
import json
import struct
import urllib.request

import fastavro
from stack.stack import Stack, json_converters


def avro(stack: Stack, framed: bytes) -> dict[str, object]:
    magic, schema_id = struct.unpack(">bI", framed[:5])
    assert magic == 0
    with urllib.request.urlopen(f"{stack.registry_url}/schemas/ids/{schema_id}", timeout=10) as answer:
        schema = fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
    value = fastavro.schemaless_reader(io.BytesIO(framed[5:]), schema, None)
    assert isinstance(value, dict)
    return value


def test_a_row_arrives_as_json(stack: Stack) -> None:
    stack.sql("create table asjson(id bigint primary key, email text not null)")
    stack.connect("asjson", {"table.include.list": "public.asjson", **json_converters()})
    stack.sql("insert into asjson values (7, 'a@example.org')")
    (message,) = stack.read("asjson.public.asjson", 1)
    assert json.loads(message.key()) == {"id": 7}
    value = json.loads(message.value())
    assert value["op"] == "c"
    assert value["after"] == {"id": 7, "email": "a@example.org"}
    stack.delete_connector("asjson")


def test_a_row_arrives_as_framed_avro(stack: Stack) -> None:
    stack.sql("create table asavro(id bigint primary key, email text not null)")
    stack.connect("asavro", {"table.include.list": "public.asavro", **stack.avro_converters()})
    stack.sql("insert into asavro values (7, 'a@example.org')")
    (message,) = stack.read("asavro.public.asavro", 1)
    assert avro(stack, message.key()) == {"id": 7}
    value = avro(stack, message.value())
    assert value["op"] == "c"
    assert value["after"] == {"id": 7, "email": "a@example.org"}
    stack.delete_connector("asavro")


def test_a_killed_connector_repeats_and_a_marker_shows_when_it_has_caught_up(stack: Stack) -> None:
    stack.sql("create table again(id bigint primary key)")
    stack.restart_connect(kill=False, offset_flush_interval_ms=600_000)
    stack.connect("again", {"table.include.list": "public.again", **json_converters()})
    stack.sql("insert into again select generate_series(1, 100)")
    ends = stack.wait_caught_up("again", "again.public.again")
    assert sum(ends.values()) == 100

    stack.restart_connect(offset_flush_interval_ms=1000)
    ends = stack.wait_caught_up("again", "again.public.again")
    assert sum(ends.values()) == 200, "a worker that was killed before it wrote its offsets did not repeat its events"
    stack.delete_connector("again")
