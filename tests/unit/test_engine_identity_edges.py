"""Members who are named by something else, where two things happen at once: by hand, step by step."""

from __future__ import annotations

import pytest
from engine_hand import Hand
from test_engine_identity import EMAIL, REFERRED, by_email, customer, referred, row

from stream.core import engine
from stream.core.catalog import Plan
from stream.core.claims import mapping
from stream.core.mapping import TableRule
from stream.core.model import Definition, DefinitionOutcome, LookupOutcome
from stream.core.owners import TableSpec


def test_an_answer_that_comes_while_rows_are_counted_waits_for_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look()
    hand.settle()
    for n in range(2, 20):
        hand.feed(hand.put(n, "gold", f"b{n}@x"))
    hand.look(*[customer("c1" if n == 19 else f"c{n}", f"b{n}@x") for n in range(2, 20)])
    hand.done()
    monkeypatch.setattr(engine, "COUNT_AT_ONCE_MAX", 1)
    hand.boot()
    hand.own()
    hand.restore()
    while not hand.lookups:
        hand.step(30)  # so the wait after an unclean end is over, too
    assert not hand.engine.tables()[0].whole
    found = LookupOutcome(
        hand.lookups[0], "answered", (customer("c1", "a@x"),), *(True, 200, "", "", None, hand.now, 0.0)
    )
    hand.engine.looked_up(found, hand.now, int(hand.now * 1000), 0.5)
    while not hand.engine.tables()[0].whole:
        hand.step()
    hand.settle()
    assert [call.members for call in hand.sent] == [("c1",)]
    hand.answer(hand.sent[0])
    hand.settle()
    # row 19 says the same: it is no end of the membership that row 1 leaves
    hand.feed(hand.cut(1))
    assert hand.only().op == "add"


def test_members_of_a_segment_that_was_deleted_there_wait_and_follow_when_it_is_back() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.done()
    hand.feed(hand.put(2, "gold", "c2"))
    hand.done(404)
    assert hand.engine.pending()["segment_deleted"] == 2
    assert {row(hand, n).told for n in (1, 2)} == {"unknown"}
    # also those of whom the next process knows nothing else
    hand.crash()
    assert sorted(member for call in hand.sent for member in call.members) == ["c1", "c2"]
    for call in hand.sent:
        hand.answer(call)
    hand.settle()
    assert {row(hand, n).told for n in (1, 2)} == {"present"}


def test_a_segment_that_somebody_deleted_is_not_made_anew_by_the_next_process_either() -> None:
    hand = Hand(segments_plan=Plan(create_missing=True)).start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.done()
    hand.feed(hand.put(2, "gold", "c2"))
    hand.done(404)
    hand.settle()
    assert hand.defined == []
    hand.crash()
    assert [call.segment for call in hand.sent] == ["gold"]
    hand.answer(hand.sent[0], 404)
    hand.settle()
    assert hand.defined == []
    assert hand.engine.pending()["segment_deleted"] == 2
    # one that was never there is created all the same
    hand.feed(hand.put(3, "silver", "c3"))
    hand.done(404)
    assert [one.code for one in hand.defined] == ["silver"]


def test_a_row_that_left_a_deleted_segment_does_not_keep_its_new_one_from_being_made() -> None:
    hand = Hand(segments_plan=Plan(create_missing=True)).start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.done()
    hand.feed(hand.put(1, "silver", "c1"))
    hand.settle()
    for life in range(2):
        for call in hand.sent[1 - life :]:
            hand.answer(call, 404)
        hand.settle()
        assert [one.code for one in hand.defined if one.code == "silver"] == ["silver"]
        hand.crash()


def test_a_stored_row_that_is_found_anew_while_its_segment_is_missing_is_one_object() -> None:
    hand = by_email(missing_retry_s=30.0, missing_retry_cap_s=30.0)
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look(customer("c1", "a@x"))
    hand.done(404)
    hand.feed(hand.put(2, "gold", "z@x"))
    hand.look(kind="failed", status=503, reason="server_error")
    hand.engine.resolving.resolver._found.clear()  # an hour passed
    hand.feed(hand.cut(1), hand.put(1, "gold", "a@x"))
    hand.settle(0.001)
    assert row(hand, 1).waits == "lookup_failed"
    while not hand.lookups:
        hand.settle(0.05)
    hand.look(customer("c1", "a@x"))
    hand.settle(0.05)
    assert (row(hand, 1).member, row(hand, 1).waits) == ("c1", None)
    assert hand.engine.pending()["lookup_failed"] == 0


def test_a_segment_that_is_created_anew_is_filled_anew() -> None:
    hand = Hand().start()
    hand.feed(hand.put(1, "gold", "c1"))
    hand.done()
    anew = Definition(1, "define", "gold", "gold", None, active=False)
    hand.engine.defined(DefinitionOutcome(anew, "done", 201, "created", "", None, hand.now, 0.0), hand.now, 0.5)
    assert hand.done().members == ("c1",)
    hand.engine.defined(DefinitionOutcome(anew, "done", 200, "unchanged", "", None, hand.now, 0.0), hand.now, 0.5)
    assert hand.settle(100) == []


def test_waiting_for_the_references_does_not_spin() -> None:
    hand = Hand(members=REFERRED, references={"customers": (("email",), {})})
    hand.engine.references_ready = False
    hand.own()
    hand.restore()
    hand.settle()
    assert hand.engine.next_s(hand.now) >= hand.now + 1.0


def test_a_row_whose_segment_has_another_owner_waits_though_it_is_stored() -> None:
    hand = Hand(members=EMAIL, partitions=2, references={"segments": (("code",), {"1": ("gold",), "2": ("gold",)})})
    rule = TableRule((("column", "segment"),), EMAIL, partitioned_by="segment", segment_reference="segments")
    hand.spec = TableSpec(mapping(rule), sole=False)
    hand.key = lambda row: {"segment": row}  # type: ignore[method-assign]  # the key of a table routed by segment
    hand.start()
    hand.feed(hand.put(1, 1, "a@x"))  # type: ignore[arg-type]
    hand.look(customer("c1", "a@x"))
    hand.done()
    hand.feed(hand.put(2, 2, "a@x"), partition=1)  # type: ignore[arg-type]
    hand.settle()
    assert "segment gold is fed by" in hand.engine.halted["rows"]
    hand.settle(1000)  # longer than a row may hold its offset
    stored = hand.stored(2, 1)
    assert stored is not None
    assert stored.waits == "segment_owner"
    # once nothing contradicts it, it says what it says
    hand.tables["segments"]["2"] = ("silver",)
    hand.crash()
    hand.look(customer("c1", "a@x"))
    assert [(call.segment, call.members) for call in hand.settle()] == [("silver", ("c1",))]


def test_a_new_row_of_somebody_who_was_missing_long_ago_is_asked_for_soon() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look()
    for _ in range(40):
        while not hand.lookups:
            hand.settle(600)
        hand.look()
    hand.settle(60)
    assert hand.lookups == []
    hand.feed(hand.put(2, "silver", "a@x"))
    hand.settle(2)
    hand.look(customer("c1", "a@x"))
    assert sorted(call.segment for call in hand.settle()) == ["gold", "silver"]


def test_rows_that_were_resolved_wait_for_no_reference() -> None:
    hand = referred({"42": (None, "a@x")}, {"1": ("gold",)})
    for n in range(3):
        hand.feed(hand.put(n, 1, 42))  # type: ignore[arg-type]
    hand.look(customer("c1", "a@x"))
    hand.done()
    assert hand.engine.resolving.resolver.waiting() == 0
    # nor does one that was deleted, or means somebody else now, while it waited
    hand.feed(hand.put(9, 2, 43))  # type: ignore[arg-type]
    hand.settle()
    hand.feed(hand.put(9, 2, 44, op="u"))  # type: ignore[arg-type]
    hand.settle()
    assert hand.engine.resolving.resolver.waiting() == 2
    hand.feed(hand.cut(9))
    hand.settle()
    assert hand.engine.resolving.resolver.waiting() == 0
