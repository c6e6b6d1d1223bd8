"""What a row says: every value ends as a membership, as nothing, as a refusal with a reason, or as unchanged; never as a guess."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core.mapping import (
    IDENTITY_LENGTH_MAX,
    NOTHING,
    SEGMENT_CODE,
    Condition,
    Partly,
    Refusal,
    RowMapping,
    TableRule,
    identity,
)
from stream.core.model import MISSING, UNAVAILABLE, Change

COLUMN = (("column", "segment"),)
CODES = st.from_regex(re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}", re.ASCII), fullmatch=True).filter(
    lambda s: s != "0"
)
IDS = st.from_regex(re.compile(r"[A-Za-z0-9@._-]{1,40}", re.ASCII), fullmatch=True).filter(lambda s: s != "0")
WIRE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(), st.just(MISSING),
    st.just(UNAVAILABLE), st.lists(st.integers(), max_size=2), st.dictionaries(st.text(), st.integers(), max_size=2),
)  # fmt: skip


def mapping(segment: Any = COLUMN, present: tuple[Condition, ...] = (), **more: Any) -> RowMapping:
    return RowMapping(TableRule(segment, (("id", "member"),), present, **more))


def change(*after: Any, before: Any = None, op: str = "u", key: Any = None) -> Change:
    return Change(op, key or {"id": 1}, before, after or None, 0, False, None)  # noqa: FBT003 - as the decoder writes it


@given(CODES, IDS)
def test_a_plain_row_says_what_it_holds(code: str, member: str) -> None:
    assert mapping().says(change(code, member)) == (code, member)


@given(st.integers(1, 1 << 70))
def test_an_integer_is_its_decimal_text(number: int) -> None:
    assert mapping().says(change("gold", number)) == ("gold", str(number))
    assert mapping().says(change(number % 10**100 or 1, "c")) == (str(number), "c")


@given(WIRE, WIRE)
def test_whatever_the_wire_holds_what_is_said_is_safe(segment: Any, member: Any) -> None:
    one = mapping()
    for _ in range(2):  # the second time from the cache
        said = one.says(change(segment, member))
        if isinstance(said, tuple):
            code, identified = said
            assert SEGMENT_CODE.fullmatch(code)
            assert set(code) != {"."}
            assert identified not in ("", "*", "0")
            assert identified == identified.strip()
            assert identified.isprintable()
            assert len(identified) <= IDENTITY_LENGTH_MAX
            assert type(segment) is not bool
            assert type(member) is not bool
        else:
            assert isinstance(said, (Refusal, Partly))
            if isinstance(said, Partly):
                assert UNAVAILABLE in (segment, member)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "identity_null"), (0, "identity_fake"), ("0", "identity_fake"), ("*", "identity_fake"),
        ("1970-01-01T00:00:00Z", "identity_fake"), ("1970-01-01T00:00:00.000000Z", "identity_fake"),
        ("", "identity_empty"), (" ", "identity_empty"), ("\u00a0", "identity_empty"), (" a", "identity_unprintable"),
        ("a\n", "identity_unprintable"), ("a\x00", "identity_unprintable"), ("a" * 256, "identity_long"),
        (1.5, "identity_type"), (True, "identity_type"), (False, "identity_type"), (b"a", "identity_type"),
        ({"scale": 0}, "identity_type"), (["a"], "identity_type"), (MISSING, "identity_type"),
    ],
)  # fmt: skip
def test_identities_that_are_refused(value: Any, reason: str) -> None:
    found = identity(value)
    assert isinstance(found, Refusal)
    assert found.reason == reason
    if isinstance(value, str) and len(value) > 3:
        assert value not in found.detail


@pytest.mark.parametrize("code", ["a/b", "..", ".", "a#b", "a?b", "a b", "a%2e", "ä", "a\n", "x" * 129, "gold\n"])
def test_codes_that_could_change_a_path_are_refused(code: str) -> None:
    said = mapping().says(change(code, "c"))
    assert isinstance(said, Refusal)
    assert said.reason == "segment_code"


@given(st.lists(st.one_of(CODES, st.integers(1)), min_size=2, max_size=2))
def test_a_template_joins_text_and_columns(parts: list[Any]) -> None:
    one = mapping((("text", "t-"), ("column", "a"), ("text", "."), ("column", "b"), ("text", "_x")))
    assert one.columns == ("a", "b", "member")
    assert one.says(change(*parts, "c")) == (f"t-{parts[0]}.{parts[1]}_x", "c")


def test_a_template_s_columns_do_not_run_into_each_other_in_the_cache() -> None:
    one = mapping((("column", "a"), ("column", "b")))
    assert one.says(change("x", "yz", "c")) == ("xyz", "c")
    assert one.says(change("xy", "z", "c")) == ("xyz", "c")
    assert isinstance(one.says(change("x", "", "c")), Refusal)


def test_a_boolean_is_not_what_an_integer_left_in_the_cache() -> None:
    one = mapping()
    assert one.says(change(1, "c")) == ("1", "c")
    assert isinstance(one.says(change(True, "c")), Refusal)  # noqa: FBT003 - the value under test


def test_a_constant_needs_no_column() -> None:
    one = mapping((("text", "newsletter"),))
    assert one.columns == ("member",)
    assert one.says(change("c1")) == ("newsletter", "c1")


# ---- unchanged values --------------------------------------------------------------------------------------------------


def test_an_unchanged_value_is_as_the_row_said_before() -> None:
    assert mapping().says(change(UNAVAILABLE, "c")) == Partly(None, "c", present=True)
    assert mapping().says(change("gold", UNAVAILABLE)) == Partly("gold", None, present=True)
    assert mapping().says(change(UNAVAILABLE, UNAVAILABLE)) == Partly(None, None, present=True)


def test_with_full_the_old_row_says_what_is_unchanged() -> None:
    full = mapping(replica_identity="full")
    assert full.says(change(UNAVAILABLE, "c", before=("gold", "b"))) == ("gold", "c")
    assert full.says(change(UNAVAILABLE, "c", before=(MISSING, "b"))) == Partly(None, "c", present=True)
    assert mapping().says(change(UNAVAILABLE, "c", before=("gold", "b"))) == Partly(None, "c", present=True)


def test_an_unchanged_value_does_not_hide_what_is_certain() -> None:
    gone = (Condition("deleted", "in", (None,)),)
    assert mapping(present=gone).says(change(UNAVAILABLE, "c", "2026")) is None
    assert mapping(present=gone).says(change(UNAVAILABLE, "c", None)) == Partly(None, "c", present=True)
    assert mapping(present=gone).says(change("gold", "c", UNAVAILABLE)) == Partly("gold", "c", present=None)
    said = mapping().says(change(UNAVAILABLE, None))
    assert isinstance(said, Refusal)
    said = mapping((("column", "a"), ("text", "-"), ("column", "b"))).says(change(UNAVAILABLE, "x", "c"))
    assert isinstance(said, Refusal)


# ---- what is certain of a row that was never seen ----------------------------------------------------------------------


@given(st.one_of(CODES, st.just(0), st.just("")), st.one_of(IDS, st.just(0), st.just(""), st.none()))
def test_stand_ins_are_never_certain(code: Any, member: Any) -> None:
    real = bool(code) and bool(member)
    key = {"segment": code, "member": member}
    assert (mapping().certain(key, None) == (code, member)) is real
    assert mapping().certain({"id": 1}, (code, member)) is None
    assert (mapping(replica_identity="full").certain({"id": 1}, (code, member)) == (code, member)) is real
    assert mapping(replica_identity="full").certain({"id": 1}, None) is None
    assert mapping(replica_identity="full").certain(None, (MISSING, member)) is None


def test_a_row_that_did_not_count_is_still_ended_to_be_sure() -> None:
    """What was present before is not known: a removal of what was never added changes nothing."""
    full = mapping(replica_identity="full", present=(Condition("deleted", "in", (None,)),))
    assert full.certain({"id": 1}, ("gold", "c", "2026")) == ("gold", "c")
    assert full.certain({"id": 1}, ("gold", "c", None)) == ("gold", "c")


# ---- the claimed case of ownership -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "key", "after", "broken"),
    [
        ("none", {"id": 1}, ("gold", "c"), False),
        ("membership", {"segment": "gold", "member": "c"}, ("gold", "c"), False),
        ("membership", {"segment": "gold", "member": "c"}, None, False),
        ("membership", {"segment": "gold"}, ("gold", "c"), True),
        ("membership", {"segment": "gold", "member": "b"}, ("gold", "c"), True),
        ("membership", {"segment": 0, "member": "c"}, ("gold", "c"), True),
        ("membership", {"segment": "gold", "member": "c"}, (UNAVAILABLE, "c"), False),
        ("segment", {"segment": "gold", "id": 1}, ("gold", "c"), False),
        ("segment", {"id": 1}, ("gold", "c"), True),
        ("segment", {"segment": "vip", "id": 1}, ("gold", "c"), True),
    ],
)
def test_a_key_that_contradicts_the_claim(claim: Any, key: Any, after: Any, broken: bool) -> None:  # noqa: FBT001 - a table
    assert bool(mapping(partitioned_by=claim).key_breaks_claim(key, after)) is broken


def test_a_key_that_shows_that_the_row_never_counted_is_certain_of_nothing() -> None:
    one = mapping(present=(Condition("shop_id", "in", (7,)),), partitioned_by="membership")
    key = {"shop_id": 8, "segment": "gold", "member": "c1"}
    assert one.certain(key, None) == NOTHING
    assert one.certain({**key, "shop_id": 7}, None) == ("gold", "c1")
    assert one.certain({"segment": "gold", "member": "c1"}, None) == ("gold", "c1")
