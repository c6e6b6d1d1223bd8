"""A scratch file for what does not fit in memory: one LMDB environment in a folder of its own, gone with the process.

Nothing in it outlives its owner: the state topic is what is durable. So nothing is synced, and a folder whose owner died
is removed by whoever starts next beside it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import lmdb

from stream.errors import Unavailable

PREFIX: Final = "segstream-rows-"
OWNER: Final = "owner"

WRITES_MAX: Final = 10_000
"""Writes before the transaction is renewed: each may dirty a page of 4 KiB, which LMDB keeps in memory until then."""
WRITTEN_BYTES_MAX: Final = 32 << 20
HEADROOM_BYTES: Final = 512 << 20
"""Map space that must be free when a transaction begins: more than it can use, so that none fails half way."""
MAP_BYTES: Final = 1 << 30
BYTES_MAX: Final = 1 << 40
FREE_BYTES_MIN: Final = 128 << 20
"""Disk space left to others."""
DATABASES_MAX: Final = 16_384
KEY_BYTES_MAX: Final = 511
"""LMDB's own limit."""
CHUNK: Final = 1_000


class Scratch:
    """The environment, and the one write transaction through which everything is read and written.

    Raises Unavailable when the folder cannot be made, when the disk or the limit is full, and for any use after such a failure:
    what was written since the last renewal is gone with it.
    """

    def __init__(
        self,
        directory: Path | None,
        *,
        map_bytes: int = MAP_BYTES,
        headroom_bytes: int = HEADROOM_BYTES,
        bytes_max: int = BYTES_MAX,
        writes_max: int = WRITES_MAX,
    ) -> None:
        self._headroom: Final = headroom_bytes
        self._bytes_max: Final = bytes_max
        self._writes_max: Final = writes_max
        self._map_bytes = max(map_bytes, 2 * headroom_bytes)
        self._writes = self._written = 0
        self._failure = ""
        self._databases = 0
        self._spare: list[Any] = []
        base = directory or Path(tempfile.gettempdir())
        try:
            sweep(base)
            self.folder, self._owner = _folder(base)
            self._env = lmdb.open(
                str(self.folder), map_size=self._map_bytes, max_dbs=DATABASES_MAX, subdir=True, lock=False,
                sync=False, metasync=False, meminit=False, readahead=False,
            )  # fmt: skip
        except (OSError, lmdb.Error) as error:
            raise Unavailable(
                f"no scratch folder in {base}: {error}", advice="set state.directory to a folder that can be written"
            ) from error
        self._page_bytes = int(self._env.stat()["psize"])
        self.txn = self._env.begin(write=True)

    # ---- databases -----------------------------------------------------------------------------------------------

    def database(self) -> Any:
        """An empty database; those given back are used again."""
        if self._spare:
            return self._spare.pop()
        name = f"{self._databases}".encode()
        self._databases += 1
        try:
            return self._env.open_db(name, txn=self.txn)
        except lmdb.Error as error:
            self.failed(error)

    def empty(self, database: Any) -> None:
        """Remove everything of it; after a failure or close there is nothing to remove."""
        if self._failure:
            return
        try:
            self.txn.drop(database, delete=False)
        except lmdb.Error as error:
            self.failed(error)
        self.renew()

    def give_back(self, database: Any) -> None:
        """Nobody uses it any more."""
        self.empty(database)
        self._spare.append(database)

    # ---- reading and writing -------------------------------------------------------------------------------------

    def put(self, database: Any, key: bytes, value: bytes) -> None:
        try:
            self.txn.put(key, value, db=database)
        except lmdb.Error as error:
            self.failed(error)
        self._writes += 1
        self._written += len(value)
        if self._writes >= self._writes_max or self._written >= WRITTEN_BYTES_MAX:
            self.renew()

    def get(self, database: Any, key: bytes) -> bytes | None:
        try:
            found: bytes | None = self.txn.get(key, db=database)
        except lmdb.Error as error:
            self.failed(error)
        return found

    def delete(self, database: Any, key: bytes) -> bool:
        """Whether it was there."""
        try:
            there: bool = self.txn.delete(key, db=database)
        except lmdb.Error as error:
            self.failed(error)
        self._writes += 1
        if self._writes >= self._writes_max:
            self.renew()
        return there

    def entries(self, database: Any) -> int:
        if self._failure:
            return 0
        return int(self.txn.stat(database)["entries"])

    def items(self, database: Any) -> Iterator[tuple[bytes, bytes]]:
        """Everything, in key order; others may write meanwhile, so nothing is kept open between chunks."""
        after = b""
        while True:
            chunk: list[tuple[bytes, bytes]] = []
            try:
                with self.txn.cursor(db=database) as cursor:
                    if cursor.set_range(after) if after else cursor.first():
                        for pair in cursor.iternext():
                            if pair[0] != after:
                                chunk.append(pair)
                            if len(chunk) >= CHUNK:
                                break
            except lmdb.Error as error:
                self.failed(error)
            yield from chunk
            if len(chunk) < CHUNK:
                return
            after = chunk[-1][0]

    # ---- the transaction -----------------------------------------------------------------------------------------

    def renew(self) -> None:
        """Commit, which frees the memory of what was written, and begin anew with space for what comes."""
        try:
            self.txn.commit()
            self._writes = self._written = 0
            self._make_room()
            self.txn = self._env.begin(write=True)
        except lmdb.Error as error:
            self.failed(error)

    def _make_room(self) -> None:
        used = self.bytes_used()
        if used > self._bytes_max:
            self.failed(f"it reached its limit of {self._bytes_max} bytes")
        if self._map_bytes - used < self._headroom:
            self._map_bytes *= 2
            self._env.set_mapsize(self._map_bytes)
        if self._free_bytes() < FREE_BYTES_MIN:
            self.failed(f"at least {FREE_BYTES_MIN >> 20} MiB of its disk are left to others")

    def _free_bytes(self) -> int:
        disk = os.fstatvfs(self._owner)
        return disk.f_bavail * disk.f_frsize

    def bytes_used(self) -> int:
        """The file's size; space that was freed in it is used again before it grows."""
        return (int(self._env.info()["last_pgno"]) + 1) * self._page_bytes

    def failed(self, why: object) -> NoReturn:
        if not self._failure:
            # a write that was cut short by a full disk is an input/output error to LMDB
            free = f"{self._free_bytes() >> 20} MiB are free there, it uses {self.bytes_used() >> 20} MiB"
            self._failure = f"the row store in {self.folder} cannot go on: {why}; {free}"
        raise Unavailable(
            self._failure,
            advice="nothing is lost, the state topic has every row; free disk space, set state.directory to a larger disk, "
            "or raise state.rows_in_memory_max where memory allows",
        )

    def close(self) -> None:
        """Remove the folder and everything in it."""
        if not self._failure:
            self._failure = "the row store is closed"
            self.txn.abort()
        self._env.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._owner)


def _folder(base: Path) -> tuple[Path, int]:
    """A folder of its own and the lock that says that its owner lives. It gets its name when it is locked, not before."""
    new = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=base))
    owner = os.open(new / OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder = base / new.name.removeprefix(".")
        new.rename(folder)
    except OSError:
        os.close(owner)
        shutil.rmtree(new, ignore_errors=True)
        raise
    return folder, owner


def sweep(base: Path) -> list[Path]:
    """Remove what processes left that were killed: own folders, whose lock nobody holds."""
    swept = []
    with os.scandir(base) as entries:
        found = [entry for entry in entries if entry.name.startswith(PREFIX)]
    for entry in found:
        try:
            if not entry.is_dir(follow_symlinks=False) or entry.stat(follow_symlinks=False).st_uid != os.geteuid():
                continue
            owner = os.open(Path(entry.path) / OWNER, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # its owner lives
        else:
            shutil.rmtree(entry.path, ignore_errors=True)
            swept.append(Path(entry.path))
        finally:
            os.close(owner)
    return swept
