"""What the row table is made of: rows, standings and partitions, and how a row is stored.

A *row* says at most one membership. A *standing* is the working state of one membership: how many rows say it, and which rows
have an entry about it that is not confirmed. Rows and standings exist as objects only while something about them is open; at rest
a row is the bytes that the state topic holds, and a standing is a count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from stream.core.ledger import Ledger
from stream.core.model import Claim, Membership, Op, TopicPartition
from stream.core.rowstate import VERSION, RowState, decode_row, encode

if TYPE_CHECKING:
    from stream.core.table import RowTable

PRESENT: Final = "present"
UNKNOWN: Final = "unknown"

SEGMENT_MISSING: Final = "segment_missing"
SEGMENT_DELETED: Final = "segment_deleted"
"""Why a row is pending: retail.red has no such segment, and never had as far as is known; or it had, and somebody deleted it there.
A process that starts knows the second by its rows alone."""
SEGMENT_DYNAMIC: Final = "segment_dynamic"
"""Its segment is dynamic at retail.red: its members follow from rules, and nobody may add any."""

PUT_OFF: Final = "put_off"
"""Why a membership is pending: it is owed and stored, and waits for room, or for its segment to answer."""

# where a standing is: the one thing that may happen to it next
IDLE, QUEUED, FLIGHT, SETTLING, WAITING, HELD, AHEAD = range(7)

Event = tuple[int, int, int, int, object]
"""What a fold keeps of a record: offset, Kafka timestamp (ms), source time (ms, negative for a snapshot), bytes, origin."""

RowRef = tuple["Part", bytes]
Count = int | tuple[int, tuple[RowRef, ...]]
"""A standing at rest: how many rows say it, and the stored rows whose entry about it is not `says it and present`."""


class Row(msgspec.Struct, gc=False, eq=False):
    """A row being worked on.

    told: each membership it says or said whose end is not confirmed, to present or unknown. first: the offset that it holds, -1 for
    none. pins: standings that list it; at 0 it is at rest and is stored as it is. ts_ms: the source's time of its newest event,
    negative for one of a snapshot.
    claim, formers, waits, via: as stored. asking: it is pinned until its first look-up was answered.
    """

    key: bytes
    part: Part
    says: Membership | None
    told: dict[Membership, str]
    offset: int
    at_ms: int
    first: int = -1
    pins: int = 0
    listed: bool = False
    pending: str | None = None
    origin: Any = None
    origin_bytes: int = 0
    ts_ms: int = 0
    claim: Claim | None = None
    formers: list[Claim] = []
    waits: str | None = None
    via: str | None = None
    asking: bool = False

    @property
    def empty(self) -> bool:
        """Whether it says nothing and nothing is owed about it: it may be forgotten."""
        return self.says is None and not self.told and self.claim is None and not self.formers


class Standing(msgspec.Struct, gc=False, eq=False):
    """The working state of one membership. gen counts the touches, so that a call settles only what it was made after.

    late_op, late_until_s: an attempt with unknown outcome that may still land until then; the opposite waits for it.
    """

    membership: Membership
    table: RowTable
    sayers: int
    refs: tuple[RowRef, ...]
    rows: list[Row]
    gen: int = 0
    where: int = IDLE
    attempts: int = 0
    late_op: Op | None = None
    late_until_s: float = 0.0

    @property
    def op(self) -> Op:
        """What retail.red is to be told, by level."""
        return "add" if self.sayers else "remove"


class Part:
    """One partition of a source topic: its stored rows, its working rows, its ledger and its assignment's facts."""

    __slots__ = (
        "absent",
        "acked",
        "carry",
        "doubt_until",
        "draining",
        "durable",
        "epoch",
        "fold_to",
        "ledger",
        "mark",
        "meta_record",
        "partitions",
        "quiet_until_s",
        "repeat_end_s",
        "repeat_since_s",
        "rows",
        "table",
        "tp",
        "working",
        "written",
    )

    def __init__(self, tp: TopicPartition, epoch: int, table: RowTable) -> None:
        self.tp: Final = tp
        self.epoch: Final = epoch
        self.table: Final = table
        self.rows: MutableMapping[bytes, bytes] = {}
        self.working: dict[bytes, Row] = {}
        self.ledger = Ledger(0)
        self.absent: deque[tuple[int, bytes]] = deque()
        self.carry: dict[bytes, bytes | None] = {}
        self.meta_record: bytes | None = None
        self.acked = False
        self.doubt_until = 0
        self.draining = False
        self.fold_to = 0
        self.partitions = 0
        self.mark: str | None = None
        self.quiet_until_s = 0.0
        self.repeat_since_s = -1.0
        self.repeat_end_s = -1.0
        self.written: tuple[int, str] | None = None
        self.durable: tuple[int, str] | None = None

    def row_at(self, key: bytes) -> Row | None:
        """The row, loaded from its stored form when it is at rest (and then not yet among the working rows)."""
        row = self.working.get(key)
        if row is None:
            data = self.rows.get(key)
            if data is not None:
                return load(self, key, data)
        return row


def load(part: Part, key: bytes, data: bytes) -> Row:
    """A stored row as an object. Raises ValueError for a form that this program does not know."""
    state = decode_row(data)
    told: dict[Membership, str] = {(segment, member): what for segment, member, what in state.others}
    says: Membership | None = None
    if state.segment is not None and state.member is not None:
        says = (state.segment, state.member)
        told[says] = state.told or UNKNOWN
    row = Row(key, part, says, told, state.offset, state.at_ms, pending=state.pending)
    if state.claim is not None or state.formers:
        row.claim, row.formers, row.waits, row.via = state.claim, state.formers, state.waits, state.via
    return row


def store_form(row: Row) -> bytes:
    """The bytes that are written to the state topic and kept at rest."""
    says, told = row.says, row.told
    if says is not None:
        state = RowState(VERSION, says[0], says[1], told.get(says), [], row.offset, row.at_ms, row.pending)
    else:
        state = RowState(VERSION, None, None, None, [], row.offset, row.at_ms, row.pending)
    if len(told) > (says in told):
        state.others = [(m[0], m[1], what) for m, what in told.items() if m != says]
    if row.claim is not None or row.formers:
        state.claim, state.formers, state.waits, state.via = row.claim, row.formers, row.waits, row.via
    return encode(state)
