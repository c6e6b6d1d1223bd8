"""Whether a partition is really read from where it was told to be.

The client answers a seek before it has done it, and another wish for the same partition that is still on its way may win: then the
records between the two would be missed, in silence. So the first thing that comes must stand where reading began. What stands
later may be right, too (the offsets between are compacted away, or transaction markers): then asking again brings it again.
"""

from __future__ import annotations

from stream.core.model import TopicPartition


class Beginnings:
    """Where partitions were told to begin, until the first thing that came proved it."""

    def __init__(self) -> None:
        self._wanted: dict[TopicPartition, int] = {}
        self._seen: dict[TopicPartition, int] = {}

    def begin(self, tp: TopicPartition, offset: int) -> None:
        self._wanted[tp] = offset
        self._seen.pop(tp, None)

    def forget(self, tp: TopicPartition) -> None:
        self._wanted.pop(tp, None)
        self._seen.pop(tp, None)

    def doubted(self, tp: TopicPartition, offset: int) -> int | None:
        """Where to begin again when a record, or the end, at this offset is not to be believed yet; None when it is."""
        wanted = self._wanted.get(tp)
        if wanted is None or offset < wanted:
            return None  # proven, or from before the seek: what is behind the position changes nothing
        if offset in (wanted, self._seen.get(tp)):
            self.forget(tp)
            return None
        self._seen[tp] = offset
        return wanted
