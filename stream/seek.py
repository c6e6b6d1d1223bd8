"""Who an email or a number means at retail.red, and why nobody: asked and judged as the walk does, shown to a person."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from stream import wiring
from stream.core.claims import term
from stream.core.identity import Found, IdentityRule, judge, url_bytes
from stream.core.mapping import Refusal
from stream.core.model import Customer, IdentityKind, Lookup, LookupOutcome
from stream.edge.api import RetailRed
from stream.errors import AuthError, DataError, Unavailable
from stream.settings import Settings

VALUES_MAX: Final = 1_000
TRIES: Final = 4
WAIT_S_MAX: Final = 30.0
IDS_SHOWN_MAX: Final = 10
URL_BYTES: Final = 200
"""What a look-up's address needs beside its values."""


class Value(NamedTuple):
    """What was typed, and what it is."""

    kind: IdentityKind
    text: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What one value stands for.

    result: found, missing, ambiguous, uncertain or unusable. id: of the customer who was found. why: a short label. text: for
    people. sharing: the ids of those who share it, some of them.
    """

    value: str
    by: IdentityKind
    result: str
    id: str
    why: str
    text: str
    sharing: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def seek(settings: Settings, values: Sequence[Value]) -> list[Seen]:
    """What each value stands for, in this order. Raises Unavailable, AuthError or DataError when nobody answers that."""
    api = RetailRed(wiring.api_config(settings))
    try:
        search = _Search(settings, api)
        return search.all(list(dict.fromkeys(values)))
    finally:
        api.close()


class _Search:
    def __init__(self, settings: Settings, api: RetailRed) -> None:
        self._settings = settings
        self._api = api
        self._rule = wiring.identity_rule(settings)
        self._numbers = 0

    def all(self, values: list[Value]) -> list[Seen]:
        seen: dict[Value, Seen] = {}
        usable: list[Value] = []
        for value in values:
            named = term(value.kind, value.text)
            if isinstance(named, Refusal):
                seen[value] = Seen(value.text, value.kind, "unusable", "", named.reason, named.detail)
            else:
                usable.append(value)
        for found, customers, value in self._judged(usable, guests=False):
            seen[value] = self._shown(value, found, customers)
        # guests were left out: whoever is not there may be one
        nobody = [value for value in usable if seen[value].why == "nobody"]
        for found, customers, value in self._judged(nobody, guests=True):
            seen[value] = self._shown(value, _with_guests(found), customers)
        return [seen[value] for value in values]

    def _judged(self, values: list[Value], *, guests: bool) -> Iterator[tuple[Found, list[Customer], Value]]:
        for part in _parts(values, self._settings, self._rule):
            kind = part[0].kind
            asked = dict.fromkeys(one for value in part for one in self._rule.asked(kind, value.text))
            self._numbers += 1
            outcome = self._asked(Lookup(self._numbers, kind, tuple(asked)), guests=guests)
            found = judge(outcome, [value.text for value in part], self._rule)
            for value in part:
                yield found[value.text], _sharing(outcome, value, self._rule), value

    def _asked(self, lookup: Lookup, *, guests: bool) -> LookupOutcome:
        outcome = self._api.lookup(lookup, guests=guests)
        for number in range(1, TRIES):
            if outcome.kind == "answered" or not _passes(outcome):
                break
            time.sleep(min(WAIT_S_MAX, max(0.2 * 2**number, outcome.retry_after_s or 0.0)))
            outcome = self._api.lookup(lookup, guests=guests)
        if outcome.kind == "answered":
            return outcome
        http = f"HTTP {outcome.status}" if outcome.status else "no answer"
        said = f"the look-up failed: {outcome.reason}, {http}" + (f": {outcome.message}" if outcome.message else "")
        if outcome.reason in {"auth", "credentials"}:
            raise AuthError(said, advice="check the credentials and their rights on the customer service")
        if _passes(outcome):
            raise Unavailable(said)
        advice = (
            "`segstream probe` finds how many values one request may ask for" if outcome.reason == "refused" else ""
        )
        raise DataError(said, advice=advice)

    def _shown(self, value: Value, found: Found, customers: list[Customer]) -> Seen:
        ids = tuple(dict.fromkeys(customer.id for customer in customers))[:IDS_SHOWN_MAX]
        sharing = ids if found.customers > 1 else ()
        text = self._text(value.kind, found)
        return Seen(value.text, value.kind, found.kind, found.id, found.why, text, sharing)

    def _text(self, kind: IdentityKind, found: Found) -> str:
        if found.kind == "found":
            chosen = f"registered; one of {found.customers}, by identity.tie_break: {self._rule.tie_break}"
            return chosen if found.customers > 1 else "registered"
        if found.why == "several":
            return f"{found.customers} registered customers share it" + (
                ", and identity.tie_break is none" if self._rule.tie_break == "none" else ""
            )
        used = self._settings.retail_red.filter_parameter
        other = "filter" if used == "filters" else "filters"
        exact = kind == "email" and self._rule.emails == "exact"
        return {
            "nobody": "no customer has it" + (", spelled like this" if exact else ""),
            "guests": "only guests have it",
            "deleted": "its customer is deleted",
            "other_case": "a customer has it in another case, and identity.emails is exact"
            if exact
            else "a customer has it in another case",
            "filtered": "a customer has it whom isAnonymous: false leaves out, though no guest",
            "filter_ignored": f"the server ignores {used}: set retail_red.filter_parameter: {other}",
            "incomplete": "not every page of the answer could be read",
            "no_anonymous_flag": "the answer does not say who is a guest",
        }[found.why]


def _with_guests(found: Found) -> Found:
    """Judge an answer to a question that `run` would not ask: whoever is found by it alone is missing all the same."""
    if found.kind in {"found", "ambiguous"}:
        return Found("missing", "", found.customers, "filtered")
    return found


def _passes(outcome: LookupOutcome) -> bool:
    """Whether trouble may pass by itself."""
    return outcome.reason in {"throttled", "server_error", "timeout", "connect", "dropped", "tls", "token"}


def _parts(values: list[Value], settings: Settings, rule: IdentityRule) -> Iterator[list[Value]]:
    """The values, by kind, as many together as one request may ask for."""
    api = settings.retail_red
    for kind in dict.fromkeys(value.kind for value in values):
        part: list[Value] = []
        count, size = 0, URL_BYTES
        for value in (value for value in values if value.kind == kind):
            asked = rule.asked(kind, value.text)
            cost = sum(map(url_bytes, asked))
            if part and (count + len(asked) > api.lookup_values_max or size + cost > api.lookup_url_bytes_max):
                yield part
                part, count, size = [], 0, URL_BYTES
            part.append(value)
            count, size = count + len(asked), size + cost
        yield part


def _sharing(outcome: LookupOutcome, value: Value, rule: IdentityRule) -> list[Customer]:
    """The registered customers who have it."""
    wanted = rule.term(value.kind, value.text)
    return [
        customer
        for customer in outcome.customers
        if customer.anonymous is False
        and customer.status != "deleted"
        and (own := customer.email if value.kind == "email" else customer.number) is not None
        and rule.term(value.kind, own) == wanted
    ]


def as_text(seen: Sequence[Seen]) -> str:
    """One line a value, and those who share it in a line below."""
    lines: list[str] = []
    for one in seen:
        found = f" {one.id}" if one.id else ""
        lines.append(f"{one.result:<9} {one.by} {one.value}:{found} ({one.text})")
        if one.sharing:
            lines.append(f"          -> {', '.join(one.sharing)}")
    return "\n".join(lines) + "\n"
