"""Threads that turn calls, look-ups and definitions into outcomes; they decide nothing."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from stream.core.model import Call, Definition, DefinitionOutcome, Lookup, LookupOutcome, Outcome

Job = TypeVar("Job")
Result = TypeVar("Result")


class Customers(Protocol):
    """Whoever is asked about customers and makes segments be. Nothing raises; thread-safe."""

    def lookup(self, lookup: Lookup) -> LookupOutcome:
        """Who has these values."""

    def define(self, definition: Definition) -> DefinitionOutcome:
        """Make this segment be so."""


class Destination(Customers, Protocol):
    """Whoever performs a call: retail.red, or nobody in a dry run."""

    @property
    def token_expires_at(self) -> float:
        """Seconds since the epoch; 0 where there is no token."""

    def send(self, call: Call) -> Outcome:
        """Never raises; thread-safe."""


class Lease:
    """Whether a call may still be written: how long after the last contact with the group, and for which assignment.

    A process that was paused past its session wakes up with calls queued; the clock went on meanwhile, so they are not written.
    After such a gap only a proof of membership (an offset commit that the broker accepted) makes it valid again.
    Calls carry the term in which they were made: what was made before partitions went away is not written after.
    """

    def __init__(self, lease_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease_s: Final = lease_s
        self._clock: Final = clock
        self._contact_s = clock()
        self._carried: Final = threading.local()
        self.term = 0

    def carry(self, term: int) -> None:
        """This thread's next call was made in this term."""
        self._carried.term = term

    def valid(self) -> bool:
        """Asked right before the first byte of a call is written."""
        carried = getattr(self._carried, "term", self.term)
        return carried == self.term and self._clock() - self._contact_s < self._lease_s

    def lapsed(self) -> bool:
        """Whether the last contact is too long ago to believe in it without proof."""
        return self._clock() - self._contact_s >= self._lease_s

    def renew(self, *, proven: bool = False) -> bool:
        """The loop is in contact with the group. False when the gap was too long to believe that without proof."""
        if not proven and self.lapsed():
            return False
        self._contact_s = self._clock()
        return True

    def end_term(self) -> None:
        """Partitions went away, or may have: no call made until now is written any more."""
        self.term += 1


class Pool(Generic[Job, Result]):
    """Threads that each perform one job at a time. `finished()` brings the results in the order in which the jobs ended.

    Jobs carry the term in which they were given. lost(job, error): the result of one whose performance raised.
    """

    def __init__(
        self,
        perform: Callable[[Job], Result],
        lost: Callable[[Job, Exception], Result],
        slots: int,
        lease: Lease,
        name: str,
    ) -> None:
        self._perform: Final = perform
        self._lost: Final = lost
        self._lease: Final = lease
        self._jobs: queue.SimpleQueue[tuple[Job, int] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(slots)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def send(self, job: Job) -> None:
        self._jobs.put((job, self._lease.term))

    def finished(self) -> list[Result]:
        results: list[Result] = []
        try:
            while True:
                results.append(self._results.get_nowait())
        except queue.Empty:
            return results

    def close(self) -> None:
        for _ in self._threads:
            self._jobs.put(None)

    def _run(self) -> None:
        while (given := self._jobs.get()) is not None:
            job, term = given
            self._lease.carry(term)
            try:
                result = self._perform(job)
            except Exception as error:  # noqa: BLE001 - a job must never be lost: not knowing is a result too
                result = self._lost(job, error)
            self._results.put(result)


class Senders(Pool[Call, Outcome]):
    """The threads of members' calls."""

    def __init__(self, destination: Destination, slots: int, lease: Lease) -> None:
        super().__init__(destination.send, _lost_call, slots, lease, "sender")


def _lost_call(call: Call, error: Exception) -> Outcome:
    return Outcome(call, "unknown", 0, (), None, type(error).__name__, str(error), time.monotonic(), 0.0)


class Askers(Pool[Lookup | Definition, LookupOutcome | DefinitionOutcome]):
    """The threads of look-ups and definitions: of their own, so that members' calls never wait for them."""

    def __init__(self, customers: Customers, slots: int, lease: Lease) -> None:
        def perform(question: Lookup | Definition) -> LookupOutcome | DefinitionOutcome:
            return customers.lookup(question) if isinstance(question, Lookup) else customers.define(question)

        super().__init__(perform, _lost_question, slots, lease, "asker")


def _lost_question(question: Lookup | Definition, error: Exception) -> LookupOutcome | DefinitionOutcome:
    reason, now_s = type(error).__name__, time.monotonic()
    if isinstance(question, Definition):
        return DefinitionOutcome(question, "failed", 0, "defect", reason, None, now_s, 0.0)
    whole = False
    return LookupOutcome(question, "failed", (), whole, 0, "defect", reason, None, now_s, 0.0)


class DryRun:
    """A destination that is told nothing: every call and definition succeeds at once.

    `say` hears what would have been sent, `say_definition` what would have been defined. Look-ups change nothing: they are really
    asked of `reads`.
    """

    token_expires_at = 0.0

    def __init__(
        self,
        say: Callable[[Call], None],
        reads: Customers,
        say_definition: Callable[[Definition], None],
    ) -> None:
        self._say: Final = say
        self._say_definition: Final = say_definition
        self._reads: Final = reads

    def send(self, call: Call) -> Outcome:
        self._say(call)
        status = 201 if call.op == "add" else 200
        return Outcome(call, "answered", status, (), None, "", "", time.monotonic(), 0.0)

    def lookup(self, lookup: Lookup) -> LookupOutcome:
        return self._reads.lookup(lookup)

    def define(self, definition: Definition) -> DefinitionOutcome:
        self._say_definition(definition)
        return DefinitionOutcome(definition, "done", 0, "dry_run", "", None, time.monotonic(), 0.0)
