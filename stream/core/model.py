"""The nouns that travel the walk: what comes from Kafka, what a decoder makes of it, what is sent and answered.

Hot types are tuples or slotted structs that the cyclic garbage collector does not track;
one record must cost about a microsecond a step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

Op = Literal["add", "remove"]
Membership = tuple[str, str]
"""(segment code, retail.red customer id)."""


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Slice(NamedTuple):
    """Consecutive records of one partition, as columns of equal length, stamped with their assignment epoch.

    `headers(i)` parses the headers of record i when asked: most topics never need them.
    `origins[i]` is the edge's own handle of the record, from which a letter can be written; the core only carries it.
    """

    tp: TopicPartition
    epoch: int
    offsets: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    timestamps_ms: Sequence[int]
    origins: Sequence[object]
    headers: Callable[[int], Sequence[tuple[str, bytes | None]]]


class Missing:
    """The type of MISSING: the writer's schema (or the JSON object) has no such column."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


class Unavailable:
    """The type of UNAVAILABLE: Debezium's placeholder for an unchanged TOAST value. Means *unchanged*, never a value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNAVAILABLE"


MISSING: Final = Missing()
UNAVAILABLE: Final = Unavailable()

Columns = tuple[Any, ...]
"""Values of the mapped columns, in the order in which the decoder was given the columns.

Each is what the wire holds (str, int, bool, float, None, bytes for Avro bytes, or a container), MISSING or UNAVAILABLE.
"""


class Change(msgspec.Struct, gc=False, frozen=True):
    """A row change: one of Debezium's ops r, c, u, d (an unwrapped row is c, u, r by `__op`, else u; a rewritten delete is d).

    key: the decoded key, column to value, in the writer's field order; None when the topic is keyless.
    before/after: the mapped columns; None where the envelope holds null.
    ts_ms: `source.ts_ms`, the database's commit time in ms since the epoch; 0 when unknown.
    snapshot: whether the event is of a snapshot, incremental ones included (`source.snapshot` neither false nor absent).
    position: the raw `source.sequence` of a streamed PostgreSQL event, such as `["123","456"]`; None otherwise.
    """

    op: str
    key: dict[str, Any] | None
    before: Columns | None
    after: Columns | None
    ts_ms: int
    snapshot: bool
    position: str | None


class Tombstone(msgspec.Struct, gc=False, frozen=True):
    """A null value: a Kafka null, the four bytes `null`, a null payload, or an Avro null. Deletes the row by its key.

    key is None for the tombstone of a keyless table (ignored and counted).
    """

    key: dict[str, Any] | None


class Truncate(msgspec.Struct, gc=False, frozen=True):
    """TRUNCATE of the whole table. Never executed live."""

    ts_ms: int


class Skip(msgspec.Struct, gc=False, frozen=True):
    """A record without meaning for rows (heartbeat, transaction, message, schema change, signal). Its offset still counts.

    reason is a metric's label value: heartbeat, transaction, message, schema_change, signal, notification.
    """

    reason: str
    ts_ms: int = 0


class Unreadable(msgspec.Struct, gc=False, frozen=True):
    """A record that alone cannot be read: it becomes a letter. reason is a short label value, detail one line for people."""

    reason: str
    detail: str


class Halt(msgspec.Struct, gc=False, frozen=True):
    """The topic cannot go on at this record: a mapped column is missing from its schema. The topic stops with an alarm."""

    reason: str
    detail: str


Decoded = Change | Tombstone | Truncate | Skip | Unreadable | Halt


class SchemaId(NamedTuple):
    """A schema to fetch. kind says in which of the registry's spaces the id lives."""

    kind: Literal["id", "guid", "global_id", "content_id"]
    value: int | str


class DecodedSlice(NamedTuple):
    """What a decoder made of a slice: one item a record, up to the first whose schema is not known yet.

    needs is that schema; the rest of the slice (from len(items)) is to be decoded again once it was fetched.
    """

    items: list[Decoded]
    needs: SchemaId | None


class Claim(msgspec.Struct, gc=False, frozen=True, array_like=True):
    """A segment and a customer as the source names them. Each term is a kind and a value.

    segment: `code:gold`, or `ref:segments:7` (the row 7 of the reference `segments`).
    terms: the customer, in order of preference: `id:c-1`, `number:10001`, `email:max@example.com`, `ref:customers:42`.
    """

    segment: str
    terms: tuple[str, ...]


class Call(msgspec.Struct, frozen=True):
    """One request to the members route of one segment: what to send, nothing about how.

    number identifies the call in its outcome. No member stands in it twice.
    """

    number: int
    op: Op
    segment: str
    members: tuple[str, ...]


class ItemError(msgspec.Struct, frozen=True):
    """One entry of `errors[]` in an answer, read leniently: any of these may be absent.

    code is the stringified `code`; index is `entityIndex`, entity_id is `entityId`.
    """

    code: str | None
    index: int | None
    entity_id: str | None
    message: str


OutcomeKind = Literal["answered", "refused", "unknown", "unsent"]
"""How a call ended.

answered: the server answered (any status, errors[] perhaps inside). refused: certainly not applied though no
answer was read (connection refused, name not resolved, TLS failure). unknown: the request was or may have been sent and no
answer was read (timeout, connection dropped): it may still land. unsent: the edge chose not to send (lease expired,
stopping, no token).
"""


class Outcome(msgspec.Struct, frozen=True):
    """How a call ended, as the sender saw it; the sender decides nothing.

    status: HTTP status, 0 unless answered. errors: of errors[]. retry_after_s: as stated by the answer, uncapped, None when absent.
    code/message: of a hard error body, or of the failure. at_s: monotonic time when it ended. duration_s: of the last attempt.
    """

    call: Call
    kind: OutcomeKind
    status: int
    errors: tuple[ItemError, ...]
    retry_after_s: float | None
    code: str
    message: str
    at_s: float
    duration_s: float


IdentityKind = Literal["email", "number"]
"""What a customer can be looked up by: `emailAddress`, or `externalCustomerNumber`."""


class Lookup(msgspec.Struct, frozen=True):
    """One question to the customer service: which registered customers have one of these values.

    number identifies the question in its outcome. values are as they are to stand in `$in`, each once.
    """

    number: int
    kind: IdentityKind
    values: tuple[str, ...]


class Customer(msgspec.Struct, frozen=True):
    """A customer as an answer has it, read leniently: whatever the answer lacks, or has in another type, is None."""

    id: str
    email: str | None
    number: str | None
    internal_number: int | None
    status: str | None
    anonymous: bool | None


class LookupOutcome(msgspec.Struct, frozen=True):
    """How a look-up ended; whoever sent it decides nothing.

    answered: customers are what came, unfiltered here; whole: every page of it was read. failed: nothing is known
    (reason is a short label: timeout, throttled, server_error, auth, refused, unreadable …). unsent: the edge chose not to
    ask (stopping, no token). status: HTTP status, 0 without an answer. retry_after_s: as stated, uncapped, None when absent.
    at_s: monotonic time of the end.
    """

    lookup: Lookup
    kind: Literal["answered", "failed", "unsent"]
    customers: tuple[Customer, ...]
    whole: bool
    status: int
    reason: str
    message: str
    retry_after_s: float | None
    at_s: float
    duration_s: float


class Definition(msgspec.Struct, frozen=True):
    """What one segment is to be at retail.red.

    look: whatever it is, it is only looked at.
    exist: there is a fixed segment of this code; created with this name when there is none, else left as it is.
    define: the same, and its name and description are these. deactivate: its status is inactive, if it exists.
    delete: it does not exist. A dynamic segment is never touched by any of them.
    description None: not known, left as it is. active: of define: its status is active, too. number identifies the question in
    its outcome.
    """

    number: int
    op: Literal["look", "exist", "define", "deactivate", "delete"]
    code: str
    name: str
    description: str | None = None
    active: bool = False


class DefinitionOutcome(msgspec.Struct, frozen=True):
    """How a definition ended.

    done: it is so now; reason says what it took (created, updated, unchanged, deactivated, deleted, absent, there).
    dynamic: the code belongs to a dynamic segment, nothing was done. refused: retail.red will never take it. failed: try
    again. unsent: not asked.
    """

    definition: Definition
    kind: Literal["done", "dynamic", "refused", "failed", "unsent"]
    status: int
    reason: str
    message: str
    retry_after_s: float | None
    at_s: float
    duration_s: float
