"""What was really done to the sandbox: counts, overlaps, and what happened to each membership.

Sets of whole requests are compared, never single rows, so that watching costs less than serving.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

OPEN, ACCEPTED, LATE = "open", "accepted", "late"
REQUESTS_SHOWN = 50
COUNTS = (
    "requests",
    "requests_within_retry_after",
    "rows_add",
    "rows_remove",
    "rows_applied",
    "rows_changed",
    "rows_unchanged",
    "rows_refused",
    "remove_all",
)
GRACE_S = 0.1  # requests already on their way when a 429 is answered are no fault of the client


class Event(NamedTuple):
    """`what`: received, applied, answered, accepted (runs later), refused, dropped. `changed` only when applied."""

    at_s: float
    number: int
    segment: str
    kind: str
    op: str
    what: str
    ids: set[str]
    changed: set[str] | None


@dataclass(slots=True, eq=False)
class Operation:
    """One request to add or remove members, from its arrival until nothing of it can happen any more."""

    number: int
    segment: str
    kind: str
    op: str
    ids: set[str]
    phase: str = OPEN
    closed: bool = False


@dataclass
class Witness:
    history_rows_max: int
    counts: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    overlaps: Counter[str] = field(default_factory=Counter)
    examples: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=REQUESTS_SHOWN))
    latest: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=REQUESTS_SHOWN))
    events: deque[Event] = field(default_factory=deque)
    rows_held: int = 0
    blocked_until_s: float = 0.0
    blocked_from_s: float = 0.0
    # (segment, kind) → (phase, op) → id → how many operations of that sort are in flight for it
    flying: dict[tuple[str, str], dict[tuple[str, str], dict[str, int]]] = field(default_factory=dict)

    def arrive(self, at_s: float) -> None:
        self.counts["requests"] += 1
        if self.blocked_from_s <= at_s < self.blocked_until_s:
            self.counts["requests_within_retry_after"] += 1

    def answered(self, at_s: float, number: int, method: str, target: str, status: int, took_s: float) -> None:
        """Status 0: cut off without an answer."""
        self.statuses[str(status) if status else "cut"] += 1
        self.latest.append(
            {
                "at_s": round(at_s, 3),
                "number": number,
                "method": method,
                "target": target[:200],
                "status": status,
                "took_ms": round(took_s * 1000, 1),
            }
        )

    def throttled(self, at_s: float, retry_after_s: float) -> None:
        """A 429 with a Retry-After that can be obeyed was answered."""
        if at_s >= self.blocked_until_s:  # a client that goes on regardless gets no new grace
            self.blocked_from_s = at_s + GRACE_S
        self.blocked_until_s = max(self.blocked_until_s, at_s + retry_after_s)

    def open(self, operation: Operation, at_s: float) -> None:
        """A member request has arrived: whatever is in flight for one of its ids is an overlap."""
        self.counts[f"rows_{operation.op}"] += len(operation.ids)
        flying = self.flying.setdefault((operation.segment, operation.kind), {})
        for (phase, op), ids in flying.items():
            shared = operation.ids & ids.keys() if ids else None
            if shared:
                self.overlaps[f"{operation.op}_during_{phase}_{op}"] += len(shared)
                self.examples.append(
                    {
                        "at_s": round(at_s, 3),
                        "number": operation.number,
                        "segment": operation.segment,
                        "op": operation.op,
                        "during": f"{phase} {op}",
                        "members": sorted(shared)[:5],
                    }
                )
        self._count(operation, 1)
        self.note(operation, "received", at_s)

    def move(self, operation: Operation, phase: str) -> None:
        """It stays in flight, in another way: accepted by a 202, or given up by a client that may see it land."""
        self._count(operation, -1)
        operation.phase = phase
        self._count(operation, 1)

    def refuse(self, operation: Operation, ids: set[str], at_s: float) -> None:
        """These of its ids failed and nothing of them can happen any more: the rest stays in flight."""
        self.counts["rows_refused"] += len(ids)
        self.note(operation, "refused", at_s, ids)
        self._count(operation, -1)
        operation.ids = operation.ids - ids
        self._count(operation, 1)

    def close(self, operation: Operation) -> None:
        operation.closed = True
        self._count(operation, -1)

    def applied(self, operation: Operation, at_s: float, ids: set[str], changed: set[str]) -> None:
        """What `operation` really did just now, to those of its ids that did not fail."""
        self.counts["rows_applied"] += len(ids)
        self.counts["rows_changed"] += len(changed)
        self.counts["rows_unchanged"] += len(ids) - len(changed)
        self.note(operation, "applied", at_s, ids, changed)

    def note(
        self,
        operation: Operation,
        what: str,
        at_s: float,
        ids: set[str] | None = None,
        changed: set[str] | None = None,
    ) -> None:
        ids = operation.ids if ids is None else ids
        event = Event(at_s, operation.number, operation.segment, operation.kind, operation.op, what, ids, changed)
        self.events.append(event)
        self.rows_held += max(1, len(ids))
        while self.rows_held > self.history_rows_max and self.events:
            self.rows_held -= max(1, len(self.events.popleft().ids))

    def history(self, segment: str, member: str, kind: str = "customer") -> list[dict[str, Any]]:
        """What is still remembered of one membership, oldest first."""
        return [
            {
                "at_s": round(event.at_s, 4),
                "number": event.number,
                "op": event.op,
                "what": event.what,
                "changed": None if event.changed is None else member in event.changed,
            }
            for event in self.events
            if event.segment == segment and event.kind == kind and member in event.ids
        ]

    def stats(self) -> dict[str, Any]:
        return {
            **dict.fromkeys(COUNTS, 0),
            **self.counts,
            "statuses": dict(self.statuses),
            "overlaps": sum(self.overlaps.values()),
            "overlaps_by": dict(self.overlaps),
            "overlap_examples": list(self.examples),
            "in_flight_rows": {
                phase: sum(
                    sum(ids.values())
                    for flying in self.flying.values()
                    for (held, _), ids in flying.items()
                    if held == phase
                )
                for phase in (OPEN, ACCEPTED, LATE)
            },
            "history_rows": self.rows_held,
        }

    def _count(self, operation: Operation, step: int) -> None:
        flying = self.flying.setdefault((operation.segment, operation.kind), {})
        held = flying.setdefault((operation.phase, operation.op), {})
        if step > 0:
            shared = operation.ids & held.keys() if held else set()
            held.update(
                dict.fromkeys(operation.ids, 1) if not shared else {i: held.get(i, 0) + 1 for i in operation.ids}
            )
            return
        for member in operation.ids:
            left = held[member] - 1
            if left:
                held[member] = left
            else:
                del held[member]
