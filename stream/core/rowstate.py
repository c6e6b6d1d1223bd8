"""The durable form of a row: one JSON object a row in the state topic, keyed by the keyed hash of the row key.

    {"v":1,"segment":"gold","member":"c-17","told":"present","offset":4711,"at_ms":1795417124337}

schemas/row-state.schema.json describes it; a row that is absent from the topic says nothing and is owed nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from stream.core.model import Claim
from stream.errors import DataError

VERSION: Final = 1
META_KEY: Final = b"\x00partition"
"""The key of the one record of a state partition that is about the partition: never 16 bytes long, as row keys are."""

ROW_KEY_BYTES: Final = 16


class StateUnreadable(DataError, ValueError):
    """Stored state of a form that this program does not know: it ends the program with one line, not as a bug."""

    def __init__(self, message: str) -> None:
        super().__init__(message, advice="run the version of segstream that wrote it, or a newer one")


class RowState(msgspec.Struct, gc=False, omit_defaults=True):
    """One row as it is stored.

    segment, member: the membership it says; both null when it says none. told: of that membership, present or unknown.
    others: memberships that it said earlier and whose end was not confirmed: [segment, member, present|unknown].
    offset: of the newest event folded into it. at_ms: that event's Kafka timestamp, from which forgetting counts.
    pending: why it waits without holding an offset; null when it does not.
    claim: what the row says, where it names the customer or the segment by something else: [segment, [terms]]. formers: what a
    row that was never seen here said before, as its event tells: kept until a look-up answers. waits: why a claim is not
    resolved; null when it is. via: a short hash of what the claim's references held when it was resolved.
    """

    v: int
    segment: str | None = None
    member: str | None = None
    told: str | None = None
    others: list[tuple[str, str, str]] = []  # msgspec copies a default list
    offset: int = -1
    at_ms: int = 0
    pending: str | None = None
    claim: Claim | None = None
    formers: list[Claim] = []
    waits: str | None = None
    via: str | None = None


class PartitionState(msgspec.Struct, gc=False, omit_defaults=True):
    """The record under META_KEY: what the state of this partition belongs to. A mismatch is never mixed, always said."""

    v: int
    topic_id: str = ""
    fingerprint: str = ""
    partitions: int = 0


class OffsetMetadata(msgspec.Struct, gc=False, omit_defaults=True):
    """What travels in the metadata of a committed offset (at most 4,096 bytes there).

    clean: the owner left with nothing queued, in flight or settling. position: the highest streamed source position seen.
    fold_to: nothing is sent before the fold has reached this offset (first start). partitions: the topic's count at first start.
    """

    # the version must be written: a default equal to it would be left out
    v: int = 0
    clean: bool = False
    position: str | None = None
    fold_to: int = 0
    partitions: int = 0


_encode = msgspec.json.Encoder().encode
_row = msgspec.json.Decoder(RowState).decode
_partition = msgspec.json.Decoder(PartitionState).decode
_metadata = msgspec.json.Decoder(OffsetMetadata).decode


def encode(state: RowState | PartitionState | OffsetMetadata) -> bytes:
    return _encode(state)


State = TypeVar("State", RowState, PartitionState)


def _decoded(data: bytes, decode: Callable[[bytes], State], what: str) -> State:
    try:
        state = decode(data)
    except msgspec.MsgspecError as error:
        raise StateUnreadable(f"no {what} state: {error}") from error
    if state.v != VERSION:
        raise StateUnreadable(f"{what} state of version {state.v}, this program reads version {VERSION}")
    return state


def decode_row(data: bytes) -> RowState:
    """Raises ValueError when the bytes are no row state of a version that this program knows."""
    return _decoded(data, _row, "row")


def decode_partition(data: bytes) -> PartitionState:
    """Raises ValueError like decode_row."""
    return _decoded(data, _partition, "partition")


def decode_metadata(text: str | None) -> OffsetMetadata | None:
    """The metadata of a committed offset; None when it is absent or somebody else's (an operator's reset, for example)."""
    if not text:
        return None
    try:
        metadata = _metadata(text)
    except msgspec.MsgspecError:
        return None
    return metadata if metadata.v == VERSION else None


def row_key_hash(canonical: bytes, secret: bytes) -> bytes:
    """The row's key in memory and in the state topic: 16 bytes from which the source's key cannot be read back."""
    return hashlib.blake2b(canonical, digest_size=ROW_KEY_BYTES, key=secret).digest()


def fingerprint(parts: Any, secret: bytes) -> str:
    """A short fingerprint of what decides what a row says, and of the hash secret."""
    return hashlib.blake2b(_encode(parts), digest_size=8, key=secret).hexdigest()
