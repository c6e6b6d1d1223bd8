"""The durable forms: what is written is read back, other versions and other bytes are refused, the schemas say the same."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core.commits import offset_of
from stream.core.effects import Bury
from stream.core.ledger import Ledger
from stream.core.limits import Limits
from stream.core.model import TopicPartition
from stream.core.rows import PRESENT, UNKNOWN, Part, Row, load, store_form
from stream.core.rowstate import (
    META_KEY,
    ROW_KEY_BYTES,
    OffsetMetadata,
    PartitionState,
    RowState,
    decode_metadata,
    decode_partition,
    decode_row,
    encode,
    fingerprint,
    row_key_hash,
)
from stream.core.table import RowTable
from stream.edge.control import Control, acceptance
from stream.edge.letters import Letter, letter_of
from stream.errors import DataError

SCHEMAS = Path(__file__).parents[3] / "schemas"
CODES = st.text("abz.-_09", min_size=1, max_size=8)
MEMBERS = st.text(min_size=1, max_size=12)
MEMBERSHIPS = st.tuples(CODES, MEMBERS)
TOLD = st.sampled_from([PRESENT, UNKNOWN])
TP = TopicPartition("t", 3)


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / name).read_text())
    jsonschema.Draft202012Validator.check_schema(found)
    return found


def valid(name: str, data: bytes) -> None:
    jsonschema.Draft202012Validator(schema(name)).validate(json.loads(data))


@st.composite
def rows(draw: st.DrawFn) -> Row:
    table = RowTable(sole=True, enqueue=lambda _: None, rest=lambda _: None, hold=lambda _: None)
    part = Part(TP, 1, table)
    says = draw(st.none() | MEMBERSHIPS)
    told = draw(st.dictionaries(MEMBERSHIPS, TOLD, max_size=4))
    if says is not None:
        told[says] = draw(TOLD)
    pending = draw(st.none() | st.sampled_from(["segment_missing", "refused:invalid"]))
    offset, at_ms = draw(st.integers(0, 1 << 62)), draw(st.integers(0, 1 << 45))
    return Row(b"k" * ROW_KEY_BYTES, part, says, told, offset, at_ms, pending=pending)


@given(rows())
def test_a_row_comes_back_as_it_was_stored(row: Row) -> None:
    data = store_form(row)
    again = load(row.part, row.key, data)
    for name in ("key", "says", "told", "offset", "at_ms", "pending"):
        assert getattr(again, name) == getattr(row, name), name
    assert store_form(again) == data
    assert (again.first, again.pins, again.listed) == (-1, 0, False)


@given(rows())
def test_what_is_stored_keeps_to_its_schema(row: Row) -> None:
    valid("row-state.schema.json", store_form(row))


@given(
    st.builds(
        OffsetMetadata,
        v=st.just(1),
        clean=st.booleans(),
        position=st.none() | st.just('["12345678901","12345678902"]'),
        fold_to=st.integers(0, 1 << 62),
        partitions=st.integers(0, 10_000),
    )
)
def test_offset_metadata_comes_back_fits_and_keeps_to_its_schema(metadata: OffsetMetadata) -> None:
    data = encode(metadata)
    assert len(data) <= 4_096
    assert decode_metadata(data.decode()) == metadata
    valid("offset-metadata.schema.json", data)


@given(st.builds(PartitionState, v=st.just(1), topic_id=st.text(), fingerprint=st.text(), partitions=st.integers(0)))
def test_a_partition_s_state_comes_back(state: PartitionState) -> None:
    assert decode_partition(encode(state)) == state


class Message:
    """What a letter is made from."""

    def __init__(self, key: bytes | None, value: bytes | None, headers: Any) -> None:
        self._of = (key, value, headers)

    def key(self) -> bytes | None:
        return self._of[0]

    def value(self) -> bytes | None:
        return self._of[1]

    def headers(self) -> Any:
        return self._of[2]

    def timestamp(self) -> tuple[int, int]:
        return (1, 1_795_000_000_000)


BYTES = st.none() | st.binary(max_size=20)


@given(
    BYTES,
    BYTES,
    st.none() | st.lists(st.tuples(st.text(max_size=5), BYTES), max_size=3),
    st.integers(0, 1 << 62),
    st.text(max_size=20),
)
def test_a_letter_keeps_to_its_schema(
    key: bytes | None, value: bytes | None, headers: Any, offset: int, why: str
) -> None:
    for origin in (Message(key, value, headers), None):
        data = msgspec.json.encode(letter_of(Bury(1, TP, offset, "identity_null", why, origin)))
        valid("letter.schema.json", data)
        assert msgspec.json.decode(data, type=Letter).offset == offset


@given(CODES)
def test_a_control_record_keeps_to_its_schema(code: str) -> None:
    key, value = acceptance(code)
    assert key == f"accept_code/{code}".encode()
    valid("control.schema.json", value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("row-state", RowState), ("offset-metadata", OffsetMetadata), ("letter", Letter), ("control", Control)],
)
def test_a_schema_names_just_what_the_code_writes(name: str, kind: type) -> None:
    written = schema(f"{name}.schema.json")
    generated = msgspec.json.schema(kind)["$defs"][kind.__name__]
    assert written["additionalProperties"] is False
    assert list(written["properties"]) == list(generated["properties"])
    assert set(written["required"]) <= set(generated["properties"])
    assert "v" in written["required"]
    for field, told in generated["properties"].items():
        if field != "v":
            assert written["properties"][field].get("default") == told.get("default"), field
        assert written["properties"][field]["description"], field


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("row-state", {"v": 2, "offset": 1}),
        ("row-state", {"v": 1, "offset": 1, "segment": "gold"}),
        ("row-state", {"v": 1, "offset": 1, "segment": "gold", "member": "c", "told": "absent"}),
        ("row-state", {"v": 1, "offset": 1, "others": [["gold", "c"]]}),
        ("row-state", {"v": 1, "offset": 1, "email": "x"}),
        ("offset-metadata", {"v": 1, "clean": "yes"}),
        ("offset-metadata", {"clean": True}),
        ("control", {"v": 1}),
        ("control", {"v": 1, "accept_code": "a/b"}),
        ("control", {"v": 2, "accept_code": "gold"}),
        ("letter", {"v": 1, "topic": "t", "partition": 0, "offset": 1, "reason": "r"}),
        ("letter", {"v": 1, "topic": "t", "partition": 0, "offset": 1, "reason": "r", "detail": "", "key": "%"}),
    ],
)
def test_a_schema_refuses_what_the_code_never_writes(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        valid(f"{name}.schema.json", json.dumps(wrong).encode())


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"{", b"{}", b'{"v":2}', b'{"v":"1"}', b'{"v":1,"offset":"a"}', b"\xff"]
)
def test_what_is_no_row_state_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="row state"):
        decode_row(data)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"v":2}', b'{"v":1,"partitions":"a"}'])
def test_what_is_no_partition_state_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="partition state"):
        decode_partition(data)


@pytest.mark.parametrize(
    "text", [None, "", "reset by an operator", "{}", '{"v":2,"clean":true}', '{"v":1,"clean":"x"}']
)
def test_metadata_of_somebody_else_is_as_if_there_were_none(text: str | None) -> None:
    assert decode_metadata(text) is None


def test_the_version_is_written_with_every_commit() -> None:
    part = Part(TP, 1, RowTable(sole=True, enqueue=lambda _: None, rest=lambda _: None, hold=lambda _: None))
    for clean in (False, True):
        _, metadata = offset_of(part, clean=clean)
        valid("offset-metadata.schema.json", metadata.encode())
        assert decode_metadata(metadata) == OffsetMetadata(1, clean=clean)


def test_the_partition_s_key_is_never_a_row_s() -> None:
    assert len(META_KEY) != ROW_KEY_BYTES == len(row_key_hash(b"[1]", b""))


@given(st.binary(max_size=30), st.binary(max_size=30), st.binary(min_size=1, max_size=64))
def test_row_keys_are_hashed_under_the_secret(one: bytes, other: bytes, secret: bytes) -> None:
    assert (row_key_hash(one, secret) == row_key_hash(other, secret)) == (one == other)
    assert row_key_hash(one, secret) != row_key_hash(one, b"")


def test_a_fingerprint_changes_with_every_part_and_with_the_secret() -> None:
    of = [fingerprint(parts, secret) for parts in (["a", "b"], ["a", "c"], ["ab"]) for secret in (b"", b"s")]
    assert len(set(of)) == len(of)
    assert fingerprint(["a", "b"], b"s") == of[1]


def test_a_ledger_and_limits_come_with_the_core_alone() -> None:
    assert Ledger(5).committable() == 5
    with pytest.raises(ValueError, match="idle_s"):
        Limits(idle_s=2.0, linger_s=1.0)
    with pytest.raises(ValueError, match="at least 1"):
        Limits(slots=0)
    assert Limits(api_timeout_s=3, settle_s=4).unclean_wait_s == 7


def test_state_of_another_version_ends_the_program_with_one_line() -> None:
    with pytest.raises(DataError, match="version 9") as raised:
        decode_row(b'{"v":9}')
    assert raised.value.exit_code == 65
    assert raised.value.advice
