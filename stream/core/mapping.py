"""What a row says: which customer it puts into which segment, computed from one change's columns.

Two values are never believed: Debezium's stand-ins in `before` of a delete under REPLICA IDENTITY DEFAULT (0, "", the
epoch), and its placeholder for an unchanged TOAST value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from stream.core.model import MISSING, UNAVAILABLE, Change, Columns, Membership

SEGMENT_CODE: Final = re.compile(r"(?!\.+\Z)[A-Za-z0-9._-]{1,128}", re.ASCII)
IDENTITY_LENGTH_MAX: Final = 255
CODES_CACHED_MAX: Final = 100_000


class Refusal(msgspec.Struct, gc=False, frozen=True):
    """The row cannot say anything usable. reason is a short label value; detail is one line for people, without the value."""

    reason: str
    detail: str


class Partly(msgspec.Struct, gc=False, frozen=True):
    """Some mapped column is unchanged and its value not in the event: None stands for *as the row said before*."""

    segment: str | None
    member: Any
    present: bool | None


NOTHING: Final = "nothing"
"""A row that certainly said no membership."""

Says = Membership | None | Refusal | Partly


@dataclass(frozen=True, slots=True)
class Condition:
    """One column condition of the rule for when a row counts as present."""

    column: str
    test: Literal["in", "not_in"]
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class TableRule:
    """How one table's rows become memberships, in plain values.

    segment: a column, or literal text between columns (`("tier-", Column)` as `(("text","tier-"),("column","tier"))`).
    members: kind and column, in order of preference; kind is id (retail.red's), email, number or `ref:<name>` (the key of a
    reference). segment_reference: the reference that the one segment column is a key of; "" when it is the code.
    partitioned_by: none (one instance owns every partition), membership (the key holds what a row says), segment.
    """

    segment: tuple[tuple[Literal["text", "column"], str], ...]
    members: tuple[tuple[str, str], ...]
    present: tuple[Condition, ...] = ()
    replica_identity: Literal["default", "full"] = "default"
    partitioned_by: Literal["none", "membership", "segment"] = "none"
    segment_reference: str = ""

    def columns(self) -> tuple[str, ...]:
        """The mapped columns, each once, in a stable order."""
        names = [name for kind, name in self.segment if kind == "column"]
        names.extend(column for _, column in self.members)
        names.extend(condition.column for condition in self.present)
        return tuple(dict.fromkeys(names))

    @property
    def claims(self) -> bool:
        """Whether what a row says must be resolved first: by a look-up, or through a reference."""
        return bool(self.segment_reference) or tuple(kind for kind, _ in self.members) != ("id",)


def identity(value: Any) -> str | Refusal:
    """The retail.red customer id that a column's value means, or why it means none. Integers become decimal strings."""
    kind = type(value)
    if kind is int:
        return str(value) if value != 0 else Refusal("identity_fake", "the member column holds 0")
    if kind is not str:
        what = "null" if value is None else kind.__name__
        return Refusal("identity_null" if value is None else "identity_type", f"the member column holds {what}")
    if not value or value.isspace():
        return Refusal("identity_empty", "the member column is empty")
    if value in ("*", "0"):
        return Refusal("identity_fake", f"the member column holds {value!r}")
    if len(value) > IDENTITY_LENGTH_MAX:
        return Refusal(
            "identity_long", f"the member column holds {len(value)} characters, at most {IDENTITY_LENGTH_MAX}"
        )
    if not value.isprintable() or value != value.strip():
        return Refusal("identity_unprintable", "the member column holds control characters or surrounding spaces")
    if value.startswith("1970-01-01T00:00:00"):
        return Refusal("identity_fake", "the member column holds the epoch, Debezium's stand-in for an unknown time")
    return str(value)


def code_part(value: Any) -> str | Refusal:
    """A segment's code, a part of one, or the key of a segment in its reference, as text; or why the value is none."""
    kind = type(value)
    if kind is int:
        return str(value) if value != 0 else Refusal("segment_fake", "a segment column holds 0")
    if kind is str:
        return str(value) if value else Refusal("segment_empty", "a segment column is empty")
    return Refusal(
        "segment_null" if value is None else "segment_type", "a segment column is null or no string or integer"
    )


class RowMapping:
    """A TableRule compiled against the order of its columns. Holds a bounded cache of checked segment codes, nothing else."""

    def __init__(self, rule: TableRule) -> None:
        self.rule = rule
        self.columns: Final = rule.columns()
        place = {name: i for i, name in enumerate(self.columns)}
        self._members: Final = tuple((kind, place[column]) for kind, column in rule.members)
        self._member = self._members[0][1]
        self._parts = tuple((kind, name, place.get(name, -1)) for kind, name in rule.segment)
        self._single = self._parts[0][2] if len(self._parts) == 1 and self._parts[0][0] == "column" else -1
        self._present = tuple(
            (place[c.column], frozenset((type(v) is bool, v) for v in c.values), c.test == "in") for c in rule.present
        )
        self._plain = self._single >= 0 and not rule.present
        self._codes: dict[Any, str | Refusal] = {}
        self._segment_columns = tuple(name for kind, name in rule.segment if kind == "column")
        self.key_columns: Final = frozenset((*self._segment_columns, *(column for _, column in rule.members)))
        fixed = {c.column for c in rule.present if c.test == "in" and len(c.values) == 1}
        self.key_columns_allowed: Final = self.key_columns | fixed
        """What a key may hold where it is to name one membership: any other column could put two rows of it apart."""

    def says(self, change: Change) -> Any:
        """What the row says after a c, r or u: a Says, or a claims.Said.

        Unchanged TOAST values come from `before` where that is to be believed.
        """
        after = change.after
        if after is None:
            return Refusal("after_null", f"op {change.op} carries no after")
        if self._plain:
            # most tables are like this, and most of their rows; whatever is not goes the long way
            raw, value = after[self._single], after[self._member]
            if type(raw) is str and type(value) is int and value:
                code = self._codes.get(raw)
                if type(code) is str:
                    return (code, str(value))
        if UNAVAILABLE in after:
            return self._says_partly(after, change.before)
        return self._of(after)

    def _absent(self, columns: Columns) -> Refusal | Literal["absent"] | None:
        """Whether the row does not count, as far as the event tells; None when it does."""
        for place, values, wanted in self._present:
            value = columns[place]
            try:
                # Python's True equals 1; a boolean column and a number are different things
                if (
                    value is not UNAVAILABLE
                    and value is not MISSING
                    and ((type(value) is bool, value) in values) is not wanted
                ):
                    return "absent"
            except TypeError:
                return Refusal("present_type", f"column {self.columns[place]} holds no plain value")
        return None

    def _of(self, columns: Columns) -> Any:
        if self._present:
            absent = self._absent(columns)
            if absent is not None:
                return absent if type(absent) is Refusal else None
        segment = self._segment_said(columns)
        if type(segment) is Refusal:
            return segment
        member = self._member_said(columns)
        if type(member) is Refusal:
            return member
        return self._made(segment, member)

    # what a row says is put together here; claims.py names the segment and the customer otherwise

    def _segment_said(self, columns: Columns) -> Any:
        return self._segment(columns)

    def _member_said(self, columns: Columns) -> Any:
        return identity(columns[self._member])

    def _made(self, segment: Any, member: Any) -> Any:
        return (segment, member)

    def _segment(self, columns: Columns) -> str | Refusal:
        raw = columns[self._single] if self._single >= 0 else tuple([columns[i] for _, _, i in self._parts if i >= 0])
        # bool is an int that compares equal to 0 or 1: keep it out of the cache's keys
        if type(raw) is str or type(raw) is int:
            found = self._codes.get(raw)
            if found is not None:
                return found
        return self._checked(columns, raw)

    def _checked(self, columns: Columns, raw: Any) -> str | Refusal:
        text = ""
        for kind, name, place in self._parts:
            if kind == "text":
                text += name
                continue
            part = code_part(columns[place])
            if type(part) is Refusal:
                return part
            text += str(part)
        code: str | Refusal = text
        if SEGMENT_CODE.fullmatch(text) is None:
            code = Refusal(
                "segment_code", "the segment code has characters that a URL's path must not carry, or is too long"
            )
        if type(raw) is str or type(raw) is int:
            if len(self._codes) >= CODES_CACHED_MAX:
                self._codes.clear()
            self._codes[raw] = code
        return code

    def _says_partly(self, after: Columns, before: Columns | None) -> Any:
        if before is not None and self.rule.replica_identity == "full":
            after = tuple(
                [b if a is UNAVAILABLE and b is not MISSING else a for a, b in zip(after, before, strict=True)]
            )
            if UNAVAILABLE not in after:
                return self._of(after)
        untold = any(after[place] is UNAVAILABLE for place, _, _ in self._present)
        absent = self._absent(after)
        if absent is not None:
            return absent if type(absent) is Refusal else None
        segment = self._partly(after, [i for _, _, i in self._parts if i >= 0], self._segment_said)
        if type(segment) is Refusal:
            return segment
        member = self._partly(after, [place for _, place in self._members], self._member_said)
        if type(member) is Refusal:
            return member
        return Partly(segment, member, None if untold else True)

    def _partly(self, after: Columns, places: list[int], said: Callable[[Columns], Any]) -> Any:
        """What these columns say; None when all of them are unchanged and not in the event."""
        unknown = [after[place] is UNAVAILABLE for place in places]
        if not any(unknown):
            return said(after)
        return (
            None if all(unknown) else Refusal("unavailable_value", "only some of the mapped columns are in the event")
        )

    def certain(self, key: Mapping[str, Any] | None, before: Columns | None) -> Any:
        """What a row that was never seen has said for certain, from its key, or from a complete `before`.

        NOTHING where its key alone shows that it never counted; None where nothing is certain: Debezium's stand-ins make an
        identity uncertain, and so does every `before` unless the operator declared FULL. A row that did not count in the end
        may have counted before, and an earlier life may have told so.
        """
        named = tuple([key.get(name, MISSING) for name in self.columns]) if key is not None else ()
        if named and self._absent(named) == "absent":
            return NOTHING
        if key is not None and all(name in key for name in self.key_columns):
            columns = named
        elif before is not None and self.rule.replica_identity == "full":
            columns = before
        else:
            return None
        segment, member = self._segment_said(columns), self._member_said(columns)
        if isinstance(segment, Refusal) or isinstance(member, Refusal):
            return None
        return self._made(segment, member)

    def key_breaks_claim(self, key: Mapping[str, Any], after: Columns | None) -> str:
        """Why this key contradicts the claimed case of ownership; empty when it does not. One line for people."""
        names: Sequence[str]
        if self.rule.partitioned_by == "membership":
            names = sorted(self.key_columns)
        elif self.rule.partitioned_by == "segment":
            names = self._segment_columns
        else:
            return ""
        for name in names:
            if name not in key:
                return f"the record key has no column {name}, though partitioned_by: {self.rule.partitioned_by} is set"
            if after is not None:
                value = after[self.columns.index(name)]
                if value is not UNAVAILABLE and value != key[name]:
                    return f"the record key's {name} differs from the row's: the table needs REPLICA IDENTITY FULL"
        if self.rule.partitioned_by == "membership" and len(key) > len(names):
            for name in key:
                if name not in self.key_columns_allowed:
                    return (
                        f"the record key also has column {name}: two rows of one membership could be in two partitions; "
                        "set partitioned_by: none and run one instance"
                    )
        return ""
