"""Members who are named by email, number or reference: by hand, step by step."""

from __future__ import annotations

from typing import Any

import pytest
from engine_hand import Hand, tp

from stream.core.catalog import CatalogRule, Plan
from stream.core.model import Change, Customer, ItemError, LookupOutcome
from stream.core.rowstate import RowState

EMAIL = (("email", "email"),)
BOTH = (("number", "number"), ("email", "email"))
REFERRED = (("ref:customers", "customer"),)


def customer(name: str, email: str = "", number: str = "", *, anonymous: bool = False) -> Customer:
    return Customer(name, email or None, number or None, None, "active", anonymous)


def by_email(**more: Any) -> Hand:
    return Hand(members=EMAIL, **more).start()


def referred(rows: dict[str, tuple[Any, ...]] | None = None, codes: dict[str, tuple[Any, ...]] | None = None) -> Hand:
    tables: dict[str, Any] = {"customers": (("number", "email"), {} if rows is None else rows)}
    if codes is not None:
        tables["segments"] = (("code",), codes)
    return Hand(members=REFERRED, segments="segments" if codes is not None else "", references=tables).start()


def sent(hand: Hand) -> list[tuple[str, str, tuple[str, ...]]]:
    hand.settle()
    return [(call.op, call.segment, call.members) for call in hand.sent]


def row(hand: Hand, key: Any) -> RowState:
    stored = hand.stored(key)
    assert stored is not None
    return stored


# ---- found, missing, ambiguous ---------------------------------------------------------------------------------------


def test_a_customer_is_found_by_email_then_added_and_the_row_keeps_both() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "Max@X.com"))
    lookup = hand.look(customer("c1", "max@x.com"))
    assert (lookup.kind, lookup.values) == ("email", ("Max@X.com", "max@x.com"))
    assert hand.committed() == 0
    assert hand.done().members == ("c1",)
    stored = row(hand, 1)
    assert (stored.segment, stored.member, stored.told, stored.waits) == ("gold", "c1", "present", None)
    assert stored.claim is not None
    assert stored.claim.terms == ("email:Max@X.com",)
    assert hand.committed() == 1


def test_who_is_not_found_is_durable_and_holds_no_offset_and_is_asked_for_again() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look()
    hand.settle()
    assert hand.committed() == 1
    assert row(hand, 1).waits == "customer_missing"
    assert hand.engine.pending()["customer_missing"] == 1
    hand.settle(20)
    assert hand.lookups == []
    hand.settle(20)
    hand.look(customer("c1", "a@x"))
    assert hand.done().members == ("c1",)
    assert hand.engine.pending()["customer_missing"] == 0
    assert row(hand, 1).told == "present"


def test_a_pending_row_is_asked_for_slower_and_slower() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    times = []
    for _ in range(12):
        hand.look()
        asked_s = hand.now
        while not hand.lookups:
            hand.settle(5)
        times.append(hand.now - asked_s)
    assert times[0] < 45
    assert times[-1] > 3 * times[0]
    assert times == sorted(times)


def test_a_pending_row_that_did_not_change_is_not_written_again() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look()
    hand.settle()
    written = sum(1 for commit in hand.commits for _ in commit.writes)
    for _ in range(3):
        while not hand.lookups:
            hand.settle(30)
        hand.look()
        hand.settle()
    assert sum(1 for commit in hand.commits for _ in commit.writes) == written


def test_several_registered_customers_are_never_guessed() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look(customer("c1", "a@x"), customer("c2", "a@x"))
    assert sent(hand) == []
    assert row(hand, 1).waits == "customer_ambiguous"


def test_a_guest_is_no_customer() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look(customer("c1", "a@x", anonymous=True))
    assert sent(hand) == []
    assert row(hand, 1).waits == "customer_missing"


def test_an_ignored_filter_finds_nobody_and_says_so() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look(customer("c7", "somebody@else"))
    assert sent(hand) == []
    assert row(hand, 1).waits == "customer_uncertain"
    assert [alarm.kind for alarm in hand.alarms] == ["lookup_uncertain"]


def test_many_are_asked_for_at_once_and_a_cached_one_not_again() -> None:
    hand = by_email()
    hand.feed(hand.put(0, "gold", "m0@x"))
    hand.settle()
    hand.feed(hand.put(9, "gold", "m9@x"))
    hand.settle()
    hand.feed(*(hand.put(n, "gold", f"m{n}@x") for n in range(1, 9)))
    hand.settle()
    first, second = hand.lookups
    hand.lookups = [first]
    hand.look(customer("c0", "m0@x"))
    hand.settle()
    assert [lookup.values for lookup in hand.lookups] == [tuple(f"m{n}@x" for n in range(1, 9))]
    hand.look(*(customer(f"c{n}", f"m{n}@x") for n in range(1, 9)))
    hand.lookups = [second]
    hand.look(customer("c9", "m9@x"))
    hand.feed(hand.put(20, "blue", "M3@x"))
    hand.settle()
    assert hand.lookups == []
    assert ("add", "blue", ("c3",)) in sent(hand)


# ---- preference ------------------------------------------------------------------------------------------------------


def both(hand: Hand, key: int, number: str | None, email: str | None) -> Change:
    return Change("c", hand.key(key), None, ("gold", number, email), 1, False, None)  # noqa: FBT003 - as the decoder writes it


def test_the_next_identity_is_asked_for_when_the_preferred_one_finds_nobody() -> None:
    hand = Hand(members=BOTH).start()
    hand.feed(both(hand, 1, "10", "a@x"))
    assert hand.look().kind == "number"
    assert hand.look(customer("c1", "a@x")).kind == "email"
    assert hand.done().members == ("c1",)


def test_an_empty_preferred_identity_leaves_its_place() -> None:
    hand = Hand(members=BOTH).start()
    hand.feed(both(hand, 1, None, "a@x"))
    assert hand.look(customer("c1", "a@x")).kind == "email"
    assert hand.done().members == ("c1",)


def test_an_ambiguous_number_is_not_replaced_by_the_email() -> None:
    hand = Hand(members=BOTH).start()
    hand.feed(both(hand, 1, "10", "a@x"))
    hand.look(customer("c1", number="10"), customer("c2", number="10"))
    assert sent(hand) == []
    assert hand.lookups == []
    assert row(hand, 1).waits == "customer_ambiguous"


def test_a_retry_asks_for_each_identity_again() -> None:
    hand = Hand(members=BOTH).start()
    hand.feed(both(hand, 1, "10", "a@x"))
    hand.look()
    hand.look()
    while len(hand.lookups) < 2:
        hand.settle(5)
    assert {lookup.kind for lookup in hand.lookups} == {"number", "email"}


# ---- removals use the id that the addition used ------------------------------------------------------------------------


def test_a_removal_uses_the_id_of_the_addition_whatever_the_email_is_now() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look(customer("c1", "a@x"))
    hand.done()
    hand.settle(10_000)
    hand.feed(hand.cut(1))
    assert hand.lookups == []
    call = hand.only()
    assert (call.op, call.members) == ("remove", ("c1",))


def test_a_new_identity_that_is_not_known_ends_the_old_membership_at_once() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look(customer("c1", "a@x"))
    hand.done()
    hand.feed(hand.put(1, "gold", "b@x", op="u"))
    call = hand.only()
    assert (call.op, call.members) == ("remove", ("c1",))
    hand.answer(call, 200)
    hand.look(customer("c2", "b@x"))
    assert hand.done().members == ("c2",)


def test_a_row_that_changes_its_segment_alone_keeps_its_customer_without_a_look_up() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look(customer("c1", "a@x"))
    hand.done()
    hand.settle(10_000)
    hand.feed(hand.put(1, "blue", "a@x", op="u"))
    assert sorted((c.op, c.segment) for c in hand.settle()) == [("add", "blue"), ("remove", "gold")]
    assert hand.lookups == []


def test_two_identities_of_one_customer_are_one_membership() -> None:
    hand = Hand(members=BOTH).start()
    hand.feed(both(hand, 1, "10", None), both(hand, 2, None, "a@x"))
    hand.settle()
    one = customer("c1", "a@x", "10")
    first, second = hand.lookups
    hand.lookups = [first]
    hand.look(one)
    hand.done()
    hand.lookups = [second]
    hand.look(one)
    hand.done()
    assert [(c.op, c.members) for c in hand.sent] == [("add", ("c1",)), ("add", ("c1",))]
    hand.feed(hand.cut(1))
    assert hand.done().op == "add"
    hand.feed(hand.cut(2))
    assert hand.only().op == "remove"


# ---- an earlier life may have added it -------------------------------------------------------------------------------


def test_nobody_is_told_before_whom_the_row_means_is_durable() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look(customer("c1", "a@x"))
    hand.step(acknowledge=False)
    hand.settle(1)
    assert hand.sent == []
    hand.engine.committed(hand.commits[-1].number, ok=False)  # aborted: it goes into the next
    hand.step(acknowledge=False)
    hand.settle(1)
    assert hand.sent == []
    hand.acknowledge(hand.commits[-1])
    assert hand.only().members == ("c1",)
    assert row(hand, 1).told == "unknown"
    assert hand.committed() == 0, "an offset counts once the call was accepted"


def test_whom_an_earlier_life_added_is_known_though_the_email_is_another_s_now() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look(customer("c1", "a@x"))
    assert hand.only().members == ("c1",)
    hand.crash()  # the answer did not come, and a@x is the email of c2 from now on
    assert sent(hand) == [("add", "gold", ("c1",))]
    hand.answer(hand.sent[-1])
    hand.settle()
    assert hand.lookups == []
    hand.feed(hand.cut(1))
    call = hand.only()
    assert (call.op, call.members) == ("remove", ("c1",))


def test_who_is_found_anew_while_the_one_before_is_written_is_not_told_with_it() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look(customer("c1", "a@x"))
    hand.step(acknowledge=False)
    first = hand.commits[-1]
    hand.feed(hand.put(1, "gold", "b@x"))
    hand.look(customer("c2", "b@x"))
    hand.acknowledge(first)
    hand.step(acknowledge=False)
    assert ("c2",) not in [call.members for call in hand.sent]
    hand.acknowledge(hand.commits[-1])
    hand.settle()
    assert ("add", "gold", ("c2",)) in sent(hand)


def test_a_refused_member_found_by_a_look_up_is_a_letter_with_its_record() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look(customer("c1", "a@x"))
    hand.answer(hand.only(), 201, errors=[ItemError("400", 0, "c1", "no")])
    hand.settle()
    assert hand.buried == [], "it may mean that there is no such customer"
    assert row(hand, 1).waits == "customer_unknown"
    hand.settle(40)
    hand.look(customer("c1", "a@x"))
    hand.answer(hand.only(), 201, errors=[ItemError("400", 0, "c1", "no")])
    hand.settle()
    assert [bury.reason for bury in hand.buried] == ["invalid"]


@pytest.mark.parametrize("code", ["404", "400"])
def test_whoever_registered_anew_is_found_whichever_code_the_one_before_is_refused_with(code: str) -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look(customer("c1", "a@x"))
    hand.done()
    hand.feed(hand.put(2, "silver", "a@x"))
    hand.answer(hand.only(), 201, errors=[ItemError(code, 0, "c1", "no")])
    hand.settle(40)
    hand.look(customer("c2", "a@x"))
    assert ("add", "silver", ("c2",)) in sent(hand)
    assert hand.buried == []


def test_who_was_refused_once_is_removed_where_he_was_told_when_his_row_ends() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look(customer("c1", "a@x"))
    hand.done()
    hand.feed(hand.put(2, "silver", "a@x"))
    hand.answer(hand.only(), 201, errors=[ItemError("404", 0, "c1", "an index that lags")])
    hand.settle(1)
    hand.feed(hand.cut(1))
    call = hand.only()
    assert (call.op, call.segment, call.members) == ("remove", "gold", ("c1",))
    hand.answer(call, 202, errors=[ItemError("404", 0, "c1", "no such customer")])
    hand.settle(10)
    assert row(hand, 1).others == []


def test_a_value_that_is_refused_costs_a_few_questions_and_shortens_no_other() -> None:
    hand = Hand(members=EMAIL).start()
    hand.feed(*(hand.put(n, "gold", f"m{n}@x") for n in range(80)))
    asked, refused = 0, []
    for _ in range(400):
        hand.settle(0.05)
        for lookup in [hand.lookups.pop() for _ in hand.lookups[:]]:
            asked += 1
            bad = "m7@x" in lookup.values
            if bad:
                refused.append(len(lookup.values))
            people = () if bad else tuple(customer(f"c{value}", value) for value in lookup.values)
            outcome = LookupOutcome(
                lookup, "failed" if bad else "answered", people, whole=not bad, status=400 if bad else 200,
                reason="refused" if bad else "", message="", retry_after_s=None, at_s=hand.now, duration_s=0.0,
            )  # fmt: skip
            hand.engine.looked_up(outcome, hand.now, int(hand.now * 1000), 0.5)
    assert refused[-1] == 1
    assert asked <= 16, "a search of the one among 80"
    assert [alarm.kind for alarm in hand.alarms] == ["lookup_refused"]
    assert row(hand, 7).waits == "customer_uncertain"
    hand.feed(*(hand.put(100 + n, "gold", f"n{n}@x") for n in range(80)))
    hand.settle()
    assert len(hand.lookups[-1].values) == 80


def test_a_list_whose_halves_are_taken_was_too_long_and_grows_again_after_a_while() -> None:
    hand = Hand(members=EMAIL).start()
    sizes: list[int] = []
    for wave in range(60):
        hand.feed(*(hand.put((wave, n), "gold", f"m{wave}.{n}@x") for n in range(64)))
        for _ in range(6):
            hand.settle(0.05)
            for lookup in [hand.lookups.pop() for _ in hand.lookups[:]]:
                sizes.append(len(lookup.values))
                bad = len(lookup.values) > 40
                people = () if bad else tuple(customer(f"c{value}", value) for value in lookup.values)
                outcome = LookupOutcome(
                    lookup, "failed" if bad else "answered", people, whole=not bad, status=400 if bad else 200,
                    reason="", message="", retry_after_s=None, at_s=hand.now, duration_s=0.0,
                )  # fmt: skip
                hand.engine.looked_up(outcome, hand.now, int(hand.now * 1000), 0.5)
    assert sizes[:5] == [64, 32, 32, 32, 32]
    assert {alarm.kind for alarm in hand.alarms} == {"lookup_too_long"}
    assert sizes.count(64) == 3, "at first, and again after fifty that were taken"


def test_somebody_whom_the_source_shows_before_retail_red_is_looked_for_as_somebody_new() -> None:
    hand = referred({})
    hand.feed(hand.put(1, "gold", "42"))
    hand.settle()
    hand.settle(90_000)  # the row is old by now: its own share of its age would be hours
    hand.refer("customers", "42", None, "a@x")
    hand.look()
    hand.settle()
    assert row(hand, 1).waits == "customer_missing"
    hand.settle(35)
    hand.look(customer("c1", "a@x"))
    assert hand.done().members == ("c1",)


def test_a_row_that_ends_before_its_look_up_was_answered_told_nobody() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.settle()
    hand.feed(hand.cut(1))
    hand.settle()
    assert row(hand, 1) == RowState(1, offset=1)
    hand.look(customer("c1", "a@x"))
    assert sent(hand) == []


def test_what_a_row_that_was_never_seen_held_is_looked_up_and_ended_or_dropped() -> None:
    hand = by_email(full=True)
    hand.feed(hand.cut(1, before=("gold", "a@x")))
    hand.look()
    hand.settle()
    assert sent(hand) == []
    assert row(hand, 1) == RowState(1, offset=0)


def test_former_claims_survive_a_restart() -> None:
    hand = by_email(full=True)
    hand.feed(hand.cut(1, before=("gold", "a@x")))
    hand.look(kind="failed", status=503, reason="server_error")
    hand.settle()
    stored = row(hand, 1)
    assert [f.terms for f in stored.formers] == [("email:a@x",)]
    assert hand.committed() == 1
    hand.crash()
    hand.look(customer("c1", "a@x"))
    assert hand.only().op == "remove"


# ---- restarts --------------------------------------------------------------------------------------------------------


def test_pending_rows_are_taken_up_by_the_next_process() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look()
    hand.settle()
    hand.crash()
    assert hand.lookups == []
    assert hand.engine.pending()["customer_missing"] == 1
    for _ in range(10):
        hand.settle(10)
    hand.look(customer("c1", "a@x"))
    assert hand.done().members == ("c1",)


def test_a_resolved_row_needs_no_look_up_after_a_restart() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look(customer("c1", "a@x"))
    hand.only()
    hand.engine.drain([tp()])
    hand.crash()
    hand.answer(hand.sent[-1])
    hand.settle()
    hand.crash()
    hand.settle(100)
    assert hand.lookups == []


def test_a_look_up_that_fails_makes_its_rows_durable_and_is_asked_again() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look(kind="failed", status=429, reason="throttled", retry_after_s=1.0)
    hand.settle()
    assert hand.committed() == 1
    assert row(hand, 1).waits == "lookup_failed"
    assert hand.lookups == []
    hand.settle(1.5)
    hand.look(customer("c1", "a@x"))
    assert hand.done().members == ("c1",)


def test_a_list_that_is_too_long_is_halved() -> None:
    hand = by_email()
    hand.feed(hand.put(0, "gold", "m0@x"), *(hand.put(n, "gold", f"m{n}@x") for n in range(1, 9)))
    hand.settle()
    hand.look(kind="failed", status=414, reason="refused")
    hand.settle()
    assert {len(lookup.values) for lookup in hand.lookups} == {4}
    assert [alarm.kind for alarm in hand.alarms] == ["lookup_too_long"]


# ---- unknown to the members route ------------------------------------------------------------------------------------


def test_a_customer_who_was_deleted_and_registered_anew_is_found_again() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look(customer("c1", "a@x"))
    hand.answer(hand.only(), 201, errors=[ItemError("404", 0, "c1", "no such customer")])
    hand.settle()
    assert hand.buried == []
    assert row(hand, 1).waits == "customer_unknown"
    assert hand.committed() == 1
    hand.settle(40)
    hand.look(customer("c2", "a@x"))
    assert hand.done().members == ("c2",)
    assert row(hand, 1).member == "c2"


def test_rows_told_before_follow_a_customer_who_registered_anew() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look(customer("c1", "a@x"))
    hand.done()
    hand.feed(hand.put(2, "blue", "a@x"))
    hand.answer(hand.only(), 201, errors=[ItemError("404", 0, "c1", "no such customer")])
    hand.settle(40)
    hand.look(customer("c2", "a@x"))
    assert sorted((c.op, c.segment, c.members) for c in hand.settle()) == [
        ("add", "blue", ("c2",)),
        ("add", "gold", ("c2",)),
        ("remove", "gold", ("c1",)),
    ]


# ---- references ------------------------------------------------------------------------------------------------------


def test_a_row_waits_for_its_reference_and_goes_on_at_once() -> None:
    hand = referred()
    hand.feed(hand.put(1, "gold", "42"))
    hand.settle()
    assert row(hand, 1).waits == "customer_reference"
    assert hand.committed() == 1
    hand.refer("customers", "42", None, "a@x")
    assert hand.look(customer("c1", "a@x")).kind == "email"
    assert hand.done().members == ("c1",)


def test_a_changed_reference_moves_the_row_to_another_customer() -> None:
    hand = referred({"42": (None, "a@x")})
    hand.feed(hand.put(1, "gold", "42"))
    hand.look(customer("c1", "a@x"))
    hand.done()
    hand.refer("customers", "42", None, "b@x")
    hand.look(customer("c2", "b@x"))
    assert sorted((c.op, c.members) for c in hand.settle()) == [("add", ("c2",)), ("remove", ("c1",))]


def test_a_reference_that_changes_to_the_same_customer_tells_nothing() -> None:
    hand = referred({"42": (None, "a@x")})
    hand.feed(hand.put(1, "gold", "42"))
    hand.look(customer("c1", "a@x"))
    hand.done()
    hand.refer("customers", "42", None, "b@x")
    hand.look(customer("c1", "b@x"))
    assert len(sent(hand)) == 1


def test_a_reference_that_changes_to_nobody_keeps_the_member_until_somebody_is_found() -> None:
    hand = referred({"42": (None, "a@x")})
    hand.feed(hand.put(1, "gold", "42"))
    hand.look(customer("c1", "a@x"))
    hand.done()
    hand.refer("customers", "42", None, "b@x")
    hand.look()
    assert len(sent(hand)) == 1
    assert row(hand, 1).waits == "customer_missing"
    assert row(hand, 1).member == "c1"


def test_a_reference_that_changed_while_nobody_ran_is_seen_at_the_start() -> None:
    rows: dict[str, tuple[Any, ...]] = {"42": (None, "a@x")}
    hand = referred(rows)
    hand.feed(hand.put(1, "gold", "42"))
    hand.look(customer("c1", "a@x"))
    hand.done()
    rows["42"] = (None, "b@x")
    hand.crash()
    hand.look(customer("c2", "b@x"))
    assert sorted((c.op, c.members) for c in hand.settle()) == [("add", ("c2",)), ("remove", ("c1",))]


def test_the_customers_topic_makes_a_direct_email_be_asked_for_at_once() -> None:
    hand = Hand(members=EMAIL, references={"customers": (("email",), {})}).start()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look()
    hand.settle()
    hand.refer("customers", "42", "A@x")
    hand.look(customer("c1", "a@x"))
    assert hand.done().members == ("c1",)


def test_a_segment_by_reference_waits_then_follows() -> None:
    hand = referred({"42": ("10", None)}, {})
    hand.feed(hand.put(1, "7", "42"))
    hand.settle()
    assert row(hand, 1).waits == "segment_reference"
    hand.refer("segments", "7", "gold")
    hand.look(customer("c1", number="10"))
    call = hand.done()
    assert (call.segment, call.members) == ("gold", ("c1",))


@pytest.mark.parametrize("restart", [False, True])
def test_a_changed_code_is_an_alarm_not_a_move_until_it_is_accepted(restart: bool) -> None:  # noqa: FBT001 - a case
    codes: dict[str, tuple[Any, ...]] = {"7": ("gold",)}
    hand = referred({"42": ("10", None), "43": ("11", None)}, codes)
    hand.feed(hand.put(1, "7", "42"))
    hand.look(customer("c1", number="10"))
    hand.done()
    hand.refer("segments", "7", "golden")
    if restart:
        hand.crash()
    hand.settle()
    hand.feed(hand.put(2, "7", "43"))
    hand.look(customer("c2", number="11"))
    assert hand.done().segment == "gold"
    assert [alarm.kind for alarm in hand.alarms] == ["segment_code_changed"]
    hand.settle(30)
    hand.engine.accept_code("golden")
    assert sorted((c.op, c.segment, c.members) for c in hand.settle(1)) == [
        ("add", "golden", ("c1", "c2")),
        ("remove", "gold", ("c1", "c2")),
    ]


def test_nothing_is_counted_or_sent_before_the_references_were_read() -> None:
    hand = Hand(members=REFERRED, references={"customers": (("email",), {})})
    hand.engine.references_ready = False
    hand.start()
    assert not hand.engine.takes(tp())
    hand.engine.references_ready = True
    hand.settle()
    assert hand.engine.takes(tp())


# ---- segments that the source deleted ----------------------------------------------------------------------------------


class Rows:
    """A table of segments by hand: code and whether it is deleted, by key."""

    def __init__(self) -> None:
        self.codes: dict[str, tuple[str, bool]] = {}

    def get(self, key: str) -> tuple[str] | None:
        return (self.codes[key][0],) if key in self.codes else None

    def deleted(self, key: str) -> bool:
        return self.codes[key][1]

    def partition(self, key: str) -> int:
        return 0 if key in self.codes else -1

    def every(self) -> list[str]:
        return list(self.codes)


def test_members_of_a_segment_that_the_source_deleted_are_gone_with_it() -> None:
    rows = Rows()
    rows.codes["7"] = ("gold", False)
    hand = Hand(segments_plan=Plan(topic="segments", rule=CatalogRule("code", on_delete="delete"), rows=rows)).start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.done()
    rows.codes["7"] = ("gold", True)
    hand.engine.segments_changed(["7"])
    hand.feed(hand.cut(1))
    hand.done(404)
    assert row(hand, 1) == RowState(1, offset=1)
    assert hand.engine.pending()["segment_missing"] == 0


def test_members_of_a_segment_that_somebody_deleted_there_wait() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.done()
    hand.feed(hand.cut(1))
    hand.done(404)
    assert row(hand, 1).others == [("gold", "c1", "unknown")]
    assert hand.engine.pending()["segment_deleted"] == 1
