from __future__ import annotations

import threading
import time

from stream.core.model import Call, Outcome
from stream.edge.senders import DryRun, Lease, Senders

CALL = Call(1, "add", "gold", ("c-1",))


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


def _outcome(senders: Senders) -> Outcome:
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


def test_a_dry_run_says_what_would_be_sent_and_every_call_succeeds() -> None:
    said: list[Call] = []
    outcome = DryRun(said.append).send(CALL)
    assert said == [CALL]
    assert outcome.status == 201
