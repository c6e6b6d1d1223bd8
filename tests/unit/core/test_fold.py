"""Records into rows: order by offset, positions for the repeat's hold alone, claims, refusals, tombstones, unchanged values."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.core.decode.rowkey import row_key
from stream.core.fold import REPEAT_TAIL_S, Folder, compare
from stream.core.mapping import RowMapping, TableRule
from stream.core.model import (
    UNAVAILABLE,
    Change,
    Decoded,
    Halt,
    Membership,
    Skip,
    Tombstone,
    TopicPartition,
    Truncate,
    Unreadable,
)
from stream.core.owners import Owners, TableSpec
from stream.core.resolver import Identities, Resolver
from stream.core.resolving import Resolving
from stream.core.rows import QUEUED, Part, Row, Standing
from stream.core.rowstate import row_key_hash
from stream.core.table import RowTable
from stream.core.verdict import VerdictPolicy

Lsn = int | None
LSNS = st.tuples(st.none() | st.integers(1, 10**12), st.integers(1, 10**12))


def sequence(of: tuple[Lsn, int]) -> str:
    commit = "null" if of[0] is None else f'"{of[0]}"'
    return f'[{commit},"{of[1]}"]'


class Bench:
    """One partition, folded into; letters and alarms are kept. `says` asks the table, as it is now."""

    def __init__(self, *, claim: Any = "none", full: bool = False, topic: str = "t", partition: int = 0) -> None:
        rule = TableRule(
            (("column", "segment"),),
            (("id", "member"),),
            replica_identity="full" if full else "default",
            partitioned_by=claim,
        )
        self.spec = TableSpec(RowMapping(rule), sole=claim == "none")
        self.tally: Counter[tuple[str, ...]] = Counter()
        self.letters: list[tuple[int, str]] = []
        self.alarms: list[str] = []
        resolver = Resolver(Identities(), VerdictPolicy(), self.tally, lambda kind, _: self.alarms.append(kind))
        resolving = Resolving(
            resolver, lambda _part, _code: "", lambda topic, _: self.alarms.append(topic), lambda _: None
        )
        self.folder = Folder(
            self.tally, self._bury, lambda kind, _: self.alarms.append(kind), b"secret", Owners(), resolving
        )
        self.table = RowTable(sole=True, enqueue=self._enqueue, rest=lambda _: None, hold=self._hold)
        self.part = self.other(topic, partition)
        self.next = 0

    def _enqueue(self, standing: Standing) -> None:
        standing.where = QUEUED

    def _hold(self, row: Row) -> None:
        row.part.ledger.hold(row)

    def _bury(self, _part: Part, offset: int, reason: str, _detail: str, _origin: object) -> None:
        self.letters.append((offset, reason))

    def other(self, topic: str, partition: int) -> Part:
        part = Part(TopicPartition(topic, partition), 1, self.table)
        self.table.parts[part.tp] = part
        return part

    def feed(self, *items: Decoded, now_s: float = 0.0, part: Part | None = None) -> str | None:
        offsets = range(self.next, self.next + len(items))
        self.next += len(items)
        zeros = [0] * len(items)
        return self.folder.feed(part or self.part, self.spec, items, offsets, zeros, zeros, zeros, now_s)

    def says(self, row: Any) -> Membership | None:
        found = self.part.row_at(row_key_hash(row_key(key(row)), b"secret"))
        return found.says if found is not None else None


def key(row: Any) -> dict[str, Any]:
    return dict(row) if isinstance(row, dict) else {"id": row}


def put(row: Any, *after: Any, op: str = "c", before: Any = None, position: str | None = None) -> Change:
    return Change(op, key(row), before, after, 1, False, position)  # noqa: FBT003 - as the decoder writes it


def cut(row: Any, before: Any = ("", ""), position: str | None = None) -> Change:
    return Change("d", key(row), before, None, 1, False, position)  # noqa: FBT003 - as above


# ---- positions ---------------------------------------------------------------------------------------------------------


@given(LSNS, LSNS)
def test_positions_compare_as_numbers(one: tuple[Lsn, int], other: tuple[Lsn, int]) -> None:
    left, right = compare(sequence(one), sequence(other)), compare(sequence(other), sequence(one))
    assert (left > 0) == (right < 0)
    if one[0] is None or other[0] is None:
        assert (left > 0, left == 0) == (one[1] > other[1], one[1] == other[1])
    else:
        assert (left > 0, left == 0) == (one > other, one == other)  # type: ignore[operator]


@pytest.mark.parametrize(
    "odd", ["", "[]", "null", '["1"]', '["1","2","3"]', '["a","1"]', '["1",null]', "[1,2]", "{", '"1"']
)
def test_what_cannot_be_read_never_holds_anything_back(odd: str) -> None:
    assert compare(odd, '["5","5"]') > 0
    assert compare('["5","5"]', odd) > 0


@given(st.lists(st.tuples(st.integers(1, 2_000), st.integers(1, 2_000)), min_size=1, max_size=12))
@example([(1_000, 999), (999, 1_000)])
@example([(1_000, 999), (999, 1_001), (1_000, 1_000)])
@example([(9, 10), (10, 9), (10, 10)])
def test_the_mark_is_the_highest_and_what_lies_below_it_is_held(positions: list[tuple[int, int]]) -> None:
    bench = Bench()
    highest, held = (0, 0), False
    for n, position in enumerate(positions):
        bench.feed(put(n, "gold", "c", position=sequence(position)))
        if position != highest:
            held = position < highest
        highest = max(highest, position)
        assert bench.part.mark == sequence(highest)
        assert (bench.part.repeat_since_s >= 0) is held


def test_a_repeat_is_held_until_it_is_past_the_mark() -> None:
    bench = Bench()
    bench.feed(put(1, "gold", "a", position='["7","7"]'), put(2, "gold", "b", position='["8","8"]'), now_s=1.0)
    assert bench.part.repeat_since_s < 0
    bench.feed(put(1, "gold", "a", position='["7","7"]'), now_s=2.0)
    assert bench.part.repeat_since_s == 2.0
    bench.feed(put(2, "gold", "b", position='["8","8"]'), now_s=3.0)
    assert bench.part.repeat_end_s == 3.0 + REPEAT_TAIL_S
    bench.feed(put(3, "gold", "c", position='["8","8"]'), now_s=3.5)
    assert bench.part.repeat_end_s == 3.5 + REPEAT_TAIL_S
    bench.feed(put(4, "gold", "d", position='["9","9"]'), now_s=4.0)
    assert bench.part.repeat_since_s < 0
    assert bench.tally["repeats", "t"] == 1


def test_several_rows_may_share_a_position_and_a_lower_one_is_never_skipped() -> None:
    bench = Bench()
    same = '["5","5"]'
    bench.feed(
        put(1, "gold", "a", position=same), put(2, "gold", "b", position=same), put(1, "vip", "a", position='["4","9"]')
    )
    assert [bench.says(1), bench.says(2)] == [("vip", "a"), ("gold", "b")]


# ---- rows --------------------------------------------------------------------------------------------------------------


def test_the_offset_is_the_order() -> None:
    bench = Bench()
    bench.feed(put(1, "gold", "a"), put(1, "vip", "a", op="u"), cut(1), put(1, "gold", "b"))
    assert bench.says(1) == ("gold", "b")
    bench.feed(bench_tombstone := Tombstone({"id": 1}))
    assert bench.says(1) is None
    bench.feed(bench_tombstone)
    assert bench.says(1) is None
    assert bench.part.ledger.position == bench.next


@pytest.mark.parametrize("empty", [Tombstone(None), Skip("heartbeat")])
def test_what_means_nothing_moves_the_position_and_is_counted(empty: Decoded) -> None:
    bench = Bench()
    assert bench.feed(empty, empty) is None
    assert bench.part.ledger.position == 2
    assert not bench.part.working
    assert sum(count for name, count in bench.tally.items() if name[0] == "skipped") == 2


def test_a_delete_of_a_row_never_seen_is_a_letter_unless_its_identity_is_certain() -> None:
    bench = Bench()
    bench.feed(cut(1, before=("gold", "a")))
    assert bench.letters == [(0, "delete_unseen")]
    full = Bench(full=True)
    full.feed(cut(1, before=("gold", "a")), cut(2, before=("", "")))
    assert full.letters == [(1, "delete_unseen")]
    assert set(full.table.working) == {("gold", "a")}
    keyed = Bench(claim="membership")
    keyed.feed(cut({"segment": "gold", "member": "a"}), Tombstone({"segment": "gold", "member": "b"}))
    assert not keyed.letters
    assert {m: s.op for m, s in keyed.table.working.items()} == {("gold", "a"): "remove", ("gold", "b"): "remove"}


def test_during_the_first_fold_a_delete_of_a_row_never_seen_is_history() -> None:
    bench = Bench()
    bench.part.fold_to = 1
    bench.feed(cut(1), cut(2))
    assert bench.letters == [(1, "delete_unseen")]
    assert bench.tally["skipped", "delete_unseen"] == 1


def test_an_update_of_a_row_never_seen_ends_what_full_says_it_was() -> None:
    bench = Bench(full=True)
    bench.feed(put(1, "vip", "a", op="u", before=("gold", "a")))
    assert {m: s.op for m, s in bench.table.working.items()} == {("gold", "a"): "remove", ("vip", "a"): "add"}
    default = Bench()
    default.feed(put(1, "vip", "a", op="u", before=("gold", "a")))
    assert set(default.table.working) == {("vip", "a")}


def test_a_row_that_says_nothing_usable_is_a_letter_and_ends_what_it_said() -> None:
    bench = Bench()
    bench.feed(put(1, "gold", "a"), put(1, "gold", None, op="u"), put(2, "a/b", "c"))
    assert bench.letters == [(1, "identity_null"), (2, "segment_code")]
    assert bench.says(1) is None
    assert bench.table.working["gold", "a"].op == "remove"


def test_unchanged_values_are_as_the_row_said_before() -> None:
    bench = Bench()
    bench.feed(put(1, "gold", "a"), put(1, UNAVAILABLE, "b", op="u"), put(2, UNAVAILABLE, "c", op="u"))
    assert bench.says(1) == ("gold", "b")
    assert bench.says(2) is None
    assert bench.letters == [(2, "unavailable_value")]
    bench.feed(put(1, "vip", UNAVAILABLE, op="u"))
    assert bench.says(1) == ("vip", "b")


def test_unreadable_is_a_letter_truncate_is_an_alarm_too_and_the_rest_goes_on() -> None:
    bench = Bench()
    assert bench.feed(Unreadable("json", "odd"), Truncate(5), put(1, "gold", "a")) is None
    assert bench.letters == [(0, "json"), (1, "truncate")]
    assert bench.alarms == ["truncate"]
    assert bench.says(1) == ("gold", "a")


@pytest.mark.parametrize(
    ("stop", "why"),
    [
        (Halt("missing_column", "no column x"), "no column x"),
        (Change("c", None, None, ("g", "a"), 1, False, None), "no key"),  # noqa: FBT003 - as above
    ],
)
def test_what_stops_the_topic_leaves_what_came_before_folded_and_itself_unread(stop: Decoded, why: str) -> None:
    bench = Bench()
    found = bench.feed(put(1, "gold", "a"), stop, put(2, "gold", "b"))
    assert found is not None
    assert why in found
    assert bench.says(1) == ("gold", "a")
    assert bench.says(2) is None
    assert bench.part.ledger.position == 1


# ---- one owner ---------------------------------------------------------------------------------------------------------


def test_a_key_that_contradicts_the_claim_stops_the_topic() -> None:
    found = Bench(claim="membership").feed(put(1, "gold", "a"))
    assert found is not None
    assert "no column member" in found


def test_by_segment_a_segment_lives_in_one_partition() -> None:
    bench = Bench(claim="segment")
    row = {"segment": "gold", "id": 1}
    assert bench.feed(put(row, "gold", "a")) is None
    found = bench.feed(put(row, "gold", "b"), part=bench.other("t", 1))
    assert found is not None
    assert "t[0]" in found
    assert "t[1]" in found


def test_by_membership_two_topics_may_not_feed_one_segment() -> None:
    bench = Bench(claim="membership")
    row = {"segment": "gold", "member": "a"}
    assert bench.feed(put(row, "gold", "a")) is None
    other = {"segment": "gold", "member": "b"}
    assert bench.feed(put(other, "gold", "b"), part=bench.other("t", 1)) is None
    found = bench.feed(put(row, "gold", "a"), part=bench.other("u", 0))
    assert found is not None
    assert "one owner" in found


def test_where_one_instance_owns_all_topics_may_share_segments() -> None:
    bench = Bench()
    assert bench.feed(put(1, "gold", "a")) is None
    assert bench.feed(put(1, "gold", "a"), part=bench.other("u", 0)) is None
    assert bench.table.working["gold", "a"].sayers == 2


EVENTS = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.sampled_from(["put", "cut", "tombstone"]),
        st.sampled_from(["gold", "vip"]),
        st.sampled_from("ab"),
    ),
    max_size=25,
)


@given(EVENTS, st.integers(1, 7))
def test_folding_in_pieces_is_folding_at_once_and_ends_as_a_dict_would(
    events: list[tuple[int, str, str, str]], piece: int
) -> None:
    items: list[Decoded] = []
    truth: dict[int, Membership] = {}
    for row, what, segment, member in events:
        if what == "put":
            items.append(put(row, segment, member))
            truth[row] = (segment, member)
        else:
            items.append(cut(row) if what == "cut" else Tombstone({"id": row}))
            truth.pop(row, None)
    whole, parts = Bench(), Bench()
    whole.feed(*items)
    for start in range(0, len(items), piece):
        parts.feed(*items[start : start + piece])
    for bench in (whole, parts):
        assert {row: bench.says(row) for row in (1, 2, 3)} == {row: truth.get(row) for row in (1, 2, 3)}
        assert bench.part.ledger.position == len(items)
    assert whole.letters == parts.letters
    assert whole.tally == parts.tally
