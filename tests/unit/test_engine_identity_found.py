"""What the simulator found about rows that name customers, by hand, each as short as it gets."""

from __future__ import annotations

from typing import Any

from engine_hand import Hand
from test_engine_identity import BOTH, both, by_email, customer, referred, row

from stream.core.model import ItemError


def test_a_row_that_is_written_again_after_its_parent_changed_follows_the_parent() -> None:
    rows: dict[str, tuple[Any, ...]] = {"42": (None, "a@x")}
    hand = referred(rows)
    hand.feed(hand.put(1, "gold", "42"))
    hand.look(customer("c1", "a@x"))
    hand.done()
    rows["42"] = (None, "b@x")  # read, and not looked at yet
    hand.feed(hand.put(1, "blue", "42", op="u"))
    hand.look(customer("c2", "b@x"))
    assert sorted((c.op, c.segment, c.members) for c in hand.settle()) == [("add", "blue", ("c2",))]
    assert ("remove", "gold", ("c1",)) in [(c.op, c.segment, c.members) for c in hand.sent]
    assert row(hand, 1).claim is not None


def test_a_row_that_left_does_not_keep_an_unknown_customer_for_the_others() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"), hand.put(2, "gold", "a@x"))
    hand.look(customer("c1", "a@x"))
    hand.done()
    hand.feed(hand.cut(1))  # the other row says it still: it is told again
    hand.answer(hand.only(), 201, errors=[ItemError("404", 0, "c1", "no such customer")])
    hand.settle()
    assert hand.buried == []
    hand.settle(40)
    hand.look(customer("c2", "a@x"))
    hand.settle()
    assert [(call.op, call.members) for call in hand.sent[-2:]] == [("remove", ("c1",)), ("add", ("c2",))]
    for call in hand.sent[-2:]:
        hand.answer(call)
    hand.settle()
    assert row(hand, 2).member == "c2"
    assert hand.stored(1) is None or row(hand, 1).pending is None


def test_a_pending_row_whose_customer_an_earlier_life_found_ends_without_a_question() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look()
    hand.settle()
    assert row(hand, 1).waits == "customer_missing"
    while not hand.lookups:
        hand.settle(5)
    hand.look(customer("c1", "a@x"))
    hand.step(acknowledge=False)  # the crash comes before the transaction: nobody was told
    assert hand.sent == []
    hand.crash()
    hand.feed(hand.cut(1))
    hand.settle(1)
    assert (hand.lookups, hand.sent) == ([], [])
    assert row(hand, 1).waits is None


def test_a_pending_row_that_was_asked_about_in_this_life_ends_without_a_question() -> None:
    hand = by_email()
    hand.feed(hand.put(1, "gold", "a@x"))
    hand.look()
    hand.settle(40)
    hand.look()
    hand.settle()
    hand.feed(hand.cut(1))
    hand.settle()
    assert hand.lookups == []
    assert row(hand, 1).waits is None


def test_what_a_row_of_an_earlier_life_waited_for_does_not_let_the_next_identity_count() -> None:
    hand = Hand(members=BOTH).start()
    hand.feed(both(hand, 1, "10", None))
    hand.look()
    hand.settle()
    hand.crash()
    hand.feed(both(hand, 2, "10", "a@x"))
    hand.settle(1)
    assert hand.look(customer("c1", "b@x", "10")).kind == "number"
    assert hand.done().members == ("c1",)
    assert row(hand, 2).member == "c1"
