"""Which owner feeds which segment: a second one contradicts one owner for each membership."""

from __future__ import annotations

from typing import Final, NamedTuple

from stream.core.mapping import RowMapping
from stream.core.model import TopicPartition

SEGMENT_OWNERS_MAX: Final = 1_000_000

Owner = str | TopicPartition


class TableSpec(NamedTuple):
    """What the fold needs to know of one topic. sole: one instance must own all partitions of all such topics.

    unread: it says no memberships; it is consumed for its partitions alone, whose owner acts (the table of segments).
    """

    mapping: RowMapping
    sole: bool
    unread: bool = False


class Owners:
    """The memory of who fed each segment, bounded."""

    def __init__(self) -> None:
        self.known: Final[dict[str, Owner]] = {}

    @staticmethod
    def of(spec: TableSpec, tp: TopicPartition) -> Owner:
        """Who owns what this partition feeds."""
        if spec.mapping.rule.partitioned_by == "segment":
            return tp
        return "one owner" if spec.sole else tp.topic

    def claim(self, segment: str, owner: Owner) -> str:
        """Why this owner must not feed this segment; empty when it may."""
        known = self.known.get(segment)
        if known == owner:
            return ""
        if known is None:
            if len(self.known) >= SEGMENT_OWNERS_MAX:
                self.known.clear()
            self.known[segment] = owner
            return ""
        return (
            f"segment {segment} is fed by {_name(known)} and by {_name(owner)}: a membership must have one owner; "
            "set partitioned_by: none for the tables that share segments, and run one instance"
        )


def _name(owner: Owner) -> str:
    return owner if isinstance(owner, str) else f"{owner.topic}[{owner.partition}]"
