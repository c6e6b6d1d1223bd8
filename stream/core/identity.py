"""Who is meant: which registered customer an email or a number stands for, judged from what the customer service answered.

The server's filter is never believed: it may be ignored, match by another case, or return guests. A customer counts only when the
answer says that it is registered, not deleted, and has exactly the value that was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from stream.core.mapping import Refusal, identity
from stream.core.model import Customer, IdentityKind, LookupOutcome

TieBreak = Literal["none", "lowest_internal_number", "highest_internal_number"]

FoundKind = Literal["found", "missing", "ambiguous", "uncertain"]

QUOTE_BYTES: Final = len("%22%22%2C")
"""What one value costs in the URL beside itself."""

_RESERVED = re.compile(rb"[^A-Za-z0-9_.~-]")


class Found(NamedTuple):
    """What one value stands for. id is "" unless found; customers: registered customers that share the value.

    missing: certainly nobody now. uncertain: the answer does not tell (the filter was ignored, pages are missing, a field lacks).
    why: a short label: registered, nobody, guests, deleted, other_case, several, filter_ignored, incomplete, no_anonymous_flag,
    no_usable_id.
    """

    kind: FoundKind
    id: str
    customers: int
    why: str


@dataclass(frozen=True, slots=True)
class IdentityRule:
    """How identities are compared.

    emails: lower is without case and surrounding blanks. tie_break: whom the operator wants where several customers share a value.
    """

    emails: Literal["lower", "exact"] = "lower"
    tie_break: TieBreak = "none"

    def term(self, kind: str, value: str) -> str:
        """The value in the form in which two that mean the same customer are equal: `email:a@example.com`."""
        if kind == "email" and self.emails == "lower":
            value = value.strip().lower()
        return f"{kind}:{value}"

    def asked(self, kind: IdentityKind, value: str) -> tuple[str, ...]:
        """What is to stand in `$in` for a value as the source has it: a server may compare with case."""
        if kind == "email" and self.emails == "lower":
            return tuple(dict.fromkeys((value, value.strip().lower())))
        return (value,)


def url_bytes(value: str) -> int:
    """Bytes that a value adds to the URL of a look-up."""
    raw = value.encode()
    return len(raw) + 2 * len(_RESERVED.findall(raw)) + QUOTE_BYTES


def judge(outcome: LookupOutcome, values: Iterable[str], rule: IdentityRule) -> dict[str, Found]:
    """What each of these values, as the source has them, stands for, by an answered look-up.

    A value that the answer does not mention is missing only when the answer is whole and holds what was asked for alone.
    """
    kind = outcome.lookup.kind
    wanted = {value: rule.term(kind, value) for value in values}
    terms = {rule.term(kind, value) for value in outcome.lookup.values} | set(wanted.values())
    by_term: dict[str, list[Customer]] = {}
    other_case: set[str] = set()
    folded = {term.lower() for term in terms}
    aliens = 0
    for customer in outcome.customers:
        value = customer.email if kind == "email" else customer.number
        term = rule.term(kind, value) if value is not None else ""
        if term in terms:
            by_term.setdefault(term, []).append(customer)
        elif term.lower() in folded:
            other_case.add(term.lower())
        else:
            aliens += 1
    # where the filter is ignored everybody comes, and never whole: that is what to be told
    unsure = "filter_ignored" if aliens else "" if outcome.whole else "incomplete"
    return {
        value: _found(
            by_term.get(term, []),
            other_case=term.lower() in other_case,
            whole=outcome.whole,
            unsure=unsure,
            rule=rule,
        )
        for value, term in wanted.items()
    }


def _found(customers: list[Customer], *, other_case: bool, whole: bool, unsure: str, rule: IdentityRule) -> Found:
    alive = [c for c in customers if c.status != "deleted"]
    registered = {c.id: c for c in alive if c.anonymous is False}
    if any(c.anonymous is None for c in alive):
        return Found("uncertain", "", 0, "no_anonymous_flag")
    if any(isinstance(identity(one), Refusal) for one in registered):
        return Found("uncertain", "", 0, "no_usable_id")
    if len(registered) > 1:
        numbered = [c for c in registered.values() if c.internal_number is not None]
        if rule.tie_break == "none" or unsure or len(numbered) != len(registered):
            return Found("ambiguous", "", len(registered), "several")
        choose = min if rule.tie_break == "lowest_internal_number" else max
        chosen = choose(numbered, key=lambda c: c.internal_number or 0)
        return Found("found", chosen.id, len(registered), "registered")
    if not whole:
        # a second one of the same value may stand on a page that was not read
        return Found("uncertain", "", len(registered), unsure)
    if registered:
        return Found("found", next(iter(registered)), 1, "registered")
    if unsure:
        return Found("uncertain", "", 0, unsure)
    if customers:
        return Found("missing", "", 0, "guests" if alive else "deleted")
    return Found("missing", "", 0, "other_case" if other_case else "nobody")
