"""What the engine asks the loop to do. Each is done by the loop alone and answered, where an answer is named, by a fact."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import NamedTuple

from stream.core.model import Call, Definition, Lookup, TopicPartition


class Restore(NamedTuple):
    """Read the state and the committed offsets of these partitions, seek there; answered by Engine.restored, one at a time."""

    tps: tuple[TopicPartition, ...]


class Send(NamedTuple):
    """Send this call; answered by Engine.settle. trigger: what made it due (size, age, idle, window, drain, split)."""

    call: Call
    trigger: str = "size"


class Ask(NamedTuple):
    """Ask the customer service; answered by Engine.looked_up."""

    lookup: Lookup


class Define(NamedTuple):
    """Make a segment be so at retail.red; answered by Engine.defined."""

    definition: Definition


class Write(NamedTuple):
    """One record of a state topic: the source's partition, the key, the value (None is a tombstone)."""

    tp: TopicPartition
    key: bytes
    value: bytes | None


class Commit(NamedTuple):
    """Write these states and commit these offsets (with their metadata) in one transaction; answered by Engine.committed.

    states: by the source's partition, the value of each key of its state topic; None is a tombstone.
    """

    number: int
    states: dict[TopicPartition, dict[bytes, bytes | None]]
    offsets: dict[TopicPartition, tuple[int, str]]

    @property
    def writes(self) -> Iterator[Write]:
        """Every record of it."""
        for tp, states in self.states.items():
            for key, value in states.items():
                yield Write(tp, key, value)


class Bury(NamedTuple):
    """Write a letter for the record at tp and offset; answered by Engine.buried once it is acknowledged.

    origin is the edge's handle of the record, None when the row was restored and the record is gone from memory.
    """

    token: int
    tp: TopicPartition
    offset: int
    reason: str
    detail: str
    origin: object


class Alarm(NamedTuple):
    """Something that a person must see. kind is a short fixed label, text one line."""

    kind: str
    text: str


Effect = Restore | Send | Ask | Define | Commit | Bury | Alarm


class Restored(NamedTuple):
    """What was found for one partition: stored rows by key, its meta record, and where the group stood.

    position: the committed offset, or the resolved start. metadata: of the committed offset, "" when there is none.
    fresh: the group never committed this partition. fold_to: on a fresh start, the end captured at start (0: act at once).
    epoch: the assignment epoch with which slices of it will be stamped. meta: to be written with the first
    commit, None when it is there.
    partitions: the topic's partition count. end: the topic's end at the take-over, up to which a predecessor may have acted.
    """

    tp: TopicPartition
    epoch: int
    rows: MutableMapping[bytes, bytes]
    position: int
    metadata: str
    fresh: bool
    fold_to: int = 0
    meta: bytes | None = None
    partitions: int = 0
    end: int = 0
