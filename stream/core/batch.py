"""Micro-batches: what is owed to each segment, in two lanes, one of additions and one of removals.

A lane holds standings, not edits: what a member is told is decided when it is taken, so the last write wins by itself.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from stream.core.limits import Limits
from stream.core.model import Membership, Op
from stream.core.rows import Standing
from stream.core.table import RowTable

MEMBER_BYTES: Final = 32
"""What one member costs in a request's body beside its id: `{"id":"","type":"customer"},`."""


class Lane:
    """Open edits of one operation on one segment. Times in monotonic seconds."""

    __slots__ = ("attempts", "last_s", "not_before_s", "op", "opened_s", "queue", "segment")

    def __init__(self, segment: Segment, op: Op) -> None:
        self.segment: Final = segment
        self.op: Final = op
        self.queue: deque[Standing] = deque()
        self.opened_s = 0.0
        self.last_s = 0.0
        self.not_before_s = 0.0
        self.attempts = 0

    @property
    def tried_again(self) -> bool:
        """Whether it failed, and one call finds out whether it does still."""
        return self.attempts > 0 and self.segment.flights > 0

    def due_at_s(self, limits: Limits, *, behind: bool) -> float:
        """When this lane is to be sent though it is not full."""
        if behind:
            due_s = self.opened_s + limits.backlog_linger_s
        else:
            due_s = min(self.opened_s + limits.linger_s, self.last_s + limits.idle_s)
        return max(due_s, self.not_before_s)


class Segment:
    """One segment's lanes, and the memberships set aside while the segment does not exist at retail.red."""

    __slots__ = ("adds", "code", "flights", "missing_attempts", "missing_until_s", "parked", "probing", "removes")

    def __init__(self, code: str) -> None:
        self.code: Final = code
        self.adds: Final = Lane(self, "add")
        self.removes: Final = Lane(self, "remove")
        self.parked: dict[Membership, RowTable] = {}
        self.flights = 0
        self.missing_attempts = 0
        self.missing_until_s = 0.0
        self.probing = False

    def lane(self, op: Op) -> Lane:
        return self.adds if op == "add" else self.removes


class Lanes:
    """Every lane that holds something, oldest first."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.segments: dict[str, Segment] = {}
        self.open: dict[Lane, None] = {}

    def segment(self, code: str) -> Segment:
        segment = self.segments.get(code)
        if segment is None:
            segment = self.segments[code] = Segment(code)
        return segment

    def put(self, lane: Lane, standing: Standing, now_s: float) -> None:
        """Something is owed: it joins the lane's batch."""
        if not lane.queue:
            lane.opened_s = now_s
            self.open[lane] = None
        lane.queue.append(standing)
        lane.last_s = now_s

    def due(self, now_s: float, *, behind: bool, pressed: bool) -> list[Lane]:
        """The lanes to be sent now, oldest first: full ones, aged or idle ones, all of them under pressure (drain, full window)."""
        limits = self._limits
        full = limits.members_max
        return [
            lane
            for lane in self.open
            if now_s >= lane.not_before_s
            and (pressed or len(lane.queue) >= full or now_s >= lane.due_at_s(limits, behind=behind))
        ]

    def next_due_s(self, *, behind: bool, look_s: float = 0.0) -> float:
        """When the next lane becomes due by time, look_s at the soonest for one that waits for an answer; else infinite."""
        return min(
            (
                max(lane.due_at_s(self._limits, behind=behind), look_s if lane.tried_again else 0.0)
                for lane in self.open
            ),
            default=float("inf"),
        )

    def taken(self, lane: Lane, now_s: float, *, behind: bool) -> None:
        """After a take: an empty lane leaves, one with a rest goes behind the others, so that no hot segment starves a quiet one.

        While behind, the rest waits to fill up again; otherwise it is as old as before, and goes at once.
        """
        self.open.pop(lane, None)
        if lane.queue:
            if behind:
                lane.opened_s = now_s
            self.open[lane] = None
            return
        self.drop_idle(lane.segment)

    def drop_idle(self, segment: Segment) -> None:
        """Forget a segment about which nothing is open: there may be any number of segments over time."""
        if not (
            segment.flights
            or segment.parked
            or segment.missing_attempts
            or segment.adds.queue
            or segment.removes.queue
            or segment.adds.attempts
            or segment.removes.attempts
        ):
            self.segments.pop(segment.code, None)

    def depth(self) -> int:
        """Open edits in all lanes."""
        return sum(len(lane.queue) for lane in self.open)
