from __future__ import annotations

import threading
import time
from typing import Any

from stream.core.model import Call, Definition, DefinitionOutcome, Lookup, LookupOutcome, Outcome
from stream.edge.senders import Askers, DryRun, Lease, Pool, Senders

CALL = Call(1, "add", "gold", ("c-1",))
LOOKUP = Lookup(2, "email", ("a@x.com",))
DEFINITION = Definition(3, "exist", "gold", "gold")


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Asks:
    """A destination that waits, then asks the lease as the client does right before the first byte."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.go_on = threading.Event()
        self.begun = threading.Event()

    def send(self, call: Call) -> Outcome:
        self.begun.set()
        self.go_on.wait(5)
        kind, code = ("answered", "") if self._lease.valid() else ("unsent", "lease")
        return Outcome(call, kind, 201 if kind == "answered" else 0, (), None, code, "", 0.0, 0.0)


class Knows:
    """Customers who are told apart from nobody; look-ups wait for `go_on`, definitions ask the lease."""

    def __init__(self, lease: Lease | None = None) -> None:
        self._lease = lease or Lease(10.0)
        self.go_on = threading.Event()
        self.begun = threading.Event()

    def lookup(self, lookup: Lookup) -> LookupOutcome:
        self.begun.set()
        assert self.go_on.wait(5)
        return LookupOutcome(lookup, "answered", (), whole=True, status=200, reason="", message="",
                             retry_after_s=None, at_s=0.0, duration_s=0.0)  # fmt: skip

    def define(self, definition: Definition) -> DefinitionOutcome:
        self.begun.set()
        self.go_on.wait(5)
        kind = "done" if self._lease.valid() else "unsent"
        return DefinitionOutcome(definition, kind, 0, "", "", None, 0.0, 0.0)

    def send(self, call: Call) -> Outcome:
        return Outcome(call, "answered", 201, (), None, "", "", 0.0, 0.0)

    token_expires_at = 0.0


def _outcome(senders: Pool[Any, Any]) -> Any:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        found = senders.finished()
        if found:
            return found[0]
        time.sleep(0.005)
    raise AssertionError("no outcome")


def test_a_lease_that_lapsed_is_renewed_by_proof_alone() -> None:
    clock = Clock()
    lease = Lease(10.0, clock)
    clock.now_s += 9.9
    assert lease.valid()
    assert lease.renew()
    clock.now_s += 10.1
    assert not lease.valid()
    assert not lease.renew()
    assert not lease.valid()
    assert lease.renew(proven=True)
    assert lease.valid()


def test_a_call_made_before_partitions_went_away_is_not_written_after() -> None:
    lease = Lease(10.0)
    destination = Asks(lease)
    senders = Senders(destination, 1, lease)
    senders.start()
    senders.send(CALL)
    assert destination.begun.wait(5)
    lease.end_term()
    destination.go_on.set()
    assert _outcome(senders).kind == "unsent"
    senders.send(CALL)
    assert _outcome(senders).kind == "answered"
    senders.close()


def test_a_destination_that_raises_leaves_an_unknown_outcome() -> None:
    class Breaks:
        def send(self, call: Call) -> Outcome:
            raise RuntimeError(call.segment)

    senders = Senders(Breaks(), 1, Lease(10.0))
    senders.start()
    senders.send(CALL)
    assert _outcome(senders).kind == "unknown"
    senders.close()


def test_members_calls_do_not_wait_for_look_ups() -> None:
    knows, lease = Knows(), Lease(10.0)
    askers, senders = Askers(knows, 1, lease), Senders(knows, 1, lease)
    askers.start()
    senders.start()
    for _ in range(3):
        askers.send(LOOKUP)
    assert knows.begun.wait(5)
    senders.send(CALL)
    assert _outcome(senders).kind == "answered"
    assert askers.finished() == []
    knows.go_on.set()
    assert _outcome(askers).lookup == LOOKUP
    askers.close()
    senders.close()


def test_questions_of_both_kinds_end_in_their_own_outcomes_in_order() -> None:
    knows = Knows()
    knows.go_on.set()
    askers = Askers(knows, 1, Lease(10.0))
    askers.start()
    for question in (LOOKUP, DEFINITION, LOOKUP):
        askers.send(question)
    found: list[object] = []
    deadline = time.monotonic() + 5
    while len(found) < 3 and time.monotonic() < deadline:
        found += askers.finished()
    assert [type(one) for one in found] == [LookupOutcome, DefinitionOutcome, LookupOutcome]
    askers.close()


def test_a_definition_of_an_earlier_term_is_not_written() -> None:
    lease = Lease(10.0)
    knows = Knows(lease)
    askers = Askers(knows, 1, lease)
    askers.start()
    askers.send(DEFINITION)
    assert knows.begun.wait(5)
    lease.end_term()
    knows.go_on.set()
    assert _outcome(askers).kind == "unsent"
    askers.send(DEFINITION)
    assert _outcome(askers).kind == "done"
    askers.close()


def test_a_question_that_raises_is_a_failed_one() -> None:
    class Breaks(Knows):
        def lookup(self, lookup: Lookup) -> LookupOutcome:
            raise RuntimeError(lookup.values[0])

        def define(self, definition: Definition) -> DefinitionOutcome:
            raise RuntimeError(definition.code)

    askers = Askers(Breaks(), 1, Lease(10.0))
    askers.start()
    for question in (LOOKUP, DEFINITION):
        askers.send(question)
        outcome = _outcome(askers)
        assert (outcome.kind, outcome.reason, outcome.message) == ("failed", "defect", "RuntimeError")
    askers.close()


def test_a_dry_run_says_what_would_be_sent_and_every_call_succeeds() -> None:
    said: list[Call] = []
    outcome = DryRun(said.append, Knows(), lambda _: None).send(CALL)
    assert said == [CALL]
    assert outcome.status == 201


def test_a_dry_run_really_asks_for_customers_and_only_says_definitions() -> None:
    knows = Knows()
    knows.go_on.set()
    said: list[Definition] = []
    dry = DryRun(lambda _: None, knows, said.append)
    assert (dry.lookup(LOOKUP).kind, knows.begun.is_set()) == ("answered", True)
    knows.begun.clear()
    outcome = dry.define(DEFINITION)
    assert (outcome.kind, outcome.reason, said) == ("done", "dry_run", [DEFINITION])
    assert not knows.begun.is_set()
