"""Reference tables: what is kept, what is not believed, and who hears of a change."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.core.model import (
    MISSING,
    UNAVAILABLE,
    Change,
    Decoded,
    Halt,
    Skip,
    Tombstone,
    Truncate,
    Unreadable,
)
from stream.core.references import KEY_BYTES_MAX, VALUE_CHARS_MAX, Reference, ReferenceRule, key_text

RULE = ReferenceRule("customers", "id", ("email", "number"))


def put(key: Any, email: Any = "a@example.com", number: Any = None, op: str = "c", **more: Any) -> Change:
    return Change(op, {"id": key} | more, None, (key, email, number), 1, op == "r", None)


def cut(key: Any, **more: Any) -> Change:
    # everything but the key is made up, as under REPLICA IDENTITY DEFAULT
    return Change("d", {"id": key} | more, (0, "", None), None, 1, snapshot=False, position=None)


def test_what_is_kept_and_who_hears_of_it() -> None:
    table = Reference(RULE)
    assert table.get("7") is None
    assert table.fold([put(7), put(8, number=3), put("ab")]) == ["7", "8", "ab"]
    assert table.get("7") == ("a@example.com", None)
    assert table.get("8") == ("a@example.com", 3)
    assert table.get("ab") == ("a@example.com", None)
    # a snapshot that is read again, and a change of nothing that is kept
    assert table.fold([put(7, op="r"), put(8, number=3, op="u")]) == []
    assert table.fold([put(7, "b@example.com", op="u"), put(7, "c@example.com", op="u")]) == ["7"]
    assert table.get("7") == ("c@example.com", None)
    # 3 and "3" are told apart: they are what the wire holds
    assert table.fold([put(8, number="3", op="u")]) == ["8"]
    assert len(table) == 3
    assert not table.counts


@pytest.mark.parametrize("end", [cut(7), Tombstone({"id": 7})])
def test_a_deleted_row_keeps_its_last_value(end: Decoded) -> None:
    table = Reference(RULE)
    table.fold([put(7)])
    assert not table.deleted("7")
    assert table.fold([end, end]) == []
    assert table.deleted("7")
    assert table.get("7") == ("a@example.com", None)
    # it comes again: whoever did not believe in a deleted one must hear of it
    assert table.fold([put(7)]) == ["7"]
    assert not table.deleted("7")
    assert table.fold([end, Tombstone({"id": 9})]) == []
    assert table.get("9") is None
    assert not table.deleted("9")
    assert not table.counts


def test_a_key_that_was_made_up_deletes_nothing() -> None:
    table = Reference(RULE)
    table.fold([put(0), put("", "never")])
    assert table.get("0") == ("a@example.com", None)
    table.fold([cut(0), cut(""), cut(None), Change("d", {"other": 1}, None, None, 1, snapshot=False, position=None)])
    assert not table.deleted("0")
    assert table.counts == {"key": 1, "delete_key": 4}


def test_before_is_never_used() -> None:
    table = Reference(RULE)
    table.fold([put(0, "real@example.com")])
    change = Change(
        "u", {"id": 5}, (0, "fake@example.com", None), (5, UNAVAILABLE, 1), 1, snapshot=False, position=None
    )
    assert table.fold([change]) == ["5"]
    assert table.get("5") == (None, 1)
    assert table.get("0") == ("real@example.com", None)
    assert table.counts == {"unavailable_value": 1}


def test_an_unchanged_value_is_the_one_before() -> None:
    table = Reference(RULE)
    table.fold([put(7, "long@example.com", 1)])
    assert table.fold([put(7, UNAVAILABLE, 2, op="u")]) == ["7"]
    assert table.get("7") == ("long@example.com", 2)
    assert table.fold([put(7, UNAVAILABLE, 2, op="u")]) == []
    table.fold([cut(7)])
    assert table.fold([put(7, UNAVAILABLE, UNAVAILABLE, op="u")]) == ["7"]
    assert table.get("7") == ("long@example.com", 2)
    # the key itself may be unchanged, too: it stands in the record's key
    odd = Change("u", {"id": 7}, None, (UNAVAILABLE, "n@example.com", 2), 1, snapshot=False, position=None)
    assert table.fold([odd]) == ["7"]
    assert not table.counts


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (Halt("missing_column", "column 'email' is missing; its rows have: id"), "column 'email' is missing; its rows have: id"),
        (put(8, MISSING), "column email is missing"),
        (Change("c", None, None, (8, "x", None), 1, snapshot=False, position=None), "the records have no key"),
    ],
)  # fmt: skip
def test_the_table_halts_at_that_record(item: Decoded, why: str) -> None:
    table = Reference(RULE)
    assert table.fold([put(7), item, put(9)]) == ["7"]
    assert table.halted.startswith(why)
    assert table.fold([put(10)]) == []
    assert [table.get(key) is None for key in ("7", "8", "9", "10")] == [False, True, True, True]
    table.clear()
    assert table.fold([put(10)]) == ["10"]
    assert table.get("7") is None


def test_what_cannot_be_read_is_counted_and_passed_by() -> None:
    table = Reference(RULE)
    items = [
        Skip("heartbeat"), Unreadable("json", ""), Truncate(1), Tombstone(None), put(b"1"), put(1.5), put(None), put([1]),
        put("k" * (KEY_BYTES_MAX + 1)), put("\ud800"), put(1, b"bytes"), put(2, 1.5, [True]), put(3, "v" * (VALUE_CHARS_MAX + 1)),
        put(4, "\ud800"), put(5, 2**64, -(2**63)),
    ]  # fmt: skip
    assert table.fold(items) == ["1", "2", "3", "5"]
    assert table.counts == {"json": 1, "truncate": 1, "keyless_tombstone": 1, "key": 6, "value": 5}
    assert [table.get(str(key)) for key in range(1, 5)] == [(None, None)] * 3 + [None]
    assert table.get("5") == (str(2**64), str(-(2**63)))
    assert table.get("k" * 1000) is None
    assert table.get("\ud800") is None
    assert not table.deleted("")


def test_of_a_text_that_is_too_long_the_beginning_is_kept_where_that_is_wanted() -> None:
    table = Reference(ReferenceRule("segments", "", ("email",), clips=True))
    row = Change("c", {"id": 7}, None, ("v" * (VALUE_CHARS_MAX + 1),), 1, snapshot=False, position=None)
    (key,) = table.fold([row])
    assert table.get(key) == ("v" * VALUE_CHARS_MAX,)
    assert not table.counts


def test_a_key_in_two_partitions_is_counted_and_the_last_read_wins() -> None:
    table = Reference(RULE)
    table.fold([put(7, "old@example.com")], 0)
    assert table.fold([put(7, "new@example.com")], 300) == ["7"]
    assert table.counts == {"two_partitions": 1}
    assert table.fold([put(7, "new@example.com")], 300) == []
    assert table.counts == {"two_partitions": 1}
    # the same value from elsewhere is no change of it
    assert table.fold([put(7, "new@example.com")], 1) == []
    table.fold([cut(7)], 2)
    assert table.deleted("7")
    assert table.counts == {"two_partitions": 3}


def test_a_key_of_several_columns_is_noted() -> None:
    table = Reference(RULE)
    table.fold([put(7)])
    assert table.wider == ()
    table.fold([put(8, region="eu"), put(9, other="x")])
    assert table.wider == ("id", "region")
    table.fold([cut(8, region="eu")])
    assert table.deleted("8")


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (-7, "-7"), ("7", "7"), ("ä b", "ä b"), ("", None), (None, None), (True, None), (7.0, None), (b"7", None)],
)  # fmt: skip
def test_the_text_by_which_a_reference_is_asked(value: Any, text: str | None) -> None:
    assert key_text(value) == text


def test_several_references_read_one_topic() -> None:
    decoded = ("id", "email", "uuid")
    by_uuid = Reference(ReferenceRule("u", "uuid", ("email",)), decoded)
    by_id = Reference(ReferenceRule("i", "id", ("email", "id")), decoded)
    items = [Change("c", {"id": 1}, None, (1, "a@example.com", "x-1"), 1, snapshot=False, position=None)]
    assert by_uuid.fold(items) == ["x-1"]
    assert by_id.fold(items) == ["1"]
    assert by_uuid.get("x-1") == ("a@example.com",)
    assert by_id.get("1") == ("a@example.com", 1)
    assert ReferenceRule("i", "id", ("email", "id")).decoded() == ("id", "email")


KEYS = st.sampled_from([1, 2, "1", "x", "y" * 300, None])
VALUES = st.sampled_from(["a", "b", None, 5, UNAVAILABLE, 2.5])
OPS = st.sampled_from(["put", "cut", "tombstone"])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.tuples(OPS, KEYS, VALUES, VALUES), max_size=6), max_size=8))
def test_against_a_plain_model(slices: list[list[tuple[str, Any, Any, Any]]]) -> None:
    table = Reference(RULE)
    model: dict[str, list[Any]] = {}
    for records in slices:
        before = {key: list(value) for key, value in model.items()}
        touched = set()
        items: list[Decoded] = []
        for op, key, first, second in records:
            usable = key is not None and len(str(key)) < 300
            if op == "put":
                items.append(put(key, first, second))
                if usable:
                    old = model.get(str(key), [None, None, True])
                    new = [
                        o if n is UNAVAILABLE else None if n == 2.5 else n
                        for n, o in zip((first, second), old, strict=False)
                    ]
                    if str(key) not in model or old != [*new, False]:
                        touched.add(str(key))
                    model[str(key)] = [*new, False]
            else:
                items.append(cut(key) if op == "cut" else Tombstone({"id": key}))
                if usable and str(key) in model:
                    model[str(key)][2] = True
        changed = table.fold(items)
        assert len(changed) == len(set(changed))
        assert set(changed) == touched
        assert {key for key, value in model.items() if not value[2] and value != before.get(key)} <= touched
        assert {key: [*(table.get(key) or ()), table.deleted(key)] for key in model} == model
        assert len(table) == len(model)
