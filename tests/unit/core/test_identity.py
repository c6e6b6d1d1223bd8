"""The server's filter is never believed: only a registered customer with exactly the value counts."""

from __future__ import annotations

import pytest

from stream.core.identity import Found, IdentityRule, judge
from stream.core.model import Customer, IdentityKind, Lookup, LookupOutcome

RULE = IdentityRule()


def customer(
    name: str,
    email: str | None = None,
    *,
    number: str | None = None,
    internal: int | None = None,
    status: str | None = "active",
    anonymous: bool | None = False,
) -> Customer:
    return Customer(name, email, number, internal, status, anonymous)


def ask(
    value: str, *customers: Customer, rule: IdentityRule = RULE, kind: IdentityKind = "email", whole: bool = True
) -> Found:
    lookup = Lookup(1, kind, rule.asked(kind, value))
    return judge(LookupOutcome(lookup, "answered", customers, whole, 200, "", "", None, 0, 0), [value], rule)[value]


@pytest.mark.parametrize(
    ("customers", "found"),
    [
        ([], ("missing", "", "nobody")),
        ([customer("1", "a@x")], ("found", "1", "registered")),
        ([customer("1", "A@X")], ("found", "1", "registered")),
        ([customer("1", "a@x", status="inactive")], ("found", "1", "registered")),
        ([customer("1", "a@x", status="deleted")], ("missing", "", "deleted")),
        ([customer("1", "a@x", anonymous=True)], ("missing", "", "guests")),
        ([customer("1", "a@x", anonymous=True), customer("2", "a@x")], ("found", "2", "registered")),
        ([customer("1", "a@x", status="deleted"), customer("2", "a@x")], ("found", "2", "registered")),
        ([customer("1", "a@x"), customer("2", "a@x")], ("ambiguous", "", "several")),
        ([customer("1", "a@x"), customer("1", "a@x")], ("found", "1", "registered")),
        ([customer("1", "a@x", anonymous=None)], ("uncertain", "", "no_anonymous_flag")),
        ([customer("*", "a@x")], ("uncertain", "", "no_usable_id")),
        ([customer("", "a@x")], ("uncertain", "", "no_usable_id")),
        ([customer("1", "b@x")], ("uncertain", "", "filter_ignored")),
        ([customer("1", None)], ("uncertain", "", "filter_ignored")),
        ([customer("1", "b@x"), customer("2", "a@x")], ("found", "2", "registered")),
    ],
)
def test_what_an_email_stands_for(customers: list[Customer], found: tuple[str, str, str]) -> None:
    said = ask("a@x", *customers)
    assert (said.kind, said.id, said.why) == found


def test_one_of_an_answer_with_missing_pages_may_have_a_twin() -> None:
    assert ask("a@x", customer("1", "a@x"), whole=False).kind == "uncertain"
    assert ask("a@x", whole=False) == Found("uncertain", "", 0, "incomplete")
    # everybody came, and nobody reads all of them: what to mend is the filter
    assert ask("a@x", customer("1", "b@x"), whole=False) == Found("uncertain", "", 0, "filter_ignored")
    assert ask("a@x", customer("1", "a@x"), customer("2", "b@x"), whole=False).kind == "uncertain"
    assert ask("a@x", customer("1", "a@x"), customer("2", "a@x"), whole=False).kind == "ambiguous"


def test_exact_emails_do_not_match_by_another_case() -> None:
    exact = IdentityRule(emails="exact")
    assert ask("a@x", customer("1", "A@x"), rule=exact) == Found("missing", "", 0, "other_case")
    assert ask("A@x", customer("1", "A@x"), rule=exact).id == "1"


def test_numbers_are_compared_as_they_are() -> None:
    assert ask("0042", customer("1", number="42"), kind="number").kind == "uncertain"
    assert ask("42", customer("1", number="42"), kind="number").id == "1"


@pytest.mark.parametrize(("tie_break", "chosen"), [("lowest_internal_number", "2"), ("highest_internal_number", "1")])
def test_a_tie_is_broken_only_by_the_operators_word(tie_break: str, chosen: str) -> None:
    rule = IdentityRule(tie_break=tie_break)  # type: ignore[arg-type]
    both = [customer("1", "a@x", internal=9), customer("2", "a@x", internal=3)]
    assert ask("a@x", *both, rule=rule).id == chosen
    assert ask("a@x", *both, customer("3", "a@x"), rule=rule).kind == "ambiguous"
    assert ask("a@x", *both, rule=rule, whole=False).kind == "ambiguous"


def test_the_value_is_asked_for_as_it_is_and_in_lower_case() -> None:
    assert RULE.asked("email", "Max@X.com ") == ("Max@X.com ", "max@x.com")
    assert RULE.asked("email", "max@x.com") == ("max@x.com",)
    assert RULE.asked("number", "A7") == ("A7",)
    assert RULE.term("email", "Max@X.com") == RULE.term("email", "max@x.com")
