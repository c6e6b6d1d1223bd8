"""The order of the asking: reads first, then the throw-away segment, which is deleted whatever happens."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final

from stream.edge.session import ApiConfig, Session
from stream.errors import AuthError, SegstreamError, SettingsError, Unavailable, Unfinished
from stream.settings import RetailRed
from stream.survey.customers import Customers
from stream.survey.findings import Findings
from stream.survey.limits import BODY, COUNT, Limits
from stream.survey.members import DELETE_BODIES, VISIBLE, Members
from stream.survey.talk import REQUESTS_MAX, Stopped, Talk, Unclear
from stream.survey.throwaway import Throwaway, random_code

SILENT_MAX: Final = 4
"""So many questions in a row without any answer, and no more are asked."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done. members_max: customers put into the segment at most. wait_s: for a change to be seen."""

    config: ApiConfig
    settings: RetailRed
    members_max: int = 1_000
    wait_s: float = 60.0
    code: str = field(default_factory=random_code)

    def lines(self) -> list[str]:
        """For people, before anything is done."""
        return [
            f"merchant {self.config.merchant}, {self.config.segmentation_url} and {self.config.customer_url}",
            f"creates the fixed segment {self.code} and deletes it at the end; touches no other segment",
            f"puts up to {self.members_max} customers into it and takes them out again",
            f"makes some 100 to 300 requests, one after the other, {REQUESTS_MAX} at most; reads customers, keeps none",
        ]


def survey(
    plan: Plan, say: Callable[[str], None] = lambda _: None, wait: Callable[[float], None] = time.sleep
) -> Findings:
    """Ask everything. What was found is returned also when the asking ended early (error, interrupted, left).

    say: told what is being asked. wait: sleeps. Raises SettingsError for URLs that cannot be used.
    """
    found = Findings(plan.settings)
    session = Session(plan.config, lambda: True, lambda *_: None)
    talk = Talk(session, wait)
    segment = Throwaway(talk, plan.code)
    with _interruptible_once() as interruptible:
        try:
            try:
                _Asking(plan, found, talk, segment, say).ask()
            except SegstreamError as error:
                found.error = error
            finally:
                interruptible.off()  # in here: an interruption right before it is caught below
        except KeyboardInterrupt:
            found.interrupted = True
        finally:
            try:
                if segment.begun:
                    say("deleting the throw-away segment")
                    _clean(found, segment, plan.settings.settle_s)
            finally:
                found.requests = talk.requests
                session.close()
    return found


def _clean(found: Findings, segment: Throwaway, settle_s: float) -> None:
    try:
        gone = segment.delete(settle_s)
    except (SegstreamError, Stopped):
        gone = False
    if not gone:
        found.left = segment.code
        if found.error is None:
            found.error = Unfinished(
                f"the throw-away segment {segment.code} may still be there", advice="delete it by hand at retail.red"
            )


class _Interruptible:
    """Turns the first signal to end into KeyboardInterrupt, and any later one into nothing: the clean-up has limits."""

    def __init__(self) -> None:
        self._on = True

    def off(self) -> None:
        self._on = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if self._on:
            self._on = False
            raise KeyboardInterrupt


@contextmanager
def _interruptible_once() -> Iterator[_Interruptible]:
    interruptible = _Interruptible()
    held: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            held[number] = signal.signal(number, interruptible)
    except ValueError:  # not the main thread: no signal comes here
        held.clear()
    try:
        yield interruptible
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)


class _Asking:
    def __init__(self, plan: Plan, found: Findings, talk: Talk, segment: Throwaway, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.found = found
        self.talk = talk
        self.segment = segment
        self.say = say
        self.silent = 0

    def ask(self) -> None:
        """Raises AuthError, and Unavailable when nothing answers at all."""
        self._reach()
        customers = Customers(self.talk, self.found)
        ids = self._customers(customers)
        created = self._create()
        members = Members(self.talk, self.found, self.segment, ids if created else [], self.plan.wait_s)
        limits = Limits(self.found, members)
        if created:
            self._one("duplicate segment", members.ask_duplicate_segment)
        why = "" if created else "there is no throw-away segment to ask with"
        for name, question, setting in (
            ("body of members", members.ask_body, ""),
            ("members: limit", members.ask_page, ""),
            ("addition visible after", members.ask_visible, ""),
            ("members: paging", members.ask_paging, ""),
            ("adding a present member", members.ask_present, ""),
            ("one member twice in a body", members.ask_twice, ""),
            ("an unknown member", members.ask_unknown, ""),
            (DELETE_BODIES, members.ask_delete_body, ""),
            ("runInBackground=false", members.ask_background, "run_in_background"),
            (BODY, limits.ask_body, "body_bytes_max"),
            (COUNT, limits.ask_members, "members_max"),
            (VISIBLE, members.ask_settle, "settle_s"),
            ("removing an absent member", members.ask_absent, ""),
        ):
            if why:
                self.found.unknown(name, why, setting)
            else:
                self._one(name, question, setting)
        self._rates()

    def _reach(self) -> None:
        """Whether retail.red answers at all, with these rights. Raises AuthError, Unavailable, SettingsError."""
        self.say("whether retail.red answers")
        reply = self.talk.ask("GET", "segmentation", "/segments", "limit=1")
        if reply.status == 403:
            raise AuthError(
                "retail.red refuses access (HTTP 403)",
                advice=f"check the credentials' rights on merchant {self.plan.config.merchant}",
            )
        if reply.status == 404:
            raise SettingsError(
                f"retail.red knows no merchant {self.plan.config.merchant}, or has no segments route there (HTTP 404)",
                advice="check retail_red.merchant and retail_red.urls.segmentation",
            )
        if not reply.ok:
            raise Unavailable(f"retail.red: {reply.said}")
        if self.segment.look().status != 404:
            raise Unavailable(f"whether there is a segment {self.plan.code} cannot be told: nothing was created")

    def _customers(self, customers: Customers) -> list[str]:
        begun = self._one("customers", customers.begin)
        for name, question, setting in (
            ("customers: limit", customers.ask_page, ""),
            ("customers: paging", customers.ask_paging, ""),
            ("customers: offset + limit", customers.ask_window, ""),
            ("filter parameter", customers.ask_parameter, "filter_parameter"),
            ("guests", customers.ask_guests, ""),
            ("case of emails", customers.ask_email_case, ""),
            ("URL bytes", customers.ask_url, "lookup_url_bytes_max"),
            ("values in $in", customers.ask_values, "lookup_values_max"),
        ):
            if begun:
                self._one(name, question, setting)
            else:
                self.found.unknown(name, "there are no customers to ask with", setting)
        ids: list[str] = []
        if begun:
            self._one("customers", lambda: ids.extend(customers.gather(self.plan.members_max)))
        return ids

    def _create(self) -> bool:
        def create() -> None:
            reply = self.segment.create().sure()
            if not reply.ok or reply.errors:
                raise Unclear(f"the throw-away segment is refused ({reply.said})")
            self.segment.await_it()

        return self._one("creating a segment", create)

    def _rates(self) -> None:
        stated = ", ".join(f"{name}: {value}" for name, value in sorted(self.talk.headers.items()))
        throttled = f"{self.talk.throttled} of {self.talk.requests} requests were answered 429"
        if stated or self.talk.throttled:
            self.found.note("rate limits", f"{stated or 'none stated in headers'}; {throttled}")
        else:
            self.found.note("rate limits", f"none stated in headers, no 429 in {self.talk.requests} requests")

    def _one(self, name: str, question: Callable[[], None], setting: str = "") -> bool:
        """Ask one; what cannot be found is said, with the reason. Whether there was an answer."""
        self.say(name)
        try:
            question()
        except (Unclear, Stopped) as why:
            if not self.found.has(name):
                self.found.unknown(name, str(why), setting)
            self.silent += "no answer" in str(why)
            if self.silent >= SILENT_MAX:
                self.talk.stopped = "not asked: retail.red does not answer"
            return False
        self.silent = 0
        return True
