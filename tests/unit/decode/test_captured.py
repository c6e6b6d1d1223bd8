import json
from typing import Any

import pytest
from captured import COLUMNS, EVENTS, column, decoder, framed, meaning, one, plain, raw, slice_of

from stream.core.decode import row_key
from stream.core.model import Change, Skip, Tombstone, Truncate, Unreadable

NUMBERED = list(enumerate(EVENTS))
IDS = [f"{i}-{e['topic']}" for i, e in NUMBERED]
MODES = ("drop", "tombstone", "rewrite", "rewrite-with-tombstone", "delete-to-tombstone")


def test_all_events_are_there() -> None:
    assert len(EVENTS) == 78


@pytest.mark.parametrize("event", EVENTS, ids=IDS)
@pytest.mark.parametrize("form", ["json", "schema", "avro"])
@pytest.mark.parametrize("times", [1, 3])
def test_an_event_means_the_same_in_each_encoding(event: dict[str, Any], form: str, times: int) -> None:
    made = decoder(event["topic"])
    key, value = {
        "json": (raw(event["key"]), raw(event["value"])),
        "schema": (raw(event["key_s"]), raw(event["value_s"])),
        "avro": (framed(event["key_avro"]), framed(event["value_avro"])),
    }[form]
    expected = meaning(event, exact=form != "json")
    for _ in range(times):  # the second time an inline schema is known
        assert plain(one(made, key, value)) == expected


@pytest.mark.parametrize("event", EVENTS, ids=IDS)
@pytest.mark.parametrize("mode", MODES)
def test_an_unwrapped_event_means_the_same_in_each_delete_mode(event: dict[str, Any], mode: str) -> None:
    flat = event["unwrap"].get(mode)
    whole = json.loads(event["value"]) if event["value"] else None
    op = whole.get("op") if whole else None
    deletes = {"drop": "dropped", "tombstone": "tombstone", "delete-to-tombstone": "tombstone"}
    if flat == "<DROPPED>":
        assert whole is None or op == "t" or (op == "d" and deletes.get(mode) == "dropped")
        return
    got = one(decoder(event["topic"], envelope="unwrapped"), raw(flat["key"]), raw(flat["value"]))
    key = json.loads(event["key"]) if event["key"] else None
    if whole is None or (op == "d" and deletes.get(mode) == "tombstone"):
        assert got == Tombstone(key)
    elif op is None or op == "m":
        assert got == Skip("message" if op else "transaction", whole["source"]["ts_ms"] if op else whole["ts_ms"])
    else:
        row = tuple(column(whole["before" if op == "d" else "after"], n, exact=False) for n in COLUMNS[event["topic"]])
        before, after = (row, None) if op == "d" else (None, row)
        assert got == Change(op, key, before, after, whole["source"]["ts_ms"], op == "r", None)


CLOUD = [event for event in EVENTS if event["cloudevent"] is not None]


@pytest.mark.parametrize("event", CLOUD, ids=[f"{i}-{event['topic']}" for i, event in enumerate(CLOUD)])
@pytest.mark.parametrize("schema", [False, True])
def test_a_cloud_event_means_the_same(event: dict[str, Any], *, schema: bool) -> None:
    cloud = json.loads(event["cloudevent"])
    if schema:
        cloud["data"] = {"schema": json.loads(event["value_s"])["schema"], "payload": cloud["data"]}
    made = decoder(event["topic"])
    for _ in range(2):
        got = one(made, raw(event["key"]), json.dumps(cloud).encode())
        assert plain(got) == meaning(event, exact=schema)


def test_a_cloud_event_that_cannot_be_read_is_named_so() -> None:
    cloud = json.loads(CLOUD[0]["cloudevent"])
    without = {name: value for name, value in cloud.items() if not name.startswith("iodebezium")}
    for odd in (without, {**cloud, "data": None}, {**cloud, "iodebeziumop": "d", "data": "AAAA"}):
        got = one(decoder(CLOUD[0]["topic"]), raw(CLOUD[0]["key"]), json.dumps(odd).encode())
        assert isinstance(got, Unreadable)
        assert "CloudEvent" in got.detail
    message = {**cloud, "iodebeziumop": "m", "data": {"message": {}}}
    assert isinstance(one(decoder("t", columns=("id",)), None, json.dumps(message).encode()), Skip)


def test_what_the_cloud_events_converter_wrote_was_captured_too() -> None:
    assert len(CLOUD) == 31
    assert {json.loads(event["value"])["op"] for event in CLOUD} == {"c", "r", "u", "d", "t"}


def test_all_encodings_mixed_in_one_topic() -> None:
    topic = "srv.public.segment_members"
    mine = [e for e in EVENTS if e["topic"] == topic]
    records, expected = [], []
    for event in mine:
        records += [
            (raw(event["key"]), raw(event["value"])),
            (raw(event["key_s"]), raw(event["value_s"])),
            (framed(event["key_avro"]), framed(event["value_avro"])),
            (framed(event["key_avro"]), raw(event["value"])),
            (raw(event["key_s"]), framed(event["value_avro"])),
        ]
        expected += [meaning(event, exact=True)] * 5
    for order in (1, -1):
        decoded = decoder(topic).decode(slice_of(records[::order]))
        assert [plain(item) for item in decoded.items] == expected[::order]
        assert decoded.needs is None


@pytest.mark.parametrize("event", [e for e in EVENTS if e["key"]], ids=lambda e: e["key"])
def test_a_key_has_the_same_bytes_in_each_encoding(event: dict[str, Any]) -> None:
    made = decoder(event["topic"])
    forms = [raw(event["key"]), raw(event["key_s"]), framed(event["key_avro"])]
    keys = {row_key(one(made, form, None).key) for form in forms}
    assert keys == {json.dumps(list(json.loads(event["key"]).values()), separators=(",", ":")).encode()}


def at(i: int, form: str = "avro", columns: tuple[str, ...] | None = None) -> Any:
    event = EVENTS[i]
    made = decoder(event["topic"], columns=columns or COLUMNS.get(event["topic"], ("x",)))
    if form == "avro":
        return one(made, framed(event["key_avro"]), framed(event["value_avro"]))
    return one(made, raw(event["key"]), raw(event["value"]))


@pytest.mark.parametrize("form", ["json", "avro"])
def test_a_delete_under_the_default_identity_shows_its_invented_before_and_its_real_key(form: str) -> None:
    got = at(13, form)
    assert (got.op, got.key, got.after) == ("d", {"id": 2}, None)
    assert got.before == (0, 0, "1970-01-01T00:00:00.000000Z")
    assert (got.ts_ms, got.snapshot, got.position) == (1795417127583, False, '["26863400","26863952"]')
    assert at(14, form) == Tombstone({"id": 2})


@pytest.mark.parametrize("form", ["json", "avro"])
def test_a_change_of_the_primary_key_is_a_delete_a_tombstone_and_a_create(form: str) -> None:
    first, second, third = (at(i, form) for i in (17, 18, 19))
    assert (first.op, first.key, first.after) == ("d", {"id": 1}, None)
    assert second == Tombstone({"id": 1})
    assert (third.op, third.key, third.after) == ("c", {"id": 100}, (1, 1, "2026-11-23T06:58:47.580200Z"))
    assert first.position == third.position == '["26864072","26864072"]'


@pytest.mark.parametrize("form", ["json", "avro"])
def test_full_identity_shows_the_whole_old_row(form: str) -> None:
    assert at(32, form).before == (5, 6, 1, "qqqqq")
    assert at(32, form).after == (5, 6, 2, "qqqqq")
    assert at(35, form).before == (5, 6, 2, "qqqqq")
    assert list(at(35, form).key.items()) == [("segment_id", 5), ("customer_id", 6)]


@pytest.mark.parametrize("form", ["json", "avro"])
def test_truncate_message_and_transaction(form: str) -> None:
    assert at(67, form) == Truncate(1795417127596)
    assert at(60, form) == Skip("message", 1795417127593)
    assert at(6, form) == Skip("transaction", 1795417127579)


def test_decimals_are_exact_where_their_scale_is_known() -> None:
    columns = ("code", "score", "anynum")
    assert at(4, "avro", columns).after == ("a", "1.50", "3.14159")
    assert at(7, "avro", columns).after == ("c", "-1.25", "100000000000000000000")
    assert at(5, "avro", columns).after == ("b", None, None)
    made = decoder("srv.public.segments", columns=columns)
    for _ in range(2):
        assert one(made, raw(EVENTS[7]["key_s"]), raw(EVENTS[7]["value_s"])).after == at(7, "avro", columns).after
    assert at(4, "json", columns).after == ("a", "AJY=", {"scale": 5, "value": "BMsv"})


def test_a_snapshot_has_no_position() -> None:
    assert (at(0).snapshot, at(0).position) == (True, None)
    assert (at(7).snapshot, at(7).position) == (False, '[null,"26863104"]')
