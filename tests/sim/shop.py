"""A simulated retail.red: applies members item by item, late, partly or never, and answers, or does not."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from stream.core.model import Call, ItemError, Membership, Outcome, OutcomeKind
from tests.sim.clock import Clock


@dataclass
class Weather:
    """Chances of each fault, per call or per item."""

    timeout: float = 0.0
    dropped: float = 0.0
    error_5xx: float = 0.0
    throttled: float = 0.0
    refused: float = 0.0
    item: float = 0.0
    slow: float = 0.0
    late_removals: float = 0.8


@dataclass
class Shop:
    clock: Clock
    rng: random.Random
    api_timeout_s: float
    settle_s: float
    weather: Weather
    segments: dict[str, set[str]]
    poison: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    failing: set[str] = field(default_factory=set)
    """Segments about which every call is answered 503."""
    calls: int = 0
    applied: Callable[[str, Membership, float], None] = field(default=lambda _op, _m, _s: None)

    def holds(self) -> set[Membership]:
        return {(segment, member) for segment, members in self.segments.items() for member in members}

    def _apply(self, op: str, segment: str, members: tuple[str, ...]) -> None:
        held = self.segments.get(segment)
        if held is None:
            return
        for member in members:
            self.applied(op, (segment, member), self.clock.now_s)
            if op == "add":
                held.add(member)
            else:
                held.discard(member)

    def _spread(self, call: Call, members: list[str], low_s: float, high_s: float) -> None:
        """Apply item by item: in one or two runs at random moments."""
        if not members:
            return
        cut = self.rng.randint(0, len(members)) if self.rng.random() < 0.5 else 0
        for run in (members[:cut], members[cut:]):
            if run:
                self.clock.after(self.rng.uniform(low_s, high_s), self._apply, call.op, call.segment, tuple(run))

    def receive(self, call: Call, answer: Callable[[Outcome], None]) -> None:
        """A request is written now."""
        rng, weather = self.rng, self.weather
        self.calls += 1
        late_s = (self.api_timeout_s + self.settle_s) * 0.999
        latency_s = rng.uniform(0.005, 0.05)
        if rng.random() < weather.slow:
            latency_s = rng.uniform(0.1, self.api_timeout_s * 0.95)
        everyone = list(call.members)
        dice = rng.random()

        def later(delay_s: float, kind: OutcomeKind, status: int = 0, errors: tuple[ItemError, ...] = (),
                  retry_after_s: float | None = None) -> None:  # fmt: skip
            def tell() -> None:
                answer(Outcome(call, kind, status, errors, retry_after_s, "", "", self.clock.now_s, delay_s))

            self.clock.after(delay_s, tell)

        if dice < (edge := weather.refused):
            later(latency_s, "refused")
        elif dice < (edge := edge + weather.throttled):
            later(latency_s, "answered", 429, (), rng.choice((None, 0.3, 1.0)))
        elif self._hard(call, latency_s, later):
            pass
        elif dice < (edge := edge + weather.timeout):
            if rng.random() < 0.7:
                self._spread(call, self._valid(call), 0.0, late_s)
            later(self.api_timeout_s, "unknown")
        elif dice < (edge := edge + weather.dropped):
            if rng.random() < 0.5:
                self._spread(call, self._valid(call), 0.0, late_s)
            later(rng.uniform(0.0, self.api_timeout_s), "unknown")
        elif dice < edge + weather.error_5xx:
            if rng.random() < 0.5:
                some = self._valid(call)
                self._spread(call, some[: rng.randint(0, len(some))], 0.0, late_s)
            later(latency_s, "answered", rng.choice((500, 502, 503, 504)))
        else:
            self._good(call, everyone, latency_s, later)

    def _hard(self, call: Call, latency_s: float, later: Callable[..., None]) -> bool:
        if call.segment in self.failing:
            later(latency_s, "answered", 503)
            return True
        if call.segment not in self.segments:
            later(latency_s, "answered", 404)
            return True
        if self.poison and not self.poison.isdisjoint(call.members):
            later(latency_s, "answered", 400)
            return True
        return False

    def _valid(self, call: Call) -> list[str]:
        return [m for m in call.members if call.op == "remove" or (m not in self.unknown and m not in self.forbidden)]

    def _good(self, call: Call, everyone: list[str], latency_s: float, later: Callable[..., None]) -> None:
        rng = self.rng
        errors: list[ItemError] = []
        good: list[str] = []
        held = self.segments[call.segment]
        for index, member in enumerate(everyone):
            named = rng.choice(((index, None), (None, member), (index, member)))
            if call.op == "add" and member in self.unknown:
                errors.append(ItemError("404", *named, "unknown customer"))
            elif call.op == "add" and member in self.forbidden:
                errors.append(ItemError("400", *named, "not this one"))
            elif rng.random() < self.weather.item:
                errors.append(ItemError(rng.choice(("500", "429", "503")), *named, "try again"))
            else:
                good.append(member)
                if call.op == "remove" and member not in held and rng.random() < 0.2:
                    errors.append(ItemError("404", *named, "no such member"))
                elif call.op == "add" and member in held and rng.random() < 0.2:
                    errors.append(ItemError("409", *named, "member already"))
        if call.op == "remove" and rng.random() < self.weather.late_removals:
            self._spread(call, good, latency_s, latency_s + self.settle_s * 0.999)
            later(latency_s, "answered", 202, tuple(errors))
        else:
            self._spread(call, good, 0.0, latency_s * 0.999)
            later(latency_s, "answered", 201 if call.op == "add" else 200, tuple(errors))
