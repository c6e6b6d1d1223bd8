"""Members counted from stored rows: a membership once, whatever says it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stream.core.model import Claim
from stream.core.rowstate import RowState
from stream.inventory.census import Census, Tally

CODES = {"ref:segments:7": "gold"}


def census(*rows: RowState) -> Census:
    found = Census(lambda segment: CODES.get(segment, "") or segment.partition("code:")[2])
    for row in rows:
        found.count(row)
    return found


def row(segment: str | None = None, member: str | None = None, told: str | None = None, **more: Any) -> RowState:
    return RowState(1, segment, member, told, **more)


def test_two_rows_of_one_membership_are_one_member() -> None:
    found = census(row("gold", "a", "present"), row("gold", "a", "unknown"), row("gold", "b", "unknown"))
    assert found.tallies["gold"] == Tally(wanted=2, told=1)
    assert found.rows == 3


def test_an_end_that_is_not_confirmed_counts_where_no_row_says_it() -> None:
    ended = row("blue", "a", "present", others=[("gold", "a", "unknown"), ("gold", "b", "present")])
    assert census(ended, row("gold", "b", "present")).tallies == {
        "blue": Tally(wanted=1, told=1),
        "gold": Tally(wanted=1, told=1, ending=1),
    }


def test_a_refused_member_is_not_expected_unless_another_row_was_told() -> None:
    refused = row("gold", "a", "unknown", pending="refused:invalid")
    assert census(refused).tallies["gold"] == Tally(wanted=1, refused=1)
    assert census(refused, row("gold", "a", "present")).tallies["gold"] == Tally(wanted=1, told=1)


def test_waiting_rows_count_where_their_segment_is_known() -> None:
    terms = ("email:a@x",)
    found = census(
        row(claim=Claim("code:gold", terms), waits="customer_missing"),
        row(claim=Claim("ref:segments:7", terms), waits="customer_missing"),
        row(claim=Claim("ref:segments:8", terms), waits="segment_reference"),
        row("blue", "a", "unknown", pending="segment_missing"),
        row("blue", "b", "present", claim=Claim("ref:segments:9", terms), waits="customer_ambiguous"),
        row(formers=[Claim("code:gold", terms)], waits="lookup_failed"),
        row(),
    )
    assert found.tallies["gold"].pending == {"customer_missing": 2}
    assert found.tallies["blue"] == Tally(
        wanted=2, told=1, pending=Counter({"segment_missing": 1, "customer_ambiguous": 1})
    )
    assert found.nowhere == {"segment_reference": 1}


def test_which_codes_a_reference_s_rows_are_in() -> None:
    claim = Claim("ref:segments:7", ("id:a",))
    found = census(
        row("gold", "a", "present", claim=claim),
        row("gold", "b", "present", claim=claim),
        row("golden", "c", "present", claim=claim),
        row("blue", "c", "present", claim=Claim("code:blue", ("id:a",))),
    )
    assert found.used == {"ref:segments:7": {"gold": 2, "golden": 1}}


ROWS = st.builds(
    lambda segment, member, told, refused, others: row(
        segment, member, told, pending="refused:invalid" if refused and told == "unknown" else None, others=others
    ),
    st.sampled_from(["gold", "blue"]),
    st.sampled_from("abc"),
    st.sampled_from(["present", "unknown"]),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(["gold", "blue"]), st.sampled_from("abc"), st.just("unknown")), max_size=2),
)


@given(st.lists(ROWS, max_size=12), st.randoms())
def test_the_counts_are_those_of_sets_in_whatever_order(rows: list[RowState], random: Any) -> None:
    said = {(r.segment, r.member) for r in rows}
    told = {(r.segment, r.member) for r in rows if r.told == "present"}
    refused = {(r.segment, r.member) for r in rows if r.pending} - told
    ending = {(segment, member) for r in rows for segment, member, _ in r.others} - said
    random.shuffle(rows)
    found = census(*rows)
    for code in ("gold", "blue"):
        tally = found.tallies.get(code, Tally())
        sizes = [sum(segment == code for segment, _ in one) for one in (said, told, refused, ending)]
        assert [tally.wanted, tally.told, tally.refused, tally.ending] == sizes
