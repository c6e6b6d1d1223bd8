"""A reference table of captured events."""

import json
from typing import Any

import pytest
from captured import EVENTS, SCHEMAS, framed, raw, slice_of

from stream.core.decode import DecodeSpec, TopicDecoder
from stream.core.model import SchemaId
from stream.core.references import Reference, ReferenceRule


@pytest.mark.parametrize("avro", [False, True])
def test_captured_events_end_as_the_table_was(*, avro: bool) -> None:
    """Customers of a real connector: snapshot, updates, a deleted one, in JSON and in Avro."""
    topic = "srv.public.customers"
    rule = ReferenceRule("customers", "id", ("email",))
    decoder = TopicDecoder(DecodeSpec(topic, rule.decoded()))
    for number, text in SCHEMAS.items():
        decoder.learn(SchemaId("id", number), text)
    table = Reference(rule)
    expected: dict[str, tuple[Any, bool]] = {}
    events = [event for event in EVENTS if event["topic"] == topic]
    assert len(events) > 5
    for event in events:
        key, value = (json.loads(event[name]) if event[name] else None for name in ("key", "value"))
        if value is not None and value.get("op") in ("c", "r", "u"):
            expected[str(value["after"]["id"])] = (value["after"]["email"], False)
        elif key is not None and str(key["id"]) in expected:
            expected[str(key["id"])] = (expected[str(key["id"])][0], True)
        record = (
            (framed(event["key_avro"]), framed(event["value_avro"]))
            if avro
            else (raw(event["key"]), raw(event["value"]))
        )
        table.fold(decoder.decode(slice_of([record])).items)
    assert {key: ((table.get(key) or ("?",))[0], table.deleted(key)) for key in expected} == expected
    assert len(table) == len(expected)
    assert any(deleted for _, deleted in expected.values())
