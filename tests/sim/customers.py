"""A simulated customer service: who is registered at retail.red, and a search whose index lags, fails and misleads."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from stream.core.model import Customer, Lookup, LookupOutcome
from tests.sim.clock import Clock

Answer = Callable[[LookupOutcome], None]


@dataclass
class LookWeather:
    """Chances of each fault, per question. lag_s: how far the index is behind, at most.

    list_max: longer lists are refused, in every weather.
    """

    failed: float = 0.0
    timeout: float = 0.0
    partial: float = 0.0
    ignored: float = 0.0
    flagless: float = 0.0
    slow: float = 0.0
    lag_s: float = 0.0
    list_max: int = 1_000


@dataclass(frozen=True)
class Match:
    """How emails are compared: by the operator's rule, and by the service's filter. tie_break: who of several is meant."""

    rule: Literal["lower", "exact"] = "lower"
    sensitive: bool = False
    tie_break: Literal["none", "lowest_internal_number", "highest_internal_number"] = "none"

    def norm(self, kind: str, value: str) -> str:
        return value.strip().lower() if kind == "email" and self.rule == "lower" else value

    def same(self, kind: str, asked: str, held: str) -> bool:
        """Whether the filter lets this through."""
        return asked == held if kind == "number" or self.sensitive else asked.lower() == held.lower()


class Version(NamedTuple):
    """seen_s: from when on the index shows it. at_s: when it was so."""

    at_s: float
    seen_s: float
    customer: Customer


class Customers:
    def __init__(self, clock: Clock, rng: random.Random, match: Match, weather: LookWeather) -> None:
        self.clock = clock
        self.rng = rng
        self.match = match
        self.weather = weather
        self.versions: dict[str, list[Version]] = {}
        self.deleted_s: dict[str, float] = {}
        self.answered: dict[tuple[str, str], set[str]] = {}
        """Whom the index showed as the one who is meant by a value, at some answer."""
        self.asked = 0
        self.note: Callable[[str], None] = lambda _text: None
        self.gone: Callable[[str], None] = lambda _id: None
        self._born = 0

    # ---- who there is --------------------------------------------------------------------------------------------

    def register(self, email: str | None, number: str | None, *, guest: bool = False) -> str:
        self._born += 1
        name = f"{'guest' if guest else 'c'}{self._born}"
        self.put(Customer(name, email, number, self._born, "active", guest))
        return name

    def put(self, customer: Customer) -> None:
        """The customer is this from now on; the index shows it later."""
        versions = self.versions.setdefault(customer.id, [])
        now_s = self.clock.now_s
        lag_s = self.rng.uniform(0.0, self.weather.lag_s) if self.rng.random() < 0.6 else 0.0
        seen_s = max(now_s + lag_s, versions[-1].seen_s if versions else 0.0)
        versions.append(Version(now_s, seen_s, customer))
        self.note(
            f"customer {customer.id} {customer.status} {customer.email} {customer.number}, in the index at {seen_s:.3f}"
        )

    def delete(self, name: str) -> None:
        self.put(_with(self.now(name), status="deleted"))
        self.deleted_s[name] = self.clock.now_s
        self.gone(name)

    def change(self, name: str, email: str) -> None:
        self.put(_with(self.now(name), email=email))

    def now(self, name: str) -> Customer:
        return self.versions[name][-1].customer

    def alive(self) -> list[str]:
        """Registered customers who are not deleted."""
        return [name for name in self.versions if self.takes(name)]

    def takes(self, name: str) -> bool:
        """Whether the members route knows this customer."""
        return name in self.versions and _registered(self.now(name))

    # ---- the index -----------------------------------------------------------------------------------------------

    def index(self, at_s: float) -> list[Customer]:
        """Everybody, as the index shows them at that time."""
        found = []
        for versions in self.versions.values():
            shown = [v.customer for v in versions if v.seen_s <= at_s]
            if shown:
                found.append(shown[-1])
        return found

    def changes(self, since_s: float) -> list[float]:
        """The times since then at which the index changed."""
        return sorted({v.seen_s for versions in self.versions.values() for v in versions if v.seen_s > since_s})

    def holders(self, kind: str, value: str, index: Iterable[Customer]) -> set[str]:
        """The registered customers who have exactly this value."""
        wanted = self.match.norm(kind, value)
        return {
            c.id
            for c in index
            if _registered(c)
            and (held := c.email if kind == "email" else c.number) is not None
            and self.match.norm(kind, held) == wanted
        }

    def meant(self, holders: set[str]) -> str:
        """Who of them is meant; "" for nobody."""
        if len(holders) == 1:
            return next(iter(holders))
        if not holders or self.match.tie_break == "none":
            return ""
        choose = min if self.match.tie_break == "lowest_internal_number" else max
        return choose(holders, key=lambda name: self.now(name).internal_number or 0)

    # ---- answers -------------------------------------------------------------------------------------------------

    def receive(self, lookup: Lookup, answer: Answer) -> None:
        rng, weather = self.rng, self.weather
        self.asked += 1
        latency_s = rng.uniform(0.01, 0.1) if rng.random() >= weather.slow else rng.uniform(0.5, 3.0)
        if len(lookup.values) > weather.list_max:
            self._later(latency_s, lookup, answer, "failed", rng.choice((400, 413, 414)), "refused")
            return
        dice = rng.random()
        if dice < (edge := weather.failed):
            status, reason = rng.choice(
                ((429, "throttled"), (500, "server_error"), (503, "server_error"), (401, "auth"), (0, "unreachable"))
            )
            self._later(latency_s, lookup, answer, "failed", status, reason)
        elif dice < edge + weather.timeout:
            kind: Literal["failed", "unsent"] = "failed" if rng.random() < 0.8 else "unsent"
            self._later(2.0, lookup, answer, kind, 0, "timeout")
        else:
            self.clock.after(latency_s * rng.random(), self._find, lookup, answer, latency_s)

    def _later(self, delay_s: float, lookup: Lookup, answer: Answer, kind: Literal["failed", "unsent"],
               status: int, reason: str) -> None:  # fmt: skip
        retry_after_s = self.rng.choice((None, 0.5)) if status == 429 else None

        def tell() -> None:
            now_s = self.clock.now_s
            self.note(f"look-up {lookup.number} {lookup.kind} {lookup.values}: {kind} {status} {reason}")
            answer(LookupOutcome(lookup, kind, (), False, status, reason, "", retry_after_s, now_s, delay_s))  # noqa: FBT003 - as the edge says it

        self.clock.after(delay_s, tell)

    def _find(self, lookup: Lookup, answer: Answer, latency_s: float) -> None:
        rng, weather, kind = self.rng, self.weather, lookup.kind
        index = self.index(self.clock.now_s)
        for value in lookup.values:
            holders = self.holders(kind, value, index)
            if meant := self.meant(holders):
                self.answered.setdefault((kind, self.match.norm(kind, value)), set()).add(meant)
        found = [
            c
            for c in index
            if (held := c.email if kind == "email" else c.number) is not None
            and any(self.match.same(kind, value, held) for value in lookup.values)
        ]
        whole = True
        if rng.random() < weather.ignored:
            found = list(index)
        if rng.random() < weather.flagless:
            found = [_with(c, anonymous=None) for c in found]
        if rng.random() < weather.partial:
            whole = False
            found = rng.sample(found, rng.randint(0, len(found)))
        if found and rng.random() < 0.1:
            found.append(rng.choice(found))
        rng.shuffle(found)

        def tell() -> None:
            self.note(
                f"look-up {lookup.number} {kind} {lookup.values}: {[(c.id, c.status, c.anonymous) for c in found]}"
                f"{'' if whole else ', not whole'}"
            )
            outcome = LookupOutcome(
                lookup, "answered", tuple(found), whole, 200, "", "", None, self.clock.now_s, latency_s
            )
            answer(outcome)

        self.clock.after(latency_s, tell)


def _registered(customer: Customer) -> bool:
    return customer.anonymous is False and customer.status != "deleted"


def _with(customer: Customer, **changes: object) -> Customer:
    values = {name: getattr(customer, name) for name in Customer.__struct_fields__}
    return Customer(**(values | changes))  # type: ignore[arg-type]
