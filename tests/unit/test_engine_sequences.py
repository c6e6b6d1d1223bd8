"""The sequences that a design with less memory, or less patience, gets wrong; each by hand, step by step."""

from __future__ import annotations

import msgspec
import pytest
from engine_hand import Hand, tp

from stream.core.catalog import Plan
from stream.core.delivery import LOOK_WAIT_S, LOOKED_S, SLOT_LOOK_S
from stream.core.effects import Alarm
from stream.core.model import ItemError
from stream.core.rowstate import decode_metadata


def ops(hand: Hand) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(call.op, call.segment, call.members) for call in hand.sent]


# ---- what is owed follows from levels --------------------------------------------------------------------------------


def test_second_sayer_is_stored_then_crash_and_the_add_is_still_issued() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.only()
    hand.feed(hand.put(2, "gold", "c1"))
    hand.settle()
    assert hand.committed() == 0
    hand.crash()
    assert ops(hand) == [("add", "gold", ("c1",))]


def test_delete_sent_then_crash_then_delete_and_insert_fold_together() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.done()
    hand.feed(hand.cut(1))
    assert hand.only().op == "remove"
    hand.feed(hand.put(1, "gold", "c1"))
    stored = hand.stored(1)
    assert stored is not None
    assert stored.told == "present"
    hand.crash()
    assert ops(hand) == [("add", "gold", ("c1",))]


def test_add_superseded_by_delete_holds_its_first_offset() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    call = hand.only()
    hand.feed(hand.cut(1))
    hand.settle()
    assert hand.committed() == 0
    hand.answer(call)
    assert hand.only().op == "remove"
    hand.crash()
    assert ops(hand) == [("remove", "gold", ("c1",))]


def test_update_without_before_ends_the_old_membership() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.done()
    hand.feed(hand.put(1, "blue", "c1", op="u"))
    assert sorted((c.op, c.segment) for c in hand.settle()) == [("add", "blue"), ("remove", "gold")]


def test_leftover_entry_ends_only_when_no_row_says_it() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"), hand.put(2, "gold", "c1"))
    hand.done()
    hand.feed(hand.put(1, "blue", "c1", op="u"))
    assert sorted((c.op, c.segment) for c in hand.settle()) == [("add", "blue"), ("add", "gold")]
    for call in hand.sent[-2:]:
        hand.answer(call)
    hand.settle()
    stored = hand.stored(1)
    assert stored is not None
    assert stored.others == [("gold", "c1", "present")]
    hand.feed(hand.cut(2))
    call = hand.only()
    assert (call.op, call.segment) == ("remove", "gold")
    hand.answer(call, 200)
    hand.settle()
    stored = hand.stored(1)
    assert stored is not None
    assert not stored.others


def test_key_change_with_the_same_membership_never_removes_it() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.done()
    hand.feed(hand.cut(1), hand.tombstone(1), hand.put(2, "gold", "c1"))
    hand.done()
    assert {op for op, _, _ in ops(hand)} == {"add"}
    assert hand.stored(2) is not None


# ---- rows never seen -------------------------------------------------------------------------------------------------


def test_delete_of_an_unseen_row_is_sent_where_its_key_names_the_membership() -> None:
    hand = Hand(keyed=True).start()
    hand.feed(hand.cut(("gold", "c1")))
    assert hand.only().op == "remove"


def test_delete_of_an_unseen_row_is_sent_where_before_is_complete() -> None:
    hand = Hand(full=True).start()
    hand.feed(hand.cut(1, before=("gold", "c1")))
    assert hand.only().members == ("c1",)


def test_delete_of_an_unseen_row_with_a_fake_before_is_a_letter() -> None:
    hand = Hand().start()
    hand.feed(hand.cut(1))
    assert hand.settle() == []
    assert [bury.reason for bury in hand.buried] == ["delete_unseen"]
    assert hand.committed() == 1


def test_delete_of_an_unseen_row_that_another_row_says_removes_nothing() -> None:
    hand = Hand(full=True).start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.done()
    hand.feed(hand.cut(2, before=("gold", "c1")))
    assert {call.op for call in hand.settle()} == {"add"}


# ---- what may still land ---------------------------------------------------------------------------------------------


def test_delete_after_a_timed_out_add_waits_until_the_add_has_landed() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    call = hand.only()
    hand.feed(hand.cut(1))
    hand.answer(call, kind="unknown")
    assert hand.settle(14.9) == []
    assert [c.op for c in hand.settle(0.2)] == ["remove"]


def test_insert_after_a_removal_answered_202_waits_until_it_has_run() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.done()
    hand.feed(hand.cut(1))
    hand.answer(hand.only(), 202)
    hand.feed(hand.put(1, "gold", "c1"))
    assert hand.settle(4.9) == []
    assert [c.op for c in hand.settle(0.2)] == ["add"]


def test_removal_answered_202_holds_the_offset_until_it_has_run() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.done()
    hand.feed(hand.cut(1))
    hand.answer(hand.only(), 202)
    hand.settle(4.9)
    assert hand.committed() == 1
    hand.settle(0.2)
    assert hand.committed() == 2


# ---- taking over -----------------------------------------------------------------------------------------------------


def leave(hand: Hand) -> bool:
    """Drain and leave; whether it left clean."""
    hand.engine.drain([tp()])
    hand.settle()
    commit = hand.engine.last_commit([tp()], hand.now)
    assert commit is not None
    hand.acknowledge(commit)
    hand.engine.forget([tp()])
    metadata = decode_metadata(hand.offsets[tp()][1])
    assert metadata is not None
    return metadata.clean


def test_unclean_take_over_waits() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.only()
    assert not leave(hand)
    hand.crash(wait=False)
    assert hand.settle(14.8) == []
    assert [c.op for c in hand.settle(0.4)] == ["add"]


def test_clean_take_over_sends_at_once_but_first_clears_the_mark_durably() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.done()
    assert leave(hand)
    hand.boot()
    hand.own()
    hand.restore()
    hand.feed(hand.put(2, "gold", "c2"))
    for _ in range(5):
        assert hand.step(0.01, acknowledge=False) == []
    metadata = decode_metadata(hand.commits[-1].offsets[tp()][1])
    assert metadata is not None
    assert not metadata.clean
    hand.acknowledge(hand.commits[-1])
    assert [c.members for c in hand.settle()] == [("c2",)]


def test_leaving_within_the_inherited_wait_is_not_clean() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.only()
    hand.crash(wait=False)
    assert not leave(hand)


def test_an_instance_that_lost_its_partitions_settles_and_commits_nothing_of_them() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    call = hand.only()
    stale = hand.engine.part(tp())
    assert stale is not None
    hand.engine.forget([tp()])
    hand.own()
    hand.restore()
    hand.answer(call)
    hand.engine.feed(tp(), stale.epoch, [hand.put(9, "blue", "c9")], [7], [0], [0], [None], hand.now)
    hand.settle()
    assert hand.committed() == 0
    assert hand.stored(1) is None
    hand.again()
    assert hand.settle(14.8) == []
    assert [c.members for c in hand.settle(0.4)] == [("c1",)]


def test_a_commit_of_an_earlier_assignment_claims_nothing_for_the_next() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    call = hand.only()
    hand.answer(call)
    while not hand.commits or hand.engine.commits.flying is None:
        hand.step(0.001, acknowledge=False)
    flying = hand.commits[-1]
    hand.engine.forget([tp()])
    hand.own()
    hand.restore()
    hand.engine.committed(flying.number, ok=True)
    part = hand.engine.part(tp())
    assert part is not None
    assert not part.acked


# ---- repeats ---------------------------------------------------------------------------------------------------------


def test_a_repeated_window_collapses_to_its_end() -> None:
    hand = Hand().start()
    window = [hand.put(1, "gold", "c1", lsn=10), hand.cut(1, lsn=20), hand.put(1, "blue", "c1", lsn=30)]
    for change in window:
        hand.feed(change)
        for call in hand.settle():
            hand.answer(call, 200)
        hand.settle()
    before = len(hand.sent)
    for change in window[:2]:
        hand.feed(change)
        assert hand.settle(1.0) == []
    hand.feed(window[2], hand.put(2, "blue", "c2", lsn=40))
    calls = hand.settle()
    assert {(c.op, c.segment) for c in calls} == {("add", "blue"), ("remove", "gold")}
    assert len(hand.sent) == before + 2


def test_a_repeat_that_ends_where_it_began_does_not_stay_held() -> None:
    hand = Hand().start()
    window = [hand.put(1, "gold", "c1", lsn=10), hand.put(1, "blue", "c1", op="u", lsn=20)]
    for change in window:
        hand.feed(change)
        for call in hand.settle():
            hand.answer(call, 200)
        hand.settle()
    hand.feed(window[0])
    assert hand.settle(1.0) == []
    hand.feed(window[1])
    assert {(c.op, c.segment) for c in hand.settle(5.0)} == {("add", "blue"), ("remove", "gold")}
    assert hand.alarms == []


def test_a_source_whose_positions_went_back_is_held_for_a_time_and_said() -> None:
    hand = Hand(repeat_hold_s=60.0).start()
    hand.feed(hand.put(1, "gold", "c1", lsn=100))
    hand.done()
    hand.feed(hand.put(2, "gold", "c2", lsn=50))
    assert hand.settle(59.0) == []
    assert [c.members for c in hand.settle(2.0)] == [("c2",)]
    assert [alarm.kind for alarm in hand.alarms] == ["repeat_hold"]


# ---- found by the simulator ------------------------------------------------------------------------------------------


def test_the_first_row_of_a_segment_does_not_halt_its_topic() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    assert hand.engine.halted == {}


def test_rows_with_one_owner_are_not_read_before_all_of_them_are_restored() -> None:
    hand = Hand(partitions=2)
    hand.own()
    hand.restore(0)
    assert not hand.engine.takes(tp(0))
    hand.restore(1)
    assert hand.engine.takes(tp(0))


def test_a_late_partition_of_rows_with_one_owner_restores_all_anew() -> None:
    hand = Hand(partitions=2)
    hand.partitions = 1
    hand.boot()
    hand.start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.done()
    hand.engine.partitions_known("rows", 2)
    hand.own(1)
    assert sorted(hand.asked) == [tp(0), tp(1)]
    hand.restore(0)
    hand.restore(1)
    hand.settle(16.0)
    hand.feed(hand.cut(1))
    assert hand.only().op == "remove"


def test_what_was_put_off_is_issued_even_where_one_membership_is_worked_on_at_once() -> None:
    hand = Hand(standings_max=1).start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.only()
    hand.engine.commits.relieve(hand.engine.parts(), hand.now + 100.0)
    hand.settle()
    assert hand.committed() == 1
    hand.crash()
    assert ops(hand) == [("add", "gold", ("c1",))]


def test_a_member_refused_after_a_restart_gets_its_letter() -> None:
    hand = Hand(window_age_s=1.0).start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.only()
    hand.settle(2.0)
    assert hand.committed() == 1
    hand.crash()
    hand.answer(hand.sent[-1], 201, errors=[ItemError("404", 0, "c1", "unknown")])
    hand.settle()
    assert [(bury.offset, bury.reason) for bury in hand.buried] == [(0, "unknown_customer")]
    stored = hand.stored(1)
    assert stored is not None
    assert stored.pending == "refused:unknown_customer"


def test_a_row_of_a_missing_segment_says_so_after_a_restart() -> None:
    hand = Hand(window_age_s=1.0).start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.only()
    hand.settle(2.0)
    hand.crash()
    hand.answer(hand.sent[-1], 404)
    hand.settle()
    stored = hand.stored(1)
    assert stored is not None
    assert stored.pending == "segment_missing"


def test_an_engine_without_anything_to_do_asks_for_no_turn() -> None:
    hand = Hand(slots=1, commit_interval_s=0.5).start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.done()
    hand.settle(1.0)
    assert hand.engine.next_s(hand.now) > hand.now + 60


def test_a_tombstone_after_a_refused_removal_holds_nothing() -> None:
    hand = Hand(window_age_s=3600.0).start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.done()
    hand.feed(hand.cut(1))
    hand.done(400)
    assert hand.found("there").op == "look"
    hand.settle(LOOK_WAIT_S)
    hand.answer(hand.sent[-1], 400)
    hand.settle()
    assert [bury.reason for bury in hand.buried] == ["invalid"]
    hand.feed(hand.tombstone(1))
    hand.settle(1.0)
    assert hand.committed() == 3
    assert hand.engine.commits.window_records == 0


def test_after_a_crash_what_says_the_same_is_told_again_as_the_events_between_may_be_compacted_away() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.done()
    hand.feed(hand.cut(1))
    assert hand.only().op == "remove"
    hand.feed(hand.put(1, "gold", "c1"))
    # the row was stored as present, and the delete is gone before the successor reads
    hand.log[0] = hand.log[0][-1:]
    hand.crash()
    assert ops(hand) == [("add", "gold", ("c1",))]


def test_records_from_before_the_position_change_nothing() -> None:
    """Records that were on their way before a seek may still be handed out after it."""
    hand = Hand(keyed=True).start()
    part = hand.engine.part(tp())
    assert part is not None
    part.ledger.position = 5
    old, new = hand.put(("gold", "c-1")), hand.put(("gold", "c-2"))
    hand.engine.feed(tp(), part.epoch, [old, new], [4, 5], [0, 0], [0, 0], [4, 5], hand.now)
    assert hand.only().members == ("c-2",)
    assert part.ledger.position == 6
    hand.engine.feed(tp(), part.epoch, [old], [4], [0], [0], [4], hand.now)
    assert part.ledger.position == 6


def test_a_row_whose_events_come_to_another_partition_stops_its_topic() -> None:
    hand = Hand(partitions=2).start()
    hand.feed(hand.put(1, "gold", "c1"), partition=0)
    hand.done()
    hand.feed(hand.put(1, "blue", "c1", op="u"), partition=1)
    hand.settle()
    assert [alarm.kind for alarm in hand.alarms] == ["halted"]
    assert "partition 1" in hand.alarms[0].text


def test_a_key_with_a_further_column_does_not_name_one_membership() -> None:
    hand = Hand(keyed=True).start()
    change = hand.put(("gold", "c1"))
    assert change.key is not None
    change.key["origin"] = "web"
    hand.feed(change)
    hand.settle()
    assert [alarm.kind for alarm in hand.alarms] == ["halted"]
    assert "origin" in hand.alarms[0].text


def test_a_due_batch_that_waits_for_a_slot_is_looked_after_at_once() -> None:
    hand = Hand(slots=1, commit_interval_s=0.5).start()
    hand.feed(hand.put(1, "gold", "c1"))
    call = hand.only()
    hand.settle(1.0)
    assert hand.engine.next_s(hand.now) > hand.now + 60
    hand.feed(hand.put(2, "blue", "c1"))
    hand.settle(1.0)
    assert hand.now < hand.engine.next_s(hand.now) <= hand.now + SLOT_LOOK_S
    hand.answer(call)
    assert hand.engine.next_s(hand.now) <= hand.now


def test_a_delete_whose_transaction_was_open_across_a_snapshot_counts() -> None:
    """The snapshot shows the row at the position of its end; the row's own delete, later in the log, lies before it."""
    hand = Hand(repeat_hold_s=60.0).start()
    row = hand.put(1, "gold", "c1", op="r")
    hand.feed(msgspec.structs.replace(row, snapshot=True))
    hand.done()
    hand.feed(msgspec.structs.replace(hand.put(2, "gold", "c2"), position='["26378024","26378024"]'))
    hand.done()
    hand.feed(msgspec.structs.replace(hand.cut(1), position='["26378024","26377440"]'))
    assert hand.settle(1.0) == [], "a repeat, as far as anybody can tell: it is folded, and not shown"
    hand.feed(msgspec.structs.replace(hand.put(3, "gold", "c3"), position='["26379000","26379000"]'))
    for _ in range(3):
        for call in hand.settle(0.1):
            hand.answer(call)
    removed = [call.members for call in hand.sent if call.op == "remove"]
    assert removed == [("c1",)]


# ---- letters ---------------------------------------------------------------------------------------------------------


def test_a_letter_that_was_not_acknowledged_is_written_by_the_successor_though_the_row_s_state_is_newer() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.done()
    hand.acknowledges_letters = False
    hand.feed(hand.put(1, "gold", None, op="u"))  # type: ignore[arg-type]  # that is what is wrong with it
    hand.done(202)
    hand.settle(10)
    assert [bury.offset for bury in hand.buried] == [1]
    assert hand.committed() == 1
    assert row_offset(hand) == 1
    hand.acknowledges_letters = True
    hand.crash()
    assert [bury.offset for bury in hand.buried] == [1]
    assert hand.committed() == 2


def row_offset(hand: Hand) -> int:
    stored = hand.stored(1)
    assert stored is not None
    return stored.offset


# ---- one segment that fails, and the others --------------------------------------------------------------------------


def drive(hand: Hand, seconds: float, statuses: dict[str, int], seen: set[int]) -> None:
    """Answer each call by its segment, 201 where nothing else is said, a fifth of a second at a time."""
    until = hand.now + seconds
    while hand.now < until:
        hand.step(0.2)
        for call in hand.sent:
            if call.number not in seen:
                seen.add(call.number)
                hand.answer(call, statuses.get(call.segment, 201))


def test_a_segment_that_fails_fills_neither_the_window_nor_memory() -> None:
    for limits in ({"window_records_max": 10}, {"standings_max": 10}):
        hand, seen = Hand(**limits).start(), set[int]()  # type: ignore[arg-type]
        fed = 0
        for _ in range(100):
            while hand.engine.room() and fed < 60:
                hand.feed(hand.put(fed, "bad", f"c{fed}"))
                fed += 1
            drive(hand, 0.4, {"bad": 503}, seen)
        assert fed == 60, limits
        hand.feed(hand.put("quiet", "good", "c"))
        drive(hand, 1.0, {"bad": 503}, seen)
        assert [call.members for call in hand.sent if call.segment == "good"] == [("c",)]
        assert hand.committed() == 61
        drive(hand, 60.0, {}, seen)
        told = {hand.stored(n).told for n in range(60)}  # type: ignore[union-attr]
        assert told == {"present"}, limits


def test_in_an_outage_reading_waits_at_the_limit() -> None:
    hand, seen = Hand(standings_max=10).start(), set[int]()
    down = {f"s{n}": 503 for n in range(20)}
    for n in range(20):
        if hand.engine.room():
            hand.feed(hand.put(n, f"s{n}", f"c{n}"))
    for _ in range(20):
        drive(hand, 5.0, down, seen)
        assert hand.engine.room() == 0
    drive(hand, 30.0, {}, seen)
    assert hand.engine.room() > 0
    assert {hand.stored(n).told for n in range(10)} == {"present"}  # type: ignore[union-attr]


def test_a_segment_with_a_backlog_leaves_a_slot_to_the_others() -> None:
    hand = Hand(slots=3, members_max=1).start()
    hand.feed(*(hand.put(n, "hot", f"c{n}") for n in range(10)))
    assert len(hand.settle()) == 2
    assert hand.engine.next_s(hand.now) == hand.now + SLOT_LOOK_S
    hand.feed(hand.put("quiet", "good", "c"))
    assert [call.segment for call in hand.settle()] == ["good"]


def test_a_segment_that_failed_is_tried_with_one_call() -> None:
    hand = Hand(slots=8, members_max=1).start()
    hand.feed(*(hand.put(n, "bad", f"c{n}") for n in range(20)))
    for call in hand.settle():
        hand.answer(call, 503)
    hand.settle(5.0)
    hand.sent.clear()
    hand.settle(60.0)
    assert len(hand.engine.delivery.flights) == 1
    assert hand.engine.next_s(hand.now) >= hand.now + SLOT_LOOK_S


# ---- dynamic segments ------------------------------------------------------------------------------------------------


def test_members_of_a_dynamic_segment_wait_without_a_letter_or_a_second_request() -> None:
    hand = Hand(segments_plan=Plan(create_missing=True), missing_retry_s=5.0).start()
    hand.feed(*(hand.put(n, "rules", f"c{n}") for n in range(20)))
    hand.done(400)
    assert hand.found("dynamic", "dynamic").op == "look"
    hand.feed(hand.put(20, "rules", "c20"))
    assert hand.settle(LOOK_WAIT_S) == []
    assert hand.settle(LOOK_WAIT_S) == []
    assert (len(hand.sent), hand.buried, hand.committed()) == (1, [], 21)
    assert hand.engine.pending()["segment_dynamic"] == 21
    assert [alarm.kind for alarm in hand.alarms if isinstance(alarm, Alarm)] == ["segment_dynamic"]
    hand.settle(5.0)  # it is looked at again, and no member is tried
    assert hand.found("dynamic", "dynamic").op == "look"
    assert len(hand.sent) == 1
    hand.settle(300.0)
    assert hand.found("there").op == "look"
    for _ in range(3):
        for call in hand.settle(0.1):
            hand.answer(call)
    hand.settle()
    assert {hand.stored(n).told for n in range(21)} == {"present"}  # type: ignore[union-attr]


def test_the_next_process_finds_out_with_one_request() -> None:
    hand = Hand().start()
    hand.feed(*(hand.put(n, "rules", f"c{n}") for n in range(20)))
    hand.done(400)
    hand.found("dynamic", "dynamic")
    hand.settle(LOOK_WAIT_S)
    hand.settle()
    hand.crash()
    assert len(hand.sent) == 1
    hand.answer(hand.sent[0], 400)
    hand.found("dynamic", "dynamic")
    for _ in range(5):
        hand.settle(LOOK_WAIT_S)
    assert (len(hand.sent), hand.buried) == (1, [])
    assert hand.engine.pending()["segment_dynamic"] == 20


def test_a_segment_that_takes_members_is_looked_at_once_in_a_while() -> None:
    hand = Hand(members_max=1).start()
    for number in range(3):
        hand.feed(hand.put(number, "gold", f"c{number}"))
        hand.settle()
        hand.answer(hand.sent[-1], 400)
        hand.settle()
        if number == 0:
            hand.found("there")
            hand.settle(LOOK_WAIT_S)
            hand.answer(hand.sent[-1], 400)
            hand.settle()
    assert len(hand.defined) == 1
    assert len(hand.buried) == 3
    hand.now += LOOKED_S
    hand.feed(hand.put(7, "gold", "c7"))
    hand.settle()
    hand.answer(hand.sent[-1], 400)
    hand.settle()
    assert len(hand.defined) == 2


def test_where_segments_cannot_be_looked_at_the_bad_member_is_found_all_the_same() -> None:
    hand = Hand().start()
    hand.feed(*(hand.put(n, "gold", f"c{n}") for n in range(4)))
    hand.done(400)
    hand.found("forbidden", "failed")
    for _ in range(20):
        for call in hand.settle(LOOK_WAIT_S):
            hand.answer(call, 400 if "c2" in call.members else 201)
    assert [bury.reason for bury in hand.buried] == ["invalid"]
    assert {hand.stored(n).told for n in (0, 1, 3)} == {"present"}  # type: ignore[union-attr]


@pytest.mark.parametrize("known", [False, True])
def test_a_look_that_failed_for_a_moment_says_nothing_of_the_members(*, known: bool) -> None:
    hand = Hand().start()
    hand.feed(*(hand.put(n, "rules", f"c{n}") for n in range(20)))
    hand.done(400)
    if known:
        hand.found("dynamic", "dynamic")
        hand.settle(5.0)
    hand.found("server_error", "failed")
    for _ in range(3):
        for call in hand.settle(LOOK_WAIT_S):
            hand.answer(call, 400)
    assert hand.buried == []
    assert len(hand.sent) <= (1 if known else 4)
    hand.found("dynamic", "dynamic")
    hand.settle(60.0)
    hand.settle()
    assert hand.engine.pending()["segment_dynamic"] == 20
