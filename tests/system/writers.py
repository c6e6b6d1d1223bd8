"""Several connections that write to one source at once, seeded, and the connector that follows them.

What each writer tries is decided by the seed; how the writers' transactions interleave is not, and need not be: the
truth is what a SELECT says afterwards.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import psycopg
from stack.process import StackError
from stack.stack import Stack

STATE_S: Final = 10

Writer = Callable[[psycopg.Cursor[Any], random.Random], None]


class Writers:
    """name is the connector's, its slot's and its topic prefix's: unique in a stack. watched: the one topic that it writes."""

    def __init__(self, stack: Stack, name: str, seed: int, watched: str | None = None) -> None:
        self.name = name
        self.seed = seed
        self.watched = watched
        self.outcomes: Counter[str] = Counter()
        self._stack = stack
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self._stopping = threading.Event()

    def _steps(self) -> dict[str, tuple[int, Writer]]:
        """What a transaction is made of, with weights."""
        raise NotImplementedError

    def _beside(self) -> list[Callable[[int], None]]:
        """What goes on in a thread of its own meanwhile; each is called with the transactions that there will be."""
        return []

    def caught_up(self) -> dict[int, int]:
        """Wait until all that is committed is on Kafka; the topic's end offsets."""
        return self._stack.wait_caught_up(self.name, self.watched)

    def await_place(self) -> None:
        """Wait until its connector, killed, goes on in the stream.

        Before, it takes its snapshot again, and that says nothing of the rows that were deleted since the first one:
        what the topic says of them stays wrong, and no consumer can know.
        """
        self.caught_up()
        self._stack.worker.wait_offset(self.name)

    def state(self) -> str:
        """How its connector stands, in a line for people. Nobody may be writing."""
        try:
            status = self._stack.worker.status(self.name)
            parts = [status.get("connector", {}), *status.get("tasks", [])]
            states = " ".join(str(part.get("state")) for part in parts)
            ends = self._stack.wait_caught_up(self.name, self.watched, deadline_s=STATE_S)
        except StackError as error:
            return f"behind, or in trouble: {str(error).splitlines()[0]}"
        return f"connector and task {states}, all is on Kafka, ends {ends}"

    def run(self, transactions: int = 200, *, writers: int = 4, alter: bool = True, pause_s: float = 0.0) -> None:
        """Write so many transactions, from several connections, with the schema changing midway; wait for the end."""
        self.start(transactions, writers=writers, alter=alter, pause_s=pause_s)
        self.join()

    def start(self, transactions: int = 200, *, writers: int = 4, alter: bool = True, pause_s: float = 0.0) -> None:
        """As run(), without waiting. pause_s: each writer's longest pause between two transactions."""
        self._stopping.clear()
        share = max(1, transactions // writers)
        self._threads = [
            threading.Thread(target=self._guarded, args=(self._write, number, share, pause_s), daemon=True)
            for number in range(writers)
        ]
        if alter:
            self._threads += [
                threading.Thread(target=self._guarded, args=(target, share * writers), daemon=True)
                for target in self._beside()
            ]
        for thread in self._threads:
            thread.start()

    def is_running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """End the writers after the transactions that they are in."""
        self._stopping.set()
        self.join()

    def join(self, deadline_s: float = 120) -> None:
        """Wait for the writers. Raises what one of them raised."""
        until = time.monotonic() + deadline_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        if self.is_running():
            raise StackError(f"the writers of {self.name} did not end within {deadline_s:.0f} s: {self.outcomes}")
        self._threads = []
        if self._failures:
            raise self._failures[0]

    def _guarded(self, target: Callable[..., None], *args: Any) -> None:
        try:
            target(*args)
        except BaseException as error:  # noqa: BLE001 - join() raises it where it is seen
            self._failures.append(error)
            self._stopping.set()

    def _write(self, writer: int, transactions: int, pause_s: float) -> None:
        # str seeds are hashed the same in every process
        chance = random.Random(f"{self.seed}-{self.name}-{writer}")
        steps = self._steps()
        names, weights = list(steps), [weight for weight, _ in steps.values()]
        with self._stack.postgres.connect() as connection:
            connection.execute("set lock_timeout = '3s'")
            connection.execute("set deadlock_timeout = '100ms'")
            connection.commit()
            for _ in range(transactions):
                if self._stopping.is_set():
                    return
                picked = chance.choices(names, weights, k=chance.choice((1, 1, 2, 3, 6)))
                self.outcomes[self._transaction(connection, chance, [steps[name][1] for name in picked])] += 1
                if pause_s:
                    self._stopping.wait(chance.uniform(0, pause_s))

    def _transaction(self, connection: psycopg.Connection[Any], chance: random.Random, steps: list[Writer]) -> str:
        gives_up = chance.random() < 0.06
        try:
            with connection.cursor() as cursor:
                for step in steps:
                    if chance.random() < 0.1:
                        self._in_savepoint(cursor, chance, step)
                    else:
                        step(cursor, chance)
            if gives_up:
                connection.rollback()
                return "rolled back"
            connection.commit()
        except (
            psycopg.errors.UniqueViolation,  # another writer was there first
            psycopg.errors.ForeignKeyViolation,  # another writer deleted the parent
            psycopg.errors.DeadlockDetected,
            psycopg.errors.LockNotAvailable,
            psycopg.errors.FeatureNotSupported,  # a cached plan whose result type a schema change altered
            psycopg.errors.UndefinedColumn,
        ) as error:
            connection.rollback()
            return type(error).__name__
        return "committed"

    def _in_savepoint(self, cursor: psycopg.Cursor[Any], chance: random.Random, step: Writer) -> None:
        cursor.execute("savepoint s")
        step(cursor, chance)
        cursor.execute("rollback to savepoint s" if chance.random() < 0.5 else "release savepoint s")
