"""From what is owed to what is confirmed: lanes, calls in flight, waits, and what each outcome means.

At most one operation of a membership is under way at once; a removal answered 202, and any attempt whose outcome is unknown, stay
under way until they can no longer land.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Collection
from typing import Final

from stream.core.batch import MEMBER_BYTES, Lane, Lanes, Segment
from stream.core.effects import Send
from stream.core.limits import Limits
from stream.core.model import Call, Op, Outcome
from stream.core.rows import (
    AHEAD,
    FLIGHT,
    HELD,
    IDLE,
    QUEUED,
    SEGMENT_DELETED,
    SEGMENT_DYNAMIC,
    SEGMENT_MISSING,
    SETTLING,
    WAITING,
    RowRef,
    Standing,
)
from stream.core.verdict import Verdict, VerdictPolicy, judge

SLOT_LOOK_S: Final = 0.005
"""How soon answers are looked for while a due batch waits for a slot: a longer look would limit the requests a second."""

LOOK_WAIT_S: Final = 1.0
"""How long members wait, at first, for what is found out about their segment."""

LOOKED_S: Final = 300.0
"""For how long a segment that was looked at is not looked at again."""

LOOKED_MAX: Final = 10_000

OUTAGE_SEGMENTS: Final = 3
"""So many segments that fail, and none that succeeds in between, are an outage of retail.red and no trouble of a segment."""


class Flight:
    """A call in flight: the standings it carries, and how often each had been touched when it was made."""

    __slots__ = ("call", "gens", "lane", "standings")

    def __init__(self, call: Call, lane: Lane, standings: list[Standing], gens: list[int]) -> None:
        self.call = call
        self.lane = lane
        self.standings = standings
        self.gens = gens


class Delivery:
    """Everything between a row that owes something and retail.red's confirmed answer.

    refuse(standing, reason, detail) is called for a member that retail.red will never take; alarm(kind, text) for people;
    missing(code) when retail.red has no such segment, and says what becomes of that; deleted(code) whether the source
    ended that segment, so that nobody is in it; look(code) has it looked at whether members may be added.
    ahead: rows of which nothing may be told before they are durable.
    existed: segments that were there; vanished: those of them that were found missing, until the caller takes them.
    delivered collects, for each accepted call, when it was accepted (the caller's `wall_s` of settle) and the source time
    (ms) of each row's event in it, negative for one of a snapshot.
    """

    def __init__(
        self,
        limits: Limits,
        policy: VerdictPolicy,
        tally: Counter[tuple[str, ...]],
        alarm: Callable[[str, str], None],
        refuse: Callable[[Standing, str, str], None],
        missing: Callable[[str], str] = lambda _: "its rows are pending; create it, they follow",
        deleted: Callable[[str], bool] = lambda _: False,
        look: Callable[[str], None] = lambda _: None,
        ahead: Collection[RowRef] = (),
    ) -> None:
        self._limits: Final = limits
        self._policy: Final = policy
        self._tally: Final = tally
        self._alarm: Final = alarm
        self._refuse: Final = refuse
        self._missing_says: Final = missing
        self._deleted: Final = deleted
        self._look: Final = look
        self._ahead: Final = ahead
        self.dynamic: set[str] = set()
        self._looked: dict[str, float] = {}
        self._unwritten: list[Standing] = []
        self.existed: set[str] = set()
        self.vanished: list[str] = []
        self.lanes: Final = Lanes(limits)
        self.flights: Final[dict[int, Flight]] = {}
        self.delivered: list[tuple[float, list[int]]] = []
        self.blocked_until_s = float("-inf")
        self.blocked_reason = ""
        self.failures = 0
        self._halves: deque[tuple[Lane, list[Standing]]] = deque()
        self._settling: deque[tuple[float, Standing, int]] = deque()
        self._waits: list[tuple[float, int, Standing]] = []
        self._missing: dict[Segment, None] = {}
        self._failing: set[str] = set()
        """Segments whose calls failed since the last call that succeeded."""
        self._numbers = 0
        self._now_s = 0.0

    # ---- owed ----------------------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> None:
        """The time of what follows."""
        self._now_s = now_s

    def enqueue(self, standing: Standing) -> None:
        """Something about this membership is owed, and nothing about it is under way."""
        table = standing.table
        if not table.open:
            standing.where = HELD
            table.held.append(standing)
            return
        segment = self.lanes.segment(standing.membership[0])
        if (segment.missing_attempts and not segment.probing) or (self.dynamic and segment.code in self.dynamic):
            self._shut(segment)
            self._park(segment, standing)
            return
        standing.where = QUEUED
        lane = segment.adds if standing.sayers else segment.removes
        if lane.queue:
            lane.queue.append(standing)
            lane.last_s = self._now_s
        else:
            self.lanes.put(lane, standing, self._now_s)

    def pending(self) -> dict[str, int]:
        """Memberships that wait without holding an offset, by reason."""
        pending = {SEGMENT_MISSING: 0, SEGMENT_DELETED: 0, SEGMENT_DYNAMIC: 0}
        for segment in self._missing:
            pending[self._why(segment)] += len(segment.parked)
        return pending

    def _why(self, segment: Segment) -> str:
        if segment.code in self.dynamic:
            return SEGMENT_DYNAMIC
        return SEGMENT_DELETED if segment.code in self.existed else SEGMENT_MISSING

    def _park(self, segment: Segment, standing: Standing) -> None:
        segment.parked[standing.membership] = standing.table
        standing.table.set_aside(standing, self._why(segment))

    def _probe(self, segment: Segment, most: int) -> None:
        """Try a missing segment again with a few of its members."""
        for membership in list(segment.parked)[:most]:
            table = segment.parked.pop(membership)
            if table.alive and membership in table.index:
                table.reissue(membership)

    def _wait(self, standing: Standing, until_s: float) -> None:
        standing.where = WAITING
        self._numbers += 1
        heapq.heappush(self._waits, (until_s, self._numbers, standing))

    # ---- sending -------------------------------------------------------------------------------------------------

    def sends(self, now_s: float, *, behind: bool, pressed: bool, draining: bool) -> list[Send]:
        """The calls to start now: halves of a split call first, then the due lanes, oldest first, while slots are free."""
        self._now_s = now_s
        self._wake(now_s)
        sends: list[Send] = []
        if now_s < self.blocked_until_s:
            return sends
        slots = self._limits.slots - len(self.flights)
        while slots > 0 and self._halves:
            lane, half = self._halves.popleft()
            standings = [s for s in half if s.gen >= 0 and self._ready(s, lane, now_s)]
            if standings:
                sends.append(self._launch(lane, standings, "split"))
                slots -= 1
        if slots <= 0 or not self.lanes.open:
            return sends
        for lane in self.lanes.due(now_s, behind=behind, pressed=pressed or draining):
            while slots > self._kept_free(lane):
                trigger = self._trigger(lane, now_s, pressed=pressed, draining=draining)
                standings = self._take(lane, now_s)
                if not standings:
                    break
                sends.append(self._launch(lane, standings, trigger))
                slots -= 1
                if len(lane.queue) < self._limits.members_max:
                    break
            self.lanes.taken(lane, now_s, behind=behind and not pressed)
            if slots <= 0:
                break
        return sends

    def _kept_free(self, lane: Lane) -> int:
        """Slots that this lane leaves to others: all while it is tried again, the last one while it has one itself.

        So a segment that hangs, or has a long backlog, makes no other wait for its answers.
        """
        if lane.tried_again:
            return self._limits.slots
        return 1 if lane.segment.flights and self._limits.slots > 1 else 0

    def shelve(self) -> None:
        """Room is needed, and this waits for a retry: its rows are stored as they are, and issued again as there is room.

        Not in an outage: then there is nothing else to make room for, and reading waits.
        """
        if len(self._failing) >= OUTAGE_SEGMENTS:
            return
        for lane in [lane for lane in self.lanes.open if lane.attempts and lane.not_before_s > self._now_s]:
            del self.lanes.open[lane]
            queue, lane.queue = lane.queue, deque()
            for standing in queue:
                if standing.where == QUEUED:
                    standing.table.put_off(standing, self._now_s)
        waits, self._waits = self._waits, []
        for _, _, standing in waits:
            if standing.gen >= 0 and standing.where == WAITING:
                standing.table.put_off(standing, self._now_s)

    def room(self, code: str) -> int:
        """How many that were put off may be issued for this segment: while it fails only what one call finds out with."""
        segment = self.lanes.segments.get(code)
        if segment is None or not (segment.adds.attempts or segment.removes.attempts):
            return self._limits.standings_max
        if segment.flights or max(segment.adds.not_before_s, segment.removes.not_before_s) > self._now_s:
            return 0
        return self._limits.members_max - len(segment.adds.queue) - len(segment.removes.queue)

    def _trigger(self, lane: Lane, now_s: float, *, pressed: bool, draining: bool) -> str:
        if len(lane.queue) >= self._limits.members_max:
            return "size"
        if draining:
            return "drain"
        if pressed:
            return "window"
        return "age" if now_s - lane.opened_s >= self._limits.linger_s else "idle"

    def _take(self, lane: Lane, now_s: float) -> list[Standing]:
        queue = lane.queue
        members_max = self._limits.members_max
        room_bytes = self._limits.body_bytes_max
        standings: list[Standing] = []
        adds = lane.op == "add"
        while queue and len(standings) < members_max:
            standing = queue.popleft()
            if standing.where != QUEUED:
                continue
            room_bytes -= len(standing.membership[1]) + MEMBER_BYTES
            if room_bytes < 0 and standings:
                queue.appendleft(standing)
                break
            # the common case first: nothing closed, nothing flipped, nothing late
            if (
                standing.late_op is None and standing.table.open and (standing.sayers > 0) is adds and not self._ahead
            ) or self._ready(standing, lane, now_s):
                standings.append(standing)
        return standings

    def _ready(self, standing: Standing, lane: Lane, now_s: float) -> bool:
        """Whether this may be sent now in this lane; if not, it was put where it belongs."""
        table = standing.table
        if not table.open:
            standing.where = HELD
            table.held.append(standing)
            return False
        if standing.op != lane.op:
            standing.where = QUEUED
            self.lanes.put(lane.segment.lane(standing.op), standing, now_s)
            return False
        if standing.late_op is not None and standing.late_op != lane.op:
            if now_s < standing.late_until_s:
                self._wait(standing, standing.late_until_s)
                return False
            standing.late_op = None
        if self._ahead and lane.op == "add" and self._too_early(standing):
            standing.where = AHEAD
            self._unwritten.append(standing)
            return False
        return True

    def _too_early(self, standing: Standing) -> bool:
        """Whether a row found whom it means and that is not durable: a successor might find somebody else, and end nothing."""
        ahead = self._ahead
        return any((row.part, row.key) in ahead for row in standing.rows) or any(ref in ahead for ref in standing.refs)

    def written(self) -> None:
        """Rows became durable: who waited for that is sent."""
        unwritten, self._unwritten = self._unwritten, []
        for standing in unwritten:
            if standing.gen >= 0 and standing.where == AHEAD:
                self._requeue(standing)

    def _launch(self, lane: Lane, standings: list[Standing], trigger: str) -> Send:
        for standing in standings:
            standing.where = FLIGHT
        self._numbers += 1
        call = Call(self._numbers, lane.op, lane.segment.code, tuple([s.membership[1] for s in standings]))
        self.flights[call.number] = Flight(call, lane, standings, [s.gen for s in standings])
        lane.segment.flights += 1
        return Send(call, trigger)

    # ---- answers -------------------------------------------------------------------------------------------------

    def settle(self, outcome: Outcome, now_s: float, jitter: float, wall_s: float = 0.0) -> Verdict | None:
        """What this outcome means, member by member. None when the call is not known any more. jitter: in [0, 1)."""
        flight = self.flights.pop(outcome.call.number, None)
        if flight is None:
            return None
        self._now_s = now_s
        lane = flight.lane
        # a call that was let go (its partitions went away) is judged for what it tells of the destination alone
        attempt = max(lane.attempts, self.failures, max((s.attempts for s in flight.standings), default=0))
        verdict = judge(outcome, self._policy, attempt, jitter)
        if verdict.may_land_late:
            self._remember_late(flight, now_s)
        kind = verdict.kind
        if outcome.status == 400 and not self._was_looked_at(flight, jitter):
            pass
        elif kind == "done":
            self._done(flight, verdict, now_s, jitter, wall_s)
        elif kind == "segment_missing" and flight.call.op == "remove" and self._deleted(flight.call.segment):
            for standing, gen in zip(flight.standings, flight.gens, strict=True):
                if standing.gen >= 0:
                    self._confirmed(standing, gen, "remove")
        elif kind == "segment_missing":
            self._segment_missing(flight)
        elif kind == "split":
            self._split(flight)
        else:
            self._again(flight, verdict, now_s)
        lane.segment.flights -= 1
        self.lanes.drop_idle(lane.segment)
        return verdict

    def _remember_late(self, flight: Flight, now_s: float) -> None:
        until_s = now_s + self._limits.api_timeout_s + self._limits.settle_s
        op = flight.call.op
        for standing in flight.standings:
            standing.late_op = op
            standing.late_until_s = until_s
            standing.table.late_until_s = max(standing.table.late_until_s, until_s)

    def _done(self, flight: Flight, verdict: Verdict, now_s: float, jitter: float, wall_s: float) -> None:
        lane, op = flight.lane, flight.call.op
        lane.attempts = 0
        self.failures = 0
        self._failing.clear()
        segment = lane.segment
        if op == "add":
            self.existed.add(segment.code)
        if segment.missing_attempts:
            segment.missing_attempts = 0
            segment.probing = False
            self._missing.pop(segment, None)
            for membership, table in segment.parked.items():
                if table.alive:
                    table.put_later(membership, now_s)
            segment.parked.clear()
        retry, refused = verdict.retry_members, verdict.refused_members
        troubled = bool(retry or refused)
        settles_later = verdict.settles_later
        settle_at_s = now_s + self._limits.settle_s
        delivered: list[int] = []
        settling = self._settling
        rows = 0
        for standing, gen in zip(flight.standings, flight.gens, strict=True):
            if standing.gen < 0:
                continue
            if troubled:
                member = standing.membership[1]
                if member in refused:
                    self._put_refused(standing, gen, refused[member])
                    continue
                if member in retry:
                    standing.attempts += 1
                    self._tally["retries", retry[member]] += 1
                    self._wait(standing, now_s + max(verdict.delay_s, self._policy.delay_s(standing.attempts, jitter)))
                    continue
            rows += 1
            for row in standing.rows:
                delivered.append(row.ts_ms)  # noqa: PERF401 - nearly always one row: a comprehension costs four times that
            if settles_later:
                standing.where = SETTLING
                settling.append((settle_at_s, standing, gen))
            else:
                self._confirmed(standing, gen, op)
        self._tally["members_sent", op] += rows
        if delivered:
            self.delivered.append((wall_s, delivered))

    def _put_refused(self, standing: Standing, gen: int, reason: str) -> None:
        if standing.gen == gen:
            self._tally["refused", reason] += 1
            self._refuse(standing, reason, f"retail.red refused the member ({reason})")
        else:
            self._requeue(standing)

    def _confirmed(self, standing: Standing, gen: int, op: Op) -> None:
        if standing.gen != gen:
            self._requeue(standing)
            return
        standing.table.confirm(standing, op)
        standing.table.put_away(standing)

    def _requeue(self, standing: Standing) -> None:
        standing.where = IDLE
        self.enqueue(standing)

    def _segment_missing(self, flight: Flight) -> None:
        segment = flight.lane.segment
        if segment.missing_attempts == 0 or segment.probing:
            self._try_later(segment)
            says = self._missing_says(segment.code)
            if segment.missing_attempts == 1:
                if segment.code in self.existed:
                    self.vanished.append(segment.code)
                self._alarm("segment_missing", f"segment {segment.code} does not exist at retail.red: {says}")
        for standing in flight.standings:
            if standing.gen >= 0:
                self._park(segment, standing)
        self._park_open(segment)

    def _try_later(self, segment: Segment) -> None:
        """It is tried again slower and slower."""
        segment.missing_attempts += 1
        segment.probing = False
        longest_s, shortest_s = self._limits.missing_retry_cap_s, self._limits.missing_retry_s
        segment.missing_until_s = self._now_s + min(
            longest_s, shortest_s * 2.0 ** min(30, segment.missing_attempts - 1)
        )
        self._missing[segment] = None

    def _shut(self, segment: Segment) -> None:
        if not segment.missing_attempts:
            self._try_later(segment)

    def _park_open(self, segment: Segment) -> None:
        for lane in (segment.adds, segment.removes):
            while lane.queue:
                standing = lane.queue.popleft()
                if standing.where == QUEUED:
                    self._park(segment, standing)
            self.lanes.open.pop(lane, None)

    def _was_looked_at(self, flight: Flight, jitter: float) -> bool:
        """Whether a 400 is about the members: a dynamic segment takes none, and each would become a letter.

        If that is not known its members wait, and the segment is looked at.
        """
        code = flight.call.segment
        if code not in self.dynamic and self._looked.get(code, float("-inf")) > self._now_s - LOOKED_S:
            return True
        if code not in self.dynamic:
            self._look(code)
        self._tally["retries", "look"] += 1
        for standing in flight.standings:
            if standing.gen >= 0:
                standing.attempts += 1
                delay_s = max(LOOK_WAIT_S, self._policy.delay_s(standing.attempts, jitter))
                self._wait(standing, self._now_s + delay_s)
        return False

    def looked(self, code: str) -> None:
        """This segment is not dynamic, if there is one."""
        self.dynamic.discard(code)
        if len(self._looked) >= LOOKED_MAX:
            self._looked.clear()
        self._looked[code] = self._now_s

    def found_dynamic(self, code: str) -> None:
        """This segment takes no members: what is owed to it is pending until a look finds it fixed."""
        segment = self.lanes.segment(code)
        self.dynamic.add(code)
        self._shut(segment)
        self._park_open(segment)

    def created(self, code: str) -> None:
        """This segment is there now: whoever waits for it is tried at once."""
        segment = self.lanes.segments.get(code)
        if segment is not None and segment.missing_attempts:
            segment.missing_until_s = self._now_s

    def _split(self, flight: Flight) -> None:
        """The whole call was refused though perhaps one member is to blame: halve it until that one stands alone."""
        self._tally["retries", "split"] += 1
        standings = [s for s in flight.standings if s.gen >= 0]
        middle = (len(standings) + 1) // 2
        for half in (standings[:middle], standings[middle:]):
            if half:
                for standing in half:
                    standing.where = WAITING
                self._halves.append((flight.lane, half))

    def _again(self, flight: Flight, verdict: Verdict, now_s: float) -> None:
        lane = flight.lane
        until_s = now_s + verdict.delay_s
        if verdict.kind in ("throttled", "auth"):
            if until_s > self.blocked_until_s:
                self.blocked_until_s = until_s
                self.blocked_reason = verdict.reason
        elif verdict.kind == "retry":
            lane.attempts += 1
            self._failing.add(lane.segment.code)
            lane.not_before_s = max(lane.not_before_s, until_s)
        if verdict.kind != "unsent":
            self.failures = min(self.failures + 1, 30)
        self._tally["retries", verdict.reason] += 1
        for standing in flight.standings:
            if standing.gen >= 0:
                standing.where = IDLE
                self.enqueue(standing)

    # ---- waiting -------------------------------------------------------------------------------------------------

    def _wake(self, now_s: float) -> None:
        settling = self._settling
        while settling and settling[0][0] <= now_s:
            _, standing, gen = settling.popleft()
            if standing.gen >= 0 and standing.where == SETTLING:
                self._confirmed(standing, gen, "remove")
        while self._waits and self._waits[0][0] <= now_s:
            standing = heapq.heappop(self._waits)[2]
            if standing.gen < 0 or standing.where != WAITING:
                continue
            self._requeue(standing)
        for segment in list(self._missing):
            if not segment.probing and now_s >= segment.missing_until_s:
                if segment.code in self.dynamic and segment.parked:
                    self._try_later(segment)
                    self._look(segment.code)
                    continue
                segment.probing = bool(segment.parked)
                if segment.probing:
                    self._probe(segment, self._limits.members_max)
                else:
                    segment.missing_attempts = 0
                    self._missing.pop(segment)

    def next_s(self, *, behind: bool) -> float:
        """When something here becomes due by time alone; infinite when nothing does."""
        look_s = self._now_s + SLOT_LOOK_S
        next_s = self._now_s if self._halves else self.lanes.next_due_s(behind=behind, look_s=look_s)
        next_s = max(next_s, self.blocked_until_s)
        if len(self.flights) >= max(1, self._limits.slots - 1):
            # an answer frees a slot, and it cannot wake whoever waits for records
            next_s = max(next_s, look_s)
        if self._settling:
            next_s = min(next_s, self._settling[0][0])
        if self._waits:
            next_s = min(next_s, self._waits[0][0])
        for segment in self._missing:
            if not segment.probing:
                next_s = min(next_s, segment.missing_until_s)
        return next_s
