import io
import json
import struct
import uuid
from typing import Any

import fastavro
import pytest
from captured import EVENTS, SCHEMAS, decoder, framed, one, slice_of, spec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.core.decode import DecodeSpec, Limits, TopicDecoder
from stream.core.decode.avro_rows import Writer
from stream.core.decode.avro_schema import SchemaError, parse
from stream.core.model import UNAVAILABLE, Change, SchemaId, Tombstone, Unreadable

BRIEF = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ROW = {
    "type": "record",
    "name": "V",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "note", "type": ["null", "string"]},
        {"name": "n", "type": ["null", {"type": "bytes", "logicalType": "decimal", "scale": 2, "precision": 12}]},
    ],
}
ID = SchemaId("id", 7)


def encode(schema: dict[str, Any], value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def learned(*columns: str, schema: Any = ROW, schema_id: SchemaId = ID, **more: Any) -> TopicDecoder:
    it = TopicDecoder(DecodeSpec("t", columns, "unwrapped", **more))
    it.learn(schema_id, json.dumps(schema))
    return it


def payload(number: int = 1, note: str | None = "x") -> bytes:
    return encode(ROW, {"id": number, "note": note, "n": None})


GUID = uuid.UUID("0f4e5c1a-9d7b-4c55-a0b1-8d1f63f9a111")
EIGHT = struct.pack(">q", 7)
FRAMED = [
    ("confluent", SchemaId("id", 7), b"\0\0\0\0\x07", []),
    ("confluent_guid_prefix", SchemaId("guid", str(GUID)), b"\1" + GUID.bytes, []),
    ("confluent_guid_header", SchemaId("guid", str(GUID)), b"", [("__value_schema_id", b"\1" + GUID.bytes)]),
    ("apicurio_int64", SchemaId("global_id", 7), b"\0" + struct.pack(">q", 7), []),
    ("apicurio_content_id", SchemaId("content_id", 7), b"\0\0\0\0\x07", []),
    ("apicurio_global_id_header", SchemaId("global_id", 7), b"", [("apicurio.value.globalId", EIGHT)]),
    (
        "apicurio_content_id_header",
        SchemaId("content_id", 7),
        b"",
        [("apicurio.value.contentId", struct.pack(">q", 7))],
    ),
]


@pytest.mark.parametrize(("framing", "schema_id", "front", "headers"), FRAMED, ids=[f[0] for f in FRAMED])
@pytest.mark.parametrize("form", ["auto", "avro"])
def test_every_framing(framing: str, schema_id: SchemaId, front: bytes, headers: list[Any], form: str) -> None:
    it = TopicDecoder(DecodeSpec("t", ("id",), "unwrapped", form, framing))  # type: ignore[arg-type]
    slice_ = slice_of([(b'{"id":1}', front + payload()), (b'{"id":1}', None)], [headers, []])
    assert it.decode(slice_) == ([], schema_id)
    it.learn(schema_id, json.dumps(ROW))
    assert it.decode(slice_).items == [Change("u", {"id": 1}, None, (1,), 0, False, None), Tombstone({"id": 1})]  # noqa: FBT003 - a struct
    it.learn(schema_id, None)
    got = it.decode(slice_).items[0]
    assert isinstance(got, Unreadable)
    assert got.reason == "unknown_schema"


@pytest.mark.parametrize("value", [b'{"id":1}', b"\2\0\0\0\7", b"\0\0", b""])
def test_unknown_magic_is_a_clear_error(value: bytes) -> None:
    got = one(learned("id", format="avro"), None, value)
    assert isinstance(got, Unreadable)
    assert got.reason == "framing"


def test_a_header_of_a_wrong_length_is_a_clear_error() -> None:
    it = TopicDecoder(DecodeSpec("t", ("id",), "unwrapped", "avro", "confluent_guid_header"))
    decoded = it.decode(slice_of([(None, b"x")], [[("__value_schema_id", b"\1\2")]]))
    assert [item.reason for item in decoded.items] == ["framing"]  # type: ignore[union-attr]


def test_one_poisonous_record_spoils_no_other() -> None:
    front = b"\0\0\0\0\x07"
    good, cut, long, text = payload(), payload()[:-2], payload() + b"x", payload().replace(b"\x02x", b"\x02\xff")
    it = learned("id", "note")
    items = it.decode(slice_of([(None, front + p) for p in (good, cut, good, long, text, good)])).items
    assert [type(item).__name__ for item in items] == ["Change", "Unreadable"] + ["Change", "Unreadable"] * 1 + [
        "Unreadable",
        "Change",
    ]
    assert {item.reason for item in items if isinstance(item, Unreadable)} == {"avro"}


def test_decimals_bytes_and_placeholders() -> None:
    schema = {
        "type": "record",
        "name": "V",
        "fields": [
            *ROW["fields"],  # type: ignore[misc]
            {"name": "raw", "type": "bytes"},
            {"name": "wide", "type": "int"},
        ],
    }
    it = learned("note", "n", "raw", "wide", schema=schema)
    plain = [{k: v for k, v in f.items()} for f in schema["fields"]]  # noqa: C416 - a copy
    plain[2] = {"name": "n", "type": ["null", "bytes"]}
    plain[4] = {"name": "wide", "type": "long"}
    writer = schema | {"fields": plain}
    rows = [
        (
            {"id": 1, "note": "__debezium_unavailable_value", "n": b"\x83", "raw": b"\xff\0", "wide": 5},
            (UNAVAILABLE, "-1.25", b"\xff\0", 5),
        ),
        (
            {"id": 1, "note": None, "n": None, "raw": b"__debezium_unavailable_value", "wide": 1 << 40},
            (None, None, UNAVAILABLE, 1 << 40),
        ),
        ({"id": 1, "note": "", "n": b"\0", "raw": b"", "wide": -1}, ("", "0.00", b"", -1)),
    ]
    front = b"\0\0\0\0\x07"
    items = it.decode(slice_of([(None, front + encode(writer, row)) for row, _ in rows])).items
    assert [item.after for item in items] == [expected for _, expected in rows]  # type: ignore[union-attr]


@pytest.mark.parametrize("root", ["null", ["null", ROW]])
def test_an_avro_null_is_a_tombstone(root: Any) -> None:
    value = b"\0\0\0\0\x07" + (b"" if root == "null" else b"\0")
    assert one(learned("id", schema=root), b'{"id":1}', value) == Tombstone({"id": 1})


def test_a_scalar_avro_key() -> None:
    it = learned("id", schema="long")
    assert one(it, b"\0\0\0\0\x07\x0e", None) == Tombstone({"": 7})


DEEP: Any = "long"
for _level in range(40):
    DEEP = {"type": "array", "items": DEEP}
BOMBS = [
    {"type": "array", "items": "null"},
    {"type": "map", "values": "null"},
    {"type": "array", "items": {"type": "record", "name": "E", "fields": []}},
    {"type": "array", "items": {"type": "record", "name": "E", "fields": [{"name": "x", "type": "null"}]}},
    {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}},
    {"type": "array", "items": ["null", {"type": "record", "name": "E", "fields": [{"name": "x", "type": "null"}]}]},
    {"type": "record", "name": "R", "fields": [{"name": "next", "type": ["null", "R"]}]},
    {"type": "record", "name": "R", "fields": [{"name": "x", "type": "Nothing"}]},
    {"type": "enum", "name": "E", "symbols": []},
    {"type": "object", "properties": {}},
    DEEP,
    5,
    [],
]


@pytest.mark.parametrize("schema", BOMBS, ids=lambda s: json.dumps(s)[:60])
def test_schemas_that_could_explode_are_refused(schema: Any) -> None:
    text = json.dumps(schema)
    with pytest.raises(SchemaError):
        parse(text, Limits())
    got = one(learned("id", schema=schema), None, b"\0\0\0\0\x07\x02")
    assert isinstance(got, Unreadable)
    assert got.reason == "unsupported_schema"


def test_protobuf_is_no_avro() -> None:
    it = TopicDecoder(DecodeSpec("t", ("id",)))
    it.learn(ID, 'syntax = "proto3"; message M {}')
    assert one(it, None, b"\0\0\0\0\x07\x02").reason == "unsupported_schema"


def test_bytes_after_a_record_are_noticed() -> None:
    front = b"\0\0\0\0\x07"
    for tail in (b"\0", b"\xcc\x17", b"\xcc\x17\0\0"):
        assert one(learned("id"), None, front + payload() + tail).reason == "avro"


def without_columns(writer: Writer) -> Writer:
    writer._rows = None
    writer._key_columns = None
    return writer


CAPTURED = sorted({e["topic"] for e in EVENTS})


@pytest.mark.parametrize("topic", CAPTURED)
@BRIEF
@given(data=st.data())
def test_the_columnar_decoder_and_fastavro_agree(topic: str, data: st.DataObject) -> None:
    """On captured payloads, whole and damaged: the same items, whichever of the two reads them."""
    mine = [e for e in EVENTS if e["topic"] == topic and e["value_avro"]]
    values = []
    for event in data.draw(st.lists(st.sampled_from(mine), min_size=1, max_size=6)):
        value = bytearray(framed(event["value_avro"]) or b"")
        if data.draw(st.booleans()):
            at = data.draw(st.integers(5, len(value) - 1))
            value[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        values.append((framed(event["key_avro"]), bytes(value)))
    columnar, single = decoder(topic), decoder(topic)
    for schema in single._schemas.values():
        without_columns(schema)  # type: ignore[arg-type]
    assert repr(columnar.decode(slice_of(values))) == repr(single.decode(slice_of(values)))


SCALARS = {
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False),
    "float": st.floats(width=32, allow_nan=False),
    "string": st.text(max_size=8),
    "bytes": st.binary(max_size=8),
}


@BRIEF
@given(data=st.data())
def test_they_agree_on_generated_schemas(data: st.DataObject) -> None:
    kinds = data.draw(
        st.lists(
            st.tuples(st.sampled_from(sorted(SCALARS)), st.sampled_from(["plain", "null first", "null last", "list"])),
            min_size=1,
            max_size=5,
        )
    )
    fields, columns = [], {}
    for i, (kind, form) in enumerate(kinds):
        made: Any = {
            "plain": kind,
            "null first": ["null", kind],
            "null last": [kind, "null"],
            "list": {"type": "array", "items": kind},
        }[form]
        fields.append({"name": f"f{i}", "type": made})
        base = SCALARS[kind]
        columns[f"f{i}"] = (
            base if form == "plain" else st.lists(base, max_size=3) if form == "list" else st.none() | base
        )
    schema = {"type": "record", "name": "V", "fields": fields}
    rows = data.draw(st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=5))
    wanted = tuple(data.draw(st.sets(st.sampled_from(sorted(columns)))))
    records = [(b"\0\0\0\0\x07" + encode(schema, row),) * 2 for row in rows]
    fast, slow = learned(*wanted, schema=schema), learned(*wanted, schema=schema)
    without_columns(slow._schemas[ID])  # type: ignore[arg-type]
    got = fast.decode(slice_of(records)).items
    assert repr(got) == repr(slow.decode(slice_of(records)).items)
    assert [item.after for item in got] == [tuple(row[c] for c in wanted) for row in rows]  # type: ignore[union-attr]


def test_the_captured_schemas_do_take_the_fast_path() -> None:
    for number, topic in ((2, "srv.public.customers"), (4, "srv.public.segment_members"), (10, "srv.public.fullri")):
        writer = Writer(parse(SCHEMAS[number], Limits()), spec(topic))
        assert writer._rows is not None
    # numeric without a scale is a record, so a mapping of it takes the slow path, and one of its neighbours does not
    assert Writer(parse(SCHEMAS[6], Limits()), spec("srv.public.segments", columns=("code", "score")))._rows is not None
    assert Writer(parse(SCHEMAS[6], Limits()), spec("srv.public.segments"))._rows is None


BYTES = st.none() | st.binary(max_size=40) | st.binary(max_size=40).map(lambda b: b"\0\0\0\0\x04" + b)


@settings(max_examples=300, deadline=None)
@given(
    records=st.lists(st.tuples(BYTES, BYTES), max_size=6),
    envelope=st.sampled_from(["debezium", "unwrapped"]),
    form=st.sampled_from(["auto", "json", "avro"]),
)
def test_any_bytes_at_all_are_read_as_something(records: list[Any], envelope: str, form: str) -> None:
    it = decoder("srv.public.segment_members", envelope=envelope, format=form)
    decoded = it.decode(slice_of(records))
    assert decoded.needs is not None or len(decoded.items) == len(records)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "op",
                    "after",
                    "before",
                    "source",
                    "a",
                    "schema",
                    "payload",
                    "ts_ms",
                    "id",
                    "type",
                    "data",
                    "__op",
                    "fields",
                    "status",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(values=st.lists(st.tuples(JSON, JSON), max_size=4), envelope=st.sampled_from(["debezium", "unwrapped"]))
def test_any_json_at_all_is_read_as_something(values: list[Any], envelope: str) -> None:
    it = TopicDecoder(DecodeSpec("t", ("a",), envelope))  # type: ignore[arg-type]
    records = [(json.dumps(k).encode(), json.dumps(v, separators=(",", ":")).encode()) for k, v in values]
    once = it.decode(slice_of(records))
    assert len(once.items) == len(records)
    assert repr(it.decode(slice_of(records))) == repr(once)  # what was learned changes nothing
