import base64
import json
from typing import Any

import pytest
from captured import decoder, one, slice_of

from stream.core.decode import DecodeSpec, Limits, TopicDecoder
from stream.core.model import MISSING, UNAVAILABLE, Change, Halt, SchemaId, Skip, Tombstone, Truncate, Unreadable

PLACEHOLDER = "__debezium_unavailable_value"
SOURCE = {"connector": "postgresql", "ts_ms": 5, "snapshot": "false", "sequence": '["1","2"]'}


def made(*columns: str, **more: Any) -> TopicDecoder:
    return TopicDecoder(DecodeSpec("shop.public.t", columns, **more))


def envelope(op: Any = "u", **more: Any) -> dict[str, Any]:
    return {"before": None, "after": None, "source": SOURCE, "op": op, "ts_ms": 9} | more


def read(it: TopicDecoder, value: Any, key: Any = None) -> Any:
    return one(
        it, b'{"id":1}' if key is None else key, value if isinstance(value, bytes) else json.dumps(value).encode()
    )


@pytest.mark.parametrize(
    "value",
    [
        PLACEHOLDER,
        base64.b64encode(PLACEHOLDER.encode()).decode(),
        [PLACEHOLDER],
        list(PLACEHOLDER.encode()),
        {PLACEHOLDER: PLACEHOLDER},
    ],
)
@pytest.mark.parametrize("shape", ["debezium", "unwrapped"])
def test_an_unchanged_toast_value_is_unavailable_in_each_form(value: Any, shape: str) -> None:
    row = {"a": 1, "b": value}
    got = read(made("a", "b", envelope=shape), row if shape == "unwrapped" else envelope("u", after=row))
    assert got.after == (1, UNAVAILABLE)


@pytest.mark.parametrize(
    "value", [b"null", b'{"schema":null,"payload":null}', b'{"schema":{"type":"struct"},"payload":null}', None]
)
@pytest.mark.parametrize("shape", ["debezium", "unwrapped"])
def test_each_null_is_a_tombstone(value: bytes | None, shape: str) -> None:
    it = made("a", envelope=shape)
    for _ in range(2):
        assert one(it, b'{"id":1}', value) == Tombstone({"id": 1})
    assert one(it, None, value) == Tombstone(None)


def test_a_missing_column_halts_and_says_which_and_what_there_is() -> None:
    got = read(made("a", "gone"), envelope("c", after={"a": 1, "b": 2}))
    assert isinstance(got, Halt)
    assert got.reason == "missing_column"
    assert all(word in got.detail for word in ("shop.public.t", "'gone'", "a, b"))
    assert isinstance(read(made("a", "gone", envelope="unwrapped"), {"a": 1, "__op": "c"}), Halt)


def test_a_missing_column_of_an_old_row_is_only_missing() -> None:
    got = read(made("a", "b"), envelope("u", before={"a": 1}, after={"a": 1, "b": 2}))
    assert (got.before, got.after) == ((1, MISSING), (1, 2))
    assert read(made("a", "b"), envelope("d", before={"a": 1})).before == (1, MISSING)
    assert read(made("a", "b", envelope="unwrapped"), {"a": 1, "__deleted": "true"}).before == (1, MISSING)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"ts_ms": 5}, "heartbeat"),
        ({"status": "END", "id": "1:2", "event_count": 1, "data_collections": [], "ts_ms": 5}, "transaction"),
        ({"source": SOURCE, "ts_ms": 9, "databaseName": "d", "ddl": "create", "tableChanges": []}, "schema_change"),
        (
            {
                "id": "x",
                "aggregate_type": "Initial Snapshot",
                "type": "COMPLETED",
                "additional_data": {},
                "timestamp": 5,
            },
            "notification",
        ),
        (envelope("m", message={"prefix": "p", "content": ""}), "message"),
        (envelope("c", after={"id": "7-open", "type": "snapshot-window-open", "data": None}), "signal"),
        (envelope("c", after={"id": "7-close", "type": "snapshot-window-close", "data": None}), "signal"),
        (envelope("d", before={"id": "7-open", "type": "", "data": None}), "signal"),
    ],
)
def test_what_is_not_about_rows_is_skipped(value: dict[str, Any], reason: str) -> None:
    for it in (made("a", "b"), made("a", "b", envelope="unwrapped")):
        flat = value.get("after") or value.get("before")
        got = read(it, flat if flat and "unwrapped" in str(it._spec) else value)
        assert isinstance(got, Skip)
        assert got.reason == reason
    wrapped = {"schema": {"type": "struct"}, "payload": value}
    assert read(made("a", "b"), wrapped) == read(made("a", "b"), value)


def test_a_mapped_table_that_looks_like_a_signal_table_is_a_table() -> None:
    row = {"id": "x-open", "type": "log", "data": "d"}
    assert read(made("id", "data"), envelope("c", after=row)).after == ("x-open", "d")
    outbox = {"id": 1, "aggregate_type": "a", "type": "t", "timestamp": 1}
    assert read(made("id", envelope="unwrapped"), outbox).after == (1,)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (envelope("x", after={"a": 1}), "unknown_op"),
        (envelope(["c"], after={"a": 1}), "unknown_op"),
        (envelope("c"), "unknown_shape"),
        (envelope("d", after={"a": 1}), "unknown_shape"),
        (envelope("c", after='{"a":1}'), "unknown_shape"),
        ({"a": 1}, "unknown_shape"),
        ([], "unknown_shape"),
        (5, "unknown_shape"),
        (b"{", "json"),
        (b"", "json"),
        (b"\xff\xfe", "json"),
        (b'{"after":' * 100_000, "json"),
        (b"[" * 100_000, "json"),
    ],
)
def test_an_unknown_shape_is_unreadable(value: Any, reason: str) -> None:
    got = read(made("a"), value)
    assert isinstance(got, Unreadable)
    assert got.reason == reason


def test_truncate_with_an_inline_schema_and_without() -> None:
    assert read(made("a"), envelope("t")) == Truncate(5)
    assert read(made("a"), {"schema": {"type": "struct"}, "payload": envelope("t")}) == Truncate(5)


@pytest.mark.parametrize(
    ("source", "snapshot", "position"),
    [
        (SOURCE, False, '["1","2"]'),
        (SOURCE | {"snapshot": None}, False, '["1","2"]'),
        (SOURCE | {"snapshot": "incremental"}, True, None),
        (SOURCE | {"snapshot": "last"}, True, None),
        (SOURCE | {"connector": "mysql"}, False, None),
        ({"ts_ms": 5, "connector": "mysql"}, False, None),
        ({"ts_ms": 5, "connector": "mysql", "snapshot": True}, True, None),
    ],
)
def test_position_and_snapshot(source: dict[str, Any], snapshot: bool, position: str | None) -> None:  # noqa: FBT001 - a parameter
    got = read(made("a"), envelope("c", after={"a": 1}, source=source))
    assert (got.snapshot, got.position, got.ts_ms) == (snapshot, position, 5)


def test_columns_named_schema_and_payload_are_columns_beside_others() -> None:
    it = made("schema", "id", envelope="unwrapped")
    assert read(it, {"schema": "s", "payload": "p", "id": 1}).after == ("s", 1)
    assert read(made("schema", envelope="unwrapped"), {"schema": "s", "payload": "p"}).after == ("s",)


def test_blanks_and_another_order_in_the_inline_schema_form_are_read_too() -> None:
    it = made("a")
    schema = {"type": "struct", "fields": []}
    value = envelope("c", after={"a": 1})
    expected = read(it, value)
    forms = [
        json.dumps({"payload": value, "schema": schema}),
        json.dumps({"schema": schema, "payload": value}, indent=1),
        json.dumps({"schema": schema, "payload": value}, separators=(",", ":")),
    ]
    for form in forms * 3:
        assert read(it, form.encode()) == expected
    assert isinstance(
        read(it, json.dumps({"schema": schema, "payload": value, "x": 1}, separators=(",", ":")).encode()), Unreadable
    )


def test_a_decimal_as_a_json_number_stays_exact() -> None:
    name = "org.apache.kafka.connect.data.Decimal"
    row = {"field": "after", "fields": [{"field": "a", "name": name, "parameters": {"scale": "2"}}, {"field": "b"}]}
    schema = json.dumps({"type": "struct", "fields": [row]})
    it = made("a", "b")
    for number in ("12345678901234567890.25", "7", "-0.50"):
        payload = json.dumps(envelope("c")).replace('"after": null', f'"after": {{"a":{number},"b":0.5}}')
        text = f'{{"schema":{schema},"payload":{payload}}}'
        assert read(it, text.encode()).after == (number, 0.5)


def test_limits() -> None:
    it = made("a", limits=Limits(value_bytes_max=2_000, items_max=10, depth_max=3))
    assert read(it, envelope("c", after={"a": "x" * 3_000})).reason == "too_large"
    assert one(it, b'{"id":"' + b"x" * 3_000 + b'"}', None).reason == "too_large"
    assert read(it, envelope("c", after={"a": [1] * 11})).reason == "too_large"
    assert read(it, envelope("c", after={"a": [[[[1]]]]})).reason == "too_large"
    assert read(it, envelope("c", after={"a": [[1] * 5]})).after == ([[1] * 5],)
    assert one(it, b"\0" + b"x" * 3_000, None).reason == "too_large"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (None, None),
        (b"null", None),
        (b"7", {"": 7}),
        (b'"x"', {"": "x"}),
        (b'{"b":1,"a":{"scale":0,"value":"AQ=="}}', {"b": 1, "a": {"scale": 0, "value": "AQ=="}}),
        (b'{"schema":{"type":"int64"},"payload":7}', {"": 7}),
        (b'{"schema":null,"payload":{"id":7}}', {"id": 7}),
    ],
)
def test_keys(key: bytes | None, expected: Any) -> None:
    it = made("a")
    for _ in range(2):
        assert one(it, key, None) == Tombstone(expected)


@pytest.mark.parametrize("key", [b"Struct{id=1}", b"[1]", b"", b"\xff"])
def test_a_key_that_is_none_is_unreadable(key: bytes) -> None:
    assert one(made("a"), key, b'{"a":1}').reason == "key"


def test_unwrapped_fields_of_the_transform() -> None:
    it = made("a", envelope="unwrapped")
    meta = {"__source_sequence": '["1","2"]', "__source_connector": "postgresql", "__source_ts_ms": 5}
    assert read(it, {"a": 1} | meta) == Change("u", {"id": 1}, None, (1,), 5, False, '["1","2"]')  # noqa: FBT003 - a struct
    assert read(it, {"a": 1, "__op": "r"} | meta).position is None
    assert read(it, {"a": 1, "__source_snapshot": "first"} | meta).snapshot is True
    assert read(it, {"a": 0, "__deleted": "true", "__op": "d"}).before == (0,)
    assert read(it, {"a": 0, "__op": "x"}).reason == "unknown_op"
    own = made("a", "__deleted", envelope="unwrapped")
    assert read(own, {"a": 1, "__deleted": "false"}).after == (1, "false")
    assert read(it, envelope("c", after={"a": 1})).reason in ("unknown_shape", "missing_column")


def test_column_names_that_are_refused() -> None:
    for columns in (("a", "a"), ('a"b',), ("a\n",)):
        with pytest.raises(ValueError, match="column"):
            DecodeSpec("t", columns)


def test_decoding_goes_on_where_it_stopped_for_a_schema() -> None:
    avro = {"type": "record", "name": "K", "fields": [{"name": "id", "type": "long"}]}
    it = made("id", envelope="unwrapped")
    key = b"\0\0\0\0\x07\x02"
    slice_ = slice_of([(b'{"id":1}', b'{"id":1}'), (key, b'{"id":1}'), (key, b"\0\0\0\0\x08\x04"), (None, None)])
    first = it.decode(slice_)
    assert (len(first.items), first.needs) == (1, SchemaId("id", 7))
    it.learn(SchemaId("id", 7), json.dumps(avro))
    second = it.decode(slice_, 1)
    assert (len(second.items), second.needs) == (1, SchemaId("id", 8))
    it.learn(SchemaId("id", 8), json.dumps(avro))
    third = it.decode(slice_, 2)
    assert third.needs is None
    assert third.items == [Change("u", {"id": 1}, None, (2,), 0, False, None), Tombstone(None)]  # noqa: FBT003 - a struct


def test_the_captured_columns_of_a_changed_schema_are_read_by_each_writers_own() -> None:
    it = decoder("srv.public.fullri", columns=("segment_id",), envelope="unwrapped")
    for number, kind in ((101, "int"), (102, "long"), (103, "string")):
        fields = [{"name": "segment_id", "type": kind}, {"name": f"extra{number}", "type": ["null", "string"]}]
        it.learn(
            SchemaId("id", number), json.dumps({"type": "record", "name": "V", "namespace": "a-b.c", "fields": fields})
        )
    records = [
        (None, b"\0\0\0\0" + bytes([n]) + tail) for n, tail in ((101, b"\x04\0"), (103, b"\x02x\0"), (102, b"\x06\0"))
    ]
    assert [item.after for item in it.decode(slice_of(records * 2)).items] == [(2,), ("x",), (3,)] * 2
