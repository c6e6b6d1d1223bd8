"""N threads that turn calls into outcomes; they decide nothing."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from stream.core.model import Call, Outcome


class Destination(Protocol):
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


class Senders:
    """The pool. `finished()` brings the outcomes in the order in which the calls ended."""

    def __init__(self, destination: Destination, slots: int, lease: Lease) -> None:
        self._destination: Final = destination
        self._lease: Final = lease
        self._calls: queue.SimpleQueue[tuple[Call, int] | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name=f"sender-{n}", daemon=True) for n in range(slots)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def send(self, call: Call) -> None:
        self._calls.put((call, self._lease.term))

    def finished(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        try:
            while True:
                outcomes.append(self._outcomes.get_nowait())
        except queue.Empty:
            return outcomes

    def close(self) -> None:
        for _ in self._threads:
            self._calls.put(None)

    def _run(self) -> None:
        while (job := self._calls.get()) is not None:
            call, term = job
            self._lease.carry(term)
            try:
                outcome = self._destination.send(call)
            except Exception as error:  # noqa: BLE001 - a call must never be lost: not knowing is an outcome too
                outcome = Outcome(call, "unknown", 0, (), None, type(error).__name__, str(error), time.monotonic(), 0.0)
            self._outcomes.put(outcome)


class DryRun:
    """A destination that is told nothing: every call succeeds at once, and `say(call)` hears what would have been sent."""

    token_expires_at = 0.0

    def __init__(self, say: Callable[[Call], None]) -> None:
        self._say: Final = say

    def send(self, call: Call) -> Outcome:
        self._say(call)
        status = 201 if call.op == "add" else 200
        return Outcome(call, "answered", status, (), None, "", "", time.monotonic(), 0.0)
