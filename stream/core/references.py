"""Reference tables: what a row of another table holds, by its key; read whole, so that it can be asked without waiting.

A parent that was deleted keeps its last value: a cascade deletes it before the rows that point at it. Values are bytes in a
mapping that is given from outside, so that millions of them need little memory or none.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from stream.core.decode.rowkey import row_key
from stream.core.model import (
    MISSING,
    UNAVAILABLE,
    Change,
    Columns,
    Decoded,
    Halt,
    Skip,
    Tombstone,
    Truncate,
    Unreadable,
)

KEY_BYTES_MAX: Final = 255
VALUE_CHARS_MAX: Final = 1_000
"""Of one column: longer than any email, number or code."""

_INT_MAX: Final = 2**63 - 1
_DELETED: Final = 1
_PARTITION: Final = 2
"""The first number of a stored value: the partition that said it, doubled, and whether it was deleted since."""

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[bool | int | str | None]).decode


@dataclass(frozen=True, slots=True)
class ReferenceRule:
    """What is kept of one reference table. key: the column by which others point at it; columns: what is kept, in this order.

    key "": nobody points at it, a row is known by its whole record key. tells_deletes: the key of a deleted row counts as changed.
    clips: of a text that is too long its beginning is kept; else nothing, as it would be another value.
    """

    name: str
    key: str
    columns: tuple[str, ...]
    tells_deletes: bool = False
    clips: bool = False

    def decoded(self) -> tuple[str, ...]:
        """The columns that the decoder must give, each once."""
        return tuple(dict.fromkeys((self.key, *self.columns) if self.key else self.columns))


def key_text(value: Any) -> str | None:
    """The text by which a reference is asked: of a pointing column's value, or of the key itself. None: it can be no key."""
    kind = type(value)
    if kind is int:
        value = str(value)
    elif kind is not str:
        return None
    return value if _key(value) is not None else None


def _whole_key(key: dict[str, Any]) -> str:
    return hashlib.blake2b(row_key(key), digest_size=16).hexdigest()


def _key(text: str) -> bytes | None:
    try:
        key = text.encode()
    except UnicodeEncodeError:
        return None
    return key if 0 < len(key) <= KEY_BYTES_MAX else None


class Reference:
    """One reference table. Holds every key that it ever read in `values`, nothing else that grows.

    decoded: the columns of the changes that are folded, where they are more than the rule's. halted: why nothing of the table is
    read any more, empty while it is. counts: records by what was wrong with them; whoever reports them clears it.
    """

    def __init__(
        self,
        rule: ReferenceRule,
        decoded: Sequence[str] | None = None,
        values: MutableMapping[bytes, bytes] | None = None,
    ) -> None:
        places = {name: i for i, name in enumerate(rule.decoded() if decoded is None else decoded)}
        self.rule: Final = rule
        self.values: MutableMapping[bytes, bytes] = {} if values is None else values
        self.halted = ""
        self.wider: tuple[str, ...] = ()
        """The record key's columns where it has more than the reference's key: several rows may share that key."""
        self.counts: Counter[str] = Counter()
        self.details: dict[str, str] = {}
        """One line about the first unreadable record of each reason."""
        self._key: Final = places[rule.key] if rule.key else -1
        self._columns: Final = tuple([places[name] for name in rule.columns])

    def __len__(self) -> int:
        return len(self.values)

    def get(self, key: str) -> tuple[bool | int | str | None, ...] | None:
        """The last columns of the row with this key, deleted or not; None when there never was one."""
        name = _key(key)
        data = self.values.get(name) if name is not None else None
        return tuple(_unpack(data)[1:]) if data is not None else None

    def deleted(self, key: str) -> bool:
        """Whether the row with this key was there and is not any more."""
        name = _key(key)
        data = self.values.get(name) if name is not None else None
        return data is not None and _unpack(data)[0] & _DELETED == _DELETED  # type: ignore[operator]  # it is a number

    def partition(self, key: str) -> int:
        """The partition that said this row last; -1 when there never was one."""
        name = _key(key)
        data = self.values.get(name) if name is not None else None
        return _unpack(data)[0] // _PARTITION if data is not None else -1  # type: ignore[operator]  # it is a number

    def every(self) -> list[str]:
        """Every key that was ever read."""
        return [name.decode() for name in self.values]

    def clear(self) -> None:
        """The topic begins anew: nothing that it said before is true of it."""
        self.values.clear()
        self.halted = ""
        self.wider = ()

    def fold(self, items: Sequence[Decoded], partition: int = 0) -> list[str]:
        """Fold records of one partition, in the order of their offsets. Returns the keys that appeared or whose value changed.

        After a record that halts the table nothing is folded any more.
        """
        changed: dict[str, None] = {}
        for item in items:
            if self.halted:
                break
            kind = type(item)
            if kind is Change:
                key, after = item.key, item.after  # type: ignore[union-attr]
                if key is None:
                    self.halted = "the records have no key: the table needs a primary key (or message.key.columns)"
                    break
                if len(key) > 1 and not self.wider and self.rule.key:
                    self.wider = tuple(key)
                if after is None:
                    self._delete(key, partition, changed)
                    continue
                if (name := self._row(key, after, partition)) is not None:
                    changed[name] = None
            elif kind is Tombstone:
                key = item.key  # type: ignore[union-attr]
                if key is not None:
                    self._delete(key, partition, changed)
                else:
                    self.counts["keyless_tombstone"] += 1
            elif kind is Halt:
                self.halted = item.detail  # type: ignore[union-attr]
            elif kind is Unreadable:
                self.counts[item.reason] += 1  # type: ignore[union-attr]
                self.details.setdefault(item.reason, item.detail)  # type: ignore[union-attr]
            elif kind is Truncate:
                self.counts["truncate"] += 1
            else:
                assert kind is Skip  # noqa: S101  # the only other type
        return list(changed)

    def _row(self, key: dict[str, Any], after: Columns, partition: int) -> str | None:
        """What a row says now. Its key's text where that is new or other than before."""
        raw = after[self._key] if self._key >= 0 else _whole_key(key)
        if raw is UNAVAILABLE:
            raw = key.get(self.rule.key)
        text = key_text(raw)
        if text is None:
            self.counts["key"] += 1
            return None
        name = text.encode()
        data = self.values.get(name)
        before = _unpack(data) if data is not None else None
        row: list[bool | int | str | None] = [partition * _PARTITION]
        for place, at in enumerate(self._columns, 1):
            value = after[at]
            kind = type(value)
            if value is MISSING:
                self.halted = f"column {self.rule.columns[place - 1]} is missing"
                return None
            if value is UNAVAILABLE:
                # only what changed is in the event
                if before is None:
                    self.counts["unavailable_value"] += 1
                row.append(before[place] if before is not None else None)
            elif value is None or kind is bool or (kind is str and len(value) <= VALUE_CHARS_MAX):
                row.append(value)
            elif kind is int:
                row.append(value if -_INT_MAX <= value <= _INT_MAX else str(value))
            elif kind is str and self.rule.clips:
                row.append(value[:VALUE_CHARS_MAX])
            else:
                self.counts["value"] += 1
                row.append(None)
        if row == before:
            return None
        try:
            self.values[name] = _pack(row)
        except UnicodeEncodeError:
            self.counts["value"] += 1
            return None
        if before is None:
            return text
        was = before[0]
        assert type(was) is int  # noqa: S101  # as it was stored
        self._compare(was, partition)
        return text if was & _DELETED or row[1:] != before[1:] else None

    def _delete(self, key: dict[str, Any], partition: int, changed: dict[str, None]) -> None:
        """By the record's key alone: everything else of a delete may be made up, and so is a key of nothing."""
        text = key_text(key.get(self.rule.key) if self.rule.key else _whole_key(key))
        if text is None or text == "0":
            self.counts["delete_key"] += 1
            return
        name = text.encode()
        data = self.values.get(name)
        if data is None:
            return
        row = _unpack(data)
        flags = row[0]
        assert type(flags) is int  # noqa: S101  # as it was stored
        self._compare(flags, partition)
        if not flags & _DELETED:
            self.values[name] = _pack([flags | _DELETED, *row[1:]])
            if self.rule.tells_deletes:
                changed[text] = None

    def _compare(self, flags: int, partition: int) -> None:
        """A key in two partitions: their count was raised, or two rows share the key. The last that was read is believed."""
        if flags // _PARTITION != partition:
            self.counts["two_partitions"] += 1
