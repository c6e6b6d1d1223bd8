"""Moves rows, counts and references from memory into a scratch file once there are too many.

A piece at a time, so that polling goes on. Where either could stay, rows do: they are asked more often than references.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, Final, Protocol

from stream.core.engine import Engine
from stream.core.model import Membership, TopicPartition
from stream.core.rows import Count
from stream.core.table import RowTable
from stream.edge.scratch import Scratch, sweep
from stream.edge.store import LmdbIndex, LmdbRows, Stored
from stream.errors import SettingsError, Unavailable

MOVE_S: Final = 0.03
"""How long one turn moves rows."""
MOVE_AT_ONCE: Final = 2_000
RETRY_S: Final = 60.0


class Kept(Protocol):
    """What is kept beside the rows, such as a reference table."""

    values: MutableMapping[bytes, bytes]
    """Put into the file, another mapping takes this one's place."""


Reading = MutableMapping[TopicPartition, MutableMapping[bytes, bytes]]


class Spill:
    """Decides where rows are kept: in memory up to rows_max, above that in a file, until all of them went to others.

    References count as rows do, and stay in the file once they are there.

    directory: where the file is made; None is the system's folder for temporary files. log(kind, text) for people.
    Raises SettingsError when a directory was named that cannot be written.
    """

    def __init__(
        self,
        directory: Path | None,
        rows_max: int,
        log: Callable[[str, str], None],
        scratch: Callable[[Path | None], Scratch] = Scratch,
    ) -> None:
        if directory is not None and not (directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)):
            raise SettingsError(
                f"state.directory: {directory} is not a folder that can be written",
                advice="create it, or mount a volume there; without it the system's folder for temporary files is used",
            )
        self._directory: Final = directory
        self._rows_max: Final = rows_max
        self._log: Final = log
        self._make: Final = scratch
        self._scratch: Scratch | None = None
        self._maps: list[Stored[Any, Any]] = []
        self._kept: list[Kept] = []
        self._rows_go = self._kept_go = False
        self._retry_s = float("-inf")
        self._sweep()

    def _sweep(self) -> None:
        try:
            swept = sweep(self._directory or Path(tempfile.gettempdir()))
        except OSError:
            return  # it matters when rows are moved there, and is said then
        for folder in swept:
            self._log("row_store", f"removed {folder}: its process was killed")

    @property
    def spilled(self) -> bool:
        """Whether rows are kept in the file."""
        return self._scratch is not None and self._rows_go

    @property
    def moving(self) -> bool:
        """Whether rows are still on their way: restoring waits, so that memory does not grow meanwhile."""
        return any(found.front for found in self._maps)

    def keep(self, kept: Kept) -> None:
        """Count these with the rows from now on, and move them when there are too many."""
        self._kept.append(kept)

    def index(self, table: RowTable) -> MutableMapping[Membership, Count]:
        """Where the counts of a new table go."""
        if self._scratch is None or not self._rows_go:
            return {}
        index = LmdbIndex(self._scratch, table)
        self._maps.append(index)
        return index

    def turn(self, engine: Engine, reading: Reading) -> None:
        """Move what is to be moved. reading: rows that are being restored. Raises Unavailable when the disk is full."""
        if not self._rows_go or (self._kept and not self._kept_go):
            self._decide(sum(len(part.rows) for part in engine.parts()) + sum(map(len, reading.values())))
        if self._scratch is None:
            return
        self._adopt(engine, reading)
        deadline_s = time.monotonic() + MOVE_S
        for found in self._maps:
            while found.front and time.monotonic() < deadline_s:
                found.move(MOVE_AT_ONCE)

    def _decide(self, rows: int) -> None:
        if not self._rows_go and rows > self._rows_max:
            self._rows_go = self._begin(rows, "rows")
        if not self._kept_go:
            kept = sum(len(one.values) for one in self._kept)
            left = kept if self._rows_go else kept + rows
            self._kept_go = kept > 0 and left > self._rows_max and self._begin(kept, "references")

    def _begin(self, count: int, what: str) -> bool:
        """Whether there is a file to move them to."""
        now_s = time.monotonic()
        if now_s < self._retry_s:
            return False
        try:
            self._scratch = self._scratch or self._make(self._directory)
        except Unavailable as error:
            self._retry_s = now_s + RETRY_S
            self._log("row_store", f"{count} {what} are more than rows_in_memory_max, and stay in memory: {error}")
            return False
        self._log(
            "row_store", f"{count} {what}, more than rows_in_memory_max allows: they move to {self._scratch.folder}"
        )
        return True

    def _adopt(self, engine: Engine, reading: Reading) -> None:
        """Every map in use is one of the file's; those of partitions that went away are given back."""
        scratch = self._scratch
        if scratch is None:
            return
        found = self._adopt_rows(scratch, engine, reading) if self._rows_go else []
        if not found and not list(engine.parts()):
            self._rows_go = False
        for kept in self._kept if self._kept_go else ():
            if not isinstance(kept.values, LmdbRows):
                kept.values = LmdbRows(scratch, _plain(kept.values))
            found.append(kept.values)
        used = {id(one) for one in found}
        for gone in self._maps:
            if id(gone) not in used:
                gone.release()
        self._maps = found
        if not found and not list(engine.parts()):
            self.close()

    def _adopt_rows(self, scratch: Scratch, engine: Engine, reading: Reading) -> list[Stored[Any, Any]]:
        found: list[Stored[Any, Any]] = []
        for tp, rows in reading.items():
            if not isinstance(rows, LmdbRows):
                rows = reading[tp] = LmdbRows(scratch, _plain(rows))  # noqa: PLW2901 - the one that took its place
            found.append(rows)
        for table in engine.tables():
            # one that is being counted is iterated, and not all of it may be here yet
            for part in table.parts.values():
                if table.whole and not isinstance(part.rows, LmdbRows):
                    part.rows = LmdbRows(scratch, _plain(part.rows))
                if isinstance(part.rows, LmdbRows):
                    found.append(part.rows)
            if table.whole and not isinstance(table.index, LmdbIndex):
                table.index = LmdbIndex(scratch, table, _plain(table.index))
            if isinstance(table.index, LmdbIndex):
                found.append(table.index)
        return found

    def close(self) -> None:
        """Remove the file. What was in it is in the state topic."""
        if self._scratch is not None:
            self._scratch.close()
        self._scratch = None
        self._maps = []
        self._rows_go = self._kept_go = False


def _plain(rows: MutableMapping[Any, Any]) -> dict[Any, Any]:
    return rows if isinstance(rows, dict) else dict(rows)
