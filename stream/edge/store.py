"""The core's two maps in a scratch file: rows by key, and counts by membership.

For the core they are mutable mappings like any other. Each may begin with a dict in front, which is moved into the file
piece by piece: what is in front is not in the file.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import ItemsView, Iterator, MutableMapping
from typing import Final, Generic, TypeVar

import msgspec

from stream.core.model import Membership, TopicPartition
from stream.core.rows import Count
from stream.core.table import RowTable
from stream.edge.scratch import KEY_BYTES_MAX, Scratch
from stream.errors import DataError

K = TypeVar("K")
V = TypeVar("V")

_pack = msgspec.msgpack.Encoder().encode
_unpack_count = msgspec.msgpack.Decoder(int | tuple[int, list[tuple[str, int, bytes]]]).decode
_unpack_long = msgspec.msgpack.Decoder(tuple[str, str, bytes]).decode

LONG: Final = b"\xff\xff"
"""Begins the key of a membership that is too long to be one: its hash follows, and the value begins with its names."""


class Stored(MutableMapping[K, V], Generic[K, V]):
    """A mapping in a database of the scratch file, with a dict in front while it is being moved there."""

    def __init__(self, scratch: Scratch, front: dict[K, V] | None = None) -> None:
        self._scratch: Final = scratch
        self._database: Final = scratch.database()
        self._front: dict[K, V] = {} if front is None else front

    # ---- what differs --------------------------------------------------------------------------------------------

    @abstractmethod
    def _key(self, key: K) -> bytes: ...

    @abstractmethod
    def _load(self, data: bytes) -> V: ...

    @abstractmethod
    def _store(self, key: K, value: V) -> bytes: ...

    @abstractmethod
    def _name(self, stored: bytes, data: bytes) -> K: ...

    # ---- the mapping ---------------------------------------------------------------------------------------------

    def __getitem__(self, key: K) -> V:
        if self._front and key in self._front:
            return self._front[key]
        data = self._scratch.get(self._database, self._key(key))
        if data is None:
            raise KeyError(key)
        return self._load(data)

    def get(self, key: K, default: V | None = None) -> V | None:  # type: ignore[override]  # its overloads say the same
        if self._front and key in self._front:
            return self._front[key]
        data = self._scratch.get(self._database, self._key(key))
        return default if data is None else self._load(data)

    def __contains__(self, key: object) -> bool:
        return key in self._front or self._scratch.get(self._database, self._key(key)) is not None  # type: ignore[arg-type]

    def __setitem__(self, key: K, value: V) -> None:
        self._scratch.put(self._database, self._key(key), self._store(key, value))
        if self._front:
            self._front.pop(key, None)

    def __delitem__(self, key: K) -> None:
        if self._front and key in self._front:
            del self._front[key]
        elif not self._scratch.delete(self._database, self._key(key)):
            raise KeyError(key)

    def __len__(self) -> int:
        return len(self._front) + self._scratch.entries(self._database)

    def __iter__(self) -> Iterator[K]:
        return (key for key, _ in self.stream())

    def items(self) -> ItemsView[K, V]:
        return _Items(self)

    def stream(self) -> Iterator[tuple[K, V]]:
        """Everything, a piece at a time; what is written meanwhile may or may not be among it."""
        self.move(len(self._front))
        for stored, data in self._scratch.items(self._database):
            yield self._name(stored, data), self._load(data)

    def clear(self) -> None:
        self._front.clear()
        self._scratch.empty(self._database)

    # ---- moving --------------------------------------------------------------------------------------------------

    @property
    def front(self) -> int:
        """How many are still in memory."""
        return len(self._front)

    def move(self, most: int) -> int:
        """Move up to so many from memory into the file; how many that were. In key order, which writes fewer pages."""
        front = self._front
        pairs = [front.popitem() for _ in range(min(most, len(front)))]
        stored = sorted([(self._key(key), self._store(key, value)) for key, value in pairs])
        for name, data in stored:
            self._scratch.put(self._database, name, data)
        if pairs and not front:
            self._front = {}
        return len(pairs)

    def release(self) -> None:
        """Nobody will use this mapping again."""
        self._scratch.give_back(self._database)


class _Items(ItemsView[K, V]):
    def __init__(self, mapping: Stored[K, V]) -> None:
        super().__init__(mapping)
        self._stored: Final = mapping

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return self._stored.stream()


class LmdbRows(Stored[bytes, bytes]):
    """The stored rows of a partition. Raises DataError for a key that no row has: empty, or longer than 511 bytes."""

    def _key(self, key: bytes) -> bytes:
        if not 0 < len(key) <= KEY_BYTES_MAX:
            raise DataError(f"a state record has a key of {len(key)} bytes: it is not this program's")
        return key

    def _load(self, data: bytes) -> bytes:
        return data

    def _store(self, _key: bytes, value: bytes) -> bytes:
        return value

    def _name(self, stored: bytes, _data: bytes) -> bytes:
        return stored


class LmdbIndex(Stored[Membership, Count]):
    """The counts of a row table. A reference to a stored row is kept as (topic, partition, key), its part is the table's."""

    def __init__(self, scratch: Scratch, table: RowTable, front: dict[Membership, Count] | None = None) -> None:
        super().__init__(scratch, front)
        self._table: Final = table

    def _key(self, key: Membership) -> bytes:
        segment, member = (name.encode() for name in key)
        stored = b"%b%b%b" % (len(segment).to_bytes(2, "big"), segment, member) if len(segment) < KEY_BYTES_MAX else b""
        if 0 < len(stored) <= KEY_BYTES_MAX:
            return stored
        digest = hashlib.blake2b(len(segment).to_bytes(8, "big") + segment + member, digest_size=32).digest()
        return LONG + digest

    def _store(self, key: Membership, value: Count) -> bytes:
        if isinstance(value, int):
            data = _pack(value)
        else:
            data = _pack((value[0], [(part.tp.topic, part.tp.partition, row) for part, row in value[1]]))
        return LONG + _pack((*key, data)) if self._key(key).startswith(LONG) else data

    def _load(self, data: bytes) -> Count:
        if data.startswith(LONG):
            data = _unpack_long(data[2:])[2]
        value = _unpack_count(data)
        if isinstance(value, int):
            return value
        parts = self._table.parts
        return value[0], tuple((parts[TopicPartition(topic, number)], row) for topic, number, row in value[1])

    def _name(self, stored: bytes, data: bytes) -> Membership:
        if stored.startswith(LONG):
            segment, member, _ = _unpack_long(data[2:])
            return segment, member
        end = 2 + int.from_bytes(stored[:2], "big")
        return stored[2:end].decode(), stored[end:].decode()
