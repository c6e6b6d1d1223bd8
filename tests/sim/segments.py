"""A simulated retail.red whose members are customers of its own, and whose segments come, change and go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from stream.core.model import Call, Definition, DefinitionOutcome, Outcome
from tests.sim.customers import Customers
from tests.sim.shop import Shop
from tests.sim.watch import Violation

if TYPE_CHECKING:
    from tests.sim.clock import Clock


class Nobody:
    """Everybody whom the members route does not know."""

    def __init__(self, customers: Customers) -> None:
        self.customers = customers

    def __contains__(self, name: object) -> bool:
        return not self.customers.takes(str(name))


@dataclass
class About:
    """A segment beside its members."""

    name: str
    kind: Literal["fixed", "dynamic"] = "fixed"
    status: Literal["active", "inactive"] = "active"


@dataclass
class NamedShop(Shop):
    """about: every segment. told_404: when the members route last said, and was heard, that it does not know a customer."""

    customers: Customers = None  # type: ignore[assignment]  # always given
    about: dict[str, About] = field(default_factory=dict)
    told_404: dict[str, float] = field(default_factory=dict)
    held_ever: set[str] = field(default_factory=set)
    removed: dict[str, float] = field(default_factory=dict)
    """When each segment was last deleted."""
    moving: Callable[[str, str], str] = field(default=lambda _segment, _member: "")

    def receive(self, call: Call, answer: Callable[[Outcome], None]) -> None:
        for member in call.members:
            if member == "*" or (call.op == "add" and member.startswith("guest")):
                raise Violation("guest", f"{member} is sent", ((call.segment, member),))
            if call.op == "add" and (why := self.moving(call.segment, member)):
                raise Violation("moved", why, ((call.segment, member),))

        def heard(outcome: Outcome) -> None:
            if call.op == "add":
                for error in outcome.errors:
                    name = error.entity_id or call.members[error.index or 0]
                    if error.code == "404" and name in self.customers.deleted_s:
                        self.told_404[name] = self.clock.now_s
            answer(outcome)

        super().receive(call, heard)

    def _hard(self, call: Call, latency_s: float, later: Callable[..., None]) -> bool:
        about = self.about.get(call.segment)
        if about is not None and about.kind == "dynamic":
            later(latency_s, "answered", 400)
            return True
        return super()._hard(call, latency_s, later)

    def _apply(self, op: str, segment: str, members: tuple[str, ...]) -> None:
        if op == "add":
            members = tuple(member for member in members if self.customers.takes(member))
        self.held_ever.add(segment)
        super()._apply(op, segment, members)

    def customer_gone(self, name: str) -> None:
        """A deleted customer is in no segment any more."""
        for members in self.segments.values():
            members.discard(name)

    def remove(self, code: str) -> None:
        self.segments.pop(code, None)
        self.about.pop(code, None)
        self.removed[code] = self.clock.now_s

    def create(self, code: str, name: str) -> None:
        self.segments[code] = set()
        self.about[code] = About(name)


@dataclass
class Definer:
    """What makes a segment be so: it looks first, and a dynamic segment is never touched. Its writes may fail half-way."""

    clock: Clock
    rng: Any
    shop: NamedShop
    fails: float = 0.0
    asked: int = 0
    note: Callable[[str], None] = field(default=lambda _text: None)

    def receive(self, definition: Definition, answer: Callable[[DefinitionOutcome], None]) -> None:
        rng = self.rng
        self.asked += 1
        latency_s = rng.uniform(0.02, 0.3)
        dice = rng.random()
        done = self.clock.after
        if dice < self.fails * 0.4:
            status, reason = rng.choice(((500, "server_error"), (429, "throttled"), (0, "timeout"), (403, "forbidden")))
            done(latency_s, self._tell, definition, answer, "failed", status, reason)
        elif dice < self.fails * 0.5:
            done(latency_s, self._tell, definition, answer, "unsent", 0, "lease")
        else:
            # written, and the answer to it is lost
            done(latency_s, self._make, definition, answer, dice < self.fails)

    def _make(self, definition: Definition, answer: Callable[[DefinitionOutcome], None], lost: bool) -> None:  # noqa: FBT001 - called by the clock
        shop, code = self.shop, definition.code
        about = shop.about.get(code)
        if about is not None and about.kind == "dynamic":
            self._tell(definition, answer, "dynamic", 200, "dynamic")
            return
        reason = "unchanged"
        if definition.op == "look":
            reason = "absent" if about is None else "there"
        elif definition.op in ("exist", "define"):
            if about is None:
                shop.create(code, definition.name)
                reason = "created"
            elif definition.op == "define":
                status = "active" if definition.active else about.status
                if (about.name, about.status) != (definition.name, status):
                    about.name, about.status, reason = definition.name, status, "updated"
        elif about is None:
            reason = "absent"
        elif definition.op == "deactivate":
            about.status, reason = "inactive", "deactivated"
        else:
            shop.remove(code)
            reason = "deleted"
        self.note(f"segment {code} {definition.op}: {reason}{', the answer is lost' if lost else ''}")
        if lost:
            self._tell(definition, answer, "failed", 0, "timeout")
        else:
            self._tell(definition, answer, "done", 200, reason)

    def _tell(self, definition: Definition, answer: Callable[[DefinitionOutcome], None], kind: Any, status: int,
              reason: str) -> None:  # fmt: skip
        after_s = self.rng.choice((None, 0.5)) if status == 429 else None
        self.note(f"definition {definition.number} {definition.op} {definition.code} answered {kind} {status} {reason}")
        answer(DefinitionOutcome(definition, kind, status, reason, "", after_s, self.clock.now_s, 0.1))
