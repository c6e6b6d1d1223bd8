"""What becomes of single members: added, added again, removed, never there. In the throw-away segment alone."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from stream.survey.findings import Findings, bounds
from stream.survey.talk import Reply, Talk, Unclear, largest
from stream.survey.throwaway import PAGE, Throwaway, cursor, quoted

Wanted = Callable[[set[str]], bool]

FEW: Final = 4
"""Customers that the questions about single members put in."""
REMOVALS_TIMED: Final = 3
LOOK_FIRST_S: Final = 0.05
LOOK_EVERY_S_MAX: Final = 1.0
MANY_S_MAX: Final = 10.0
CALM_S: Final = 1.0
"""After a change was seen it is looked once more, for what may still follow."""

DELETE_BODIES: Final = "DELETE bodies"
VISIBLE: Final = "removal visible after"


@dataclass(slots=True)
class Members:
    """The questions about single members. wait_s: how long a change is waited for. late_s: of removals, the longest seen."""

    talk: Talk
    found: Findings
    segment: Throwaway
    ids: list[str]
    wait_s: float
    late_s: list[float] = field(default_factory=list)
    wrapped: bool = False
    removes: bool = False

    # ---- in --------------------------------------------------------------------------------------------------------------

    def ask_duplicate_segment(self) -> None:
        reply = self.segment.create().sure()
        if reply.ok and not reply.errors:
            self.found.note("duplicate segment", f"{reply.said}, no word of it")
        else:
            self.found.note("duplicate segment", reply.said)

    def ask_body(self) -> None:
        """Whether members go in in the wrapped form; the first ones do."""
        few = self.few
        reply = self.segment.add(few[:1]).sure()
        if reply.ok:
            self.wrapped = True
            self.found.note("body of members", f'{{"members": […]}} is taken ({reply.said})')
            return
        bare = msgspec.json.encode([{"id": few[0], "type": "customer"}])
        other = self.segment.send("POST", bare).sure()
        if other.ok:
            text = f'{{"members": […]}} is refused ({reply.said}), a bare array is taken ({other.said})'
            self.found.fail("body of members", text, "segstream sends the wrapped form only: ask for the right route")
        else:
            raise Unclear(f"neither form of body is taken ({reply.said}; {other.said})")

    @property
    def few(self) -> tuple[str, ...]:
        """Raises Unclear when there is not one."""
        if not self.ids:
            raise Unclear("there is no customer to put in")
        return tuple(self.ids[:FEW])

    def ask_page(self) -> None:
        """How many members of a segment come in one page: the client asks for so many."""
        self._needs_wrapped()
        said = ""

        def works(size: int) -> bool:
            nonlocal said
            reply = self.segment.page(f"limit={size}").sure()
            said = said if reply.ok else reply.said
            return reply.ok

        good = PAGE if works(PAGE) else largest(1, PAGE, works)[0]
        if good == PAGE:
            self.found.note("members: limit", f"{PAGE} works, which is what segstream asks for")
            return
        if not good:
            raise Unclear(f"the members cannot be listed ({said})")
        self.segment.page_rows = good
        text = f"{good} works; {good + 1} does not ({said})"
        self.found.fail("members: limit", text, f"segstream asks for {PAGE}: it cannot read the members of a segment")

    def ask_visible(self) -> None:
        """Put the few in and wait until they are seen."""
        self._needs_wrapped()
        reply = self.segment.add(self.few).sure()
        waited = self._await(reply, lambda there: set(self.few) <= there)
        if waited is None:
            raise Unclear(f"what was added ({reply.said}) is not there after {self.wait_s:g} s")
        self.found.note("addition visible after", f"{_span(waited)} ({reply.said})")

    def ask_present(self) -> None:
        self._needs_wrapped()
        self.found.note("adding a present member", self.segment.add(self.few[:1]).sure().said)

    def ask_twice(self) -> None:
        self._needs_wrapped()
        reply = self.segment.add((self.few[0], self.few[0])).sure()
        self.found.note("one member twice in a body", reply.said)

    def ask_unknown(self) -> None:
        """An id that no customer has; if it goes in, it goes with the segment."""
        self._needs_wrapped()
        nobody = str(uuid.uuid4())
        reply = self.segment.add((nobody,)).sure()
        text = reply.said
        if reply.ok:
            waited = self._await(reply, lambda there: nobody in there, wait_s=min(self.wait_s, 2.0))
            text += ", and it is in the segment then" if waited else ", and it is not in the segment"
        self.found.note("an unknown member", text)

    def ask_paging(self) -> None:
        if not self.wrapped or len(self.few) < 2:
            raise Unclear("there are too few members to turn a page")
        first = self.segment.page("limit=1").sure()
        meta, rows = first.value.get("meta"), first.value.get("members")
        meta = meta if isinstance(meta, dict) else {}
        if not first.ok or not isinstance(rows, list) or not rows:
            raise Unclear(f"the members cannot be listed ({first.said})")
        total = "counted" if isinstance(meta.get("totalItemCount"), int) else "not counted"
        after, name = cursor(meta)
        query = f"limit=1&after={quoted(after)}" if after else "limit=1&offset=1"
        second = self.segment.page(query).sure().value.get("members")
        moved = isinstance(second, list) and second and second[0] != rows[0]
        form = f"by meta.{name}.after" if after else "by limit and offset"
        text = f"{form}, {total}" if moved else f"{form} does not turn the page"
        if moved:
            self.found.note("members: paging", text)
        else:
            self.found.fail("members: paging", text, "the members of a segment cannot be read whole")

    # ---- out -------------------------------------------------------------------------------------------------------------

    def ask_delete_body(self) -> None:
        """Whether a removal removes what it names, nothing, or everything; and how late."""
        self._needs_wrapped()
        if len(self.few) < 2:
            raise Unclear("there are too few customers: one must stay while another one goes")
        gone, stay = self.few[0], set(self.few[1:])
        reply = self.segment.remove((gone,)).sure()
        if not reply.ok:
            text = f"are refused ({reply.said}), as when they get lost on the way"
            self.found.fail(DELETE_BODIES, text, "look at what stands between: proxies may drop the body of a DELETE")
            return
        waited = self._await(reply, lambda there: gone not in there)
        if waited is None:
            text = f"do not arrive, or run later: accepted ({reply.said}), nothing gone after {self.wait_s:g} s"
            self.found.fail(DELETE_BODIES, text, "look at what stands between; or wait longer, by --wait-s")
            return
        self.talk.wait(min(CALM_S, self.wait_s))
        if not stay <= self.segment.members():
            text = "do not arrive: a removal of one removed everybody"
            self.found.fail(DELETE_BODIES, text, "do not run segstream here: a removal would empty the segment")
            return
        self.removes = True
        self.found.note(DELETE_BODIES, f"arrive ({reply.said}): who is named goes, the others stay")
        self.late_s.append(waited[1])
        self._time_removals()

    def _time_removals(self) -> None:
        """Some more removals, for how late they are seen."""
        one = self.few[0]
        for _ in range(REMOVALS_TIMED - 1):
            if self._await(self.segment.add((one,)).sure(), lambda there: one in there) is None:
                raise Unclear("a member that was put in again is not seen")
            reply = self.segment.remove((one,)).sure()
            waited = self._await(reply, lambda there: one not in there)
            if waited is None:
                raise Unclear(f"a second removal is not seen within {self.wait_s:g} s")
            self.late_s.append(waited[1])

    def ask_settle(self) -> None:
        """From all the removals that were timed to settle_s: twice the longest, as a few samples do not show the worst."""
        if not self.late_s:
            raise Unclear("no removal was seen to happen")
        worst_s, is_set = max(self.late_s), self.found.settings.settle_s
        text = f"{worst_s:.2f} s at most, of {len(self.late_s)} removals"
        if 2 * worst_s > is_set:
            wanted = float(min(math.ceil(2 * worst_s), bounds("settle_s")[1]))
            self.found.value(VISIBLE, text, "settle_s", wanted, "twice the longest that was seen")
        else:
            self.found.value(VISIBLE, text, "settle_s", is_set)

    def ask_absent(self) -> None:
        """Asked last: a removal that runs later could meet an addition of the same member."""
        if not self.removes:
            raise Unclear("removals are not understood")
        one = self.few[0]
        if one in self.segment.members():
            raise Unclear("the members are still there")
        self.found.note("removing an absent member", self.segment.remove((one,)).sure().said)

    def ask_background(self) -> None:
        """Whether runInBackground=false is accepted, and whether it makes a removal happen at once."""
        name, setting = "runInBackground=false", "run_in_background"
        if not self.removes:
            raise Unclear("removals are not understood")
        one, is_set = self.few[1], self.found.settings.run_in_background
        reply = self.segment.remove((one,), "runInBackground=false").sure()
        if not reply.ok:
            text = f"is refused ({reply.said})"
            if is_set is None:
                self.found.value(name, text, setting, None)
            else:
                self.found.value(name, text, setting, None, "null: the parameter is not sent")
            return
        waited = self._await(reply, lambda there: one not in there)
        if waited is None:
            raise Unclear(f"accepted ({reply.said}), but the member is not gone after {self.wait_s:g} s")
        if reply.status == 202:
            self.late_s.append(waited[1])
            self.found.value(name, f"makes no difference ({reply.said}, gone after {_span(waited)})", setting, is_set)
            return
        text = f"removes before it answers ({reply.said}, gone after {_span(waited)})"
        self.found.value(name, text, setting, wanted=False, advice="false: a removal is done when answered", could=True)

    # ---- many --------------------------------------------------------------------------------------------------------------

    def arrived(self, ids: set[str]) -> int:
        """How many of these are in the segment, after waiting for all of them."""
        end_s, pause_s = time.monotonic() + min(self.wait_s, MANY_S_MAX), self._pause_s(len(ids))
        while True:
            there = len(ids & self.segment.members())
            if there == len(ids) or time.monotonic() > end_s:
                return there
            self.talk.wait(pause_s)

    def time_removal(self, reply: Reply, ids: set[str]) -> None:
        """How late the removal of many is seen; unknown when it is not."""
        waited = self._await(reply, lambda there: not ids & there, pause_s_max=self._pause_s(len(ids)))
        if waited is not None:
            self.late_s.append(waited[1])
        else:
            self.found.unknown("removal of many", f"{len(ids)} were not all gone after {self.wait_s:g} s")

    def _pause_s(self, members: int) -> float:
        """A look at many takes many requests: it is not taken often."""
        return LOOK_EVERY_S_MAX * max(1, members // self.segment.page_rows)

    # ---- waiting -----------------------------------------------------------------------------------------------------------

    def _await(
        self, reply: Reply, there: Wanted, wait_s: float | None = None, pause_s_max: float = LOOK_EVERY_S_MAX
    ) -> tuple[float, float] | None:
        """Look until the members are as wanted: seconds after the answer of the last look before and of that look."""
        limit_s, pause_s, before_s = self.wait_s if wait_s is None else wait_s, LOOK_FIRST_S, 0.0
        while True:
            asked_s = time.monotonic()
            seen = there(self.segment.members())
            now_s = time.monotonic() - reply.at_s
            if seen:
                return before_s, now_s
            if now_s >= limit_s:
                return None
            before_s = asked_s - reply.at_s
            self.talk.wait(pause_s)
            pause_s = min(pause_s_max, 1.5 * pause_s)

    def _needs_wrapped(self) -> None:
        if not self.wrapped:
            raise Unclear("members do not go in")


def _span(waited: tuple[float, float]) -> str:
    before_s, after_s = waited
    return f"{after_s:.2f} s" if not before_s else f"{before_s:.2f} to {after_s:.2f} s"
