"""The search for a limit, whatever the limit is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.survey.customers import holds_only
from stream.survey.limits import padded
from stream.survey.talk import Reply, largest
from stream.survey.throwaway import cursor, quoted


@given(limit=st.integers(0, 3_000), start=st.integers(1, 500), most=st.integers(1, 2_000))
def test_the_largest_that_works_is_found(limit: int, start: int, most: int) -> None:
    asked: list[int] = []

    def works(size: int) -> bool:
        asked.append(size)
        return size <= limit

    good, bad = largest(start, most, works)
    if limit >= most:
        assert (good, bad) == (most, 0)
    else:
        assert (good, bad) == (limit, limit + 1)
    assert max(asked) <= most
    assert len(asked) <= 30


@given(limit=st.integers(0, 3_000_000), grain=st.integers(1, 5_000))
def test_the_gap_is_no_wider_than_the_grain(limit: int, grain: int) -> None:
    good, bad = largest(4_096, 2_000_000, lambda size: size <= limit, lambda _: grain)
    assert good <= limit
    assert not bad or (limit < bad <= good + grain)


def test_padding_is_exact_and_means_nothing() -> None:
    assert padded(b'{"members":[]}', 20) == b'{      "members":[]}'
    assert padded(b'{"members":[]}', 3) == b'{"members":[]}'


@pytest.mark.parametrize(
    ("meta", "found"),
    [
        ({}, ("", "")),
        ({"cursors": {"after": "x"}}, ("x", "cursors")),
        ({"cursor": {"after": None}}, ("", "cursor")),
        ({"cursors": "x", "cursor": {"after": "y"}}, ("y", "cursor")),
    ],
)
def test_a_cursor_in_both_spellings(meta: dict[str, object], found: tuple[str, str]) -> None:
    assert cursor(meta) == found


@pytest.mark.parametrize(
    ("status", "value", "only"),
    [
        (200, {"customers": [{"id": "a"}]}, True),
        (200, {"customers": [{"id": "a"}, {"id": "b"}]}, False),
        (200, {"customers": []}, False),
        (200, {"customers": "a"}, False),
        (200, {}, False),
        (400, {"customers": [{"id": "a"}]}, False),
    ],
)
def test_an_answer_must_hold_who_was_asked_for_and_nobody_else(
    status: int,
    value: dict[str, object],
    only: bool,  # noqa: FBT001 - parametrized
) -> None:
    assert holds_only(Reply(status, value, (), "", 0.0), {"a"}) is only


def test_nothing_in_a_query_means_something_there() -> None:
    assert quoted('{"a&b": "é+=#%"}') == "%7B%22a%26b%22%3A%20%22%C3%A9%2B%3D%23%25%22%7D"
