"""Taking partitions over: their stored rows, the group's offsets, and where to begin when there are none.

Nothing is guessed: offsets without their state, state without its offsets, state of another topic or of another mapping, and an
offset that is gone each stop with the command that resolves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from stream.core.effects import Restored
from stream.core.model import TopicPartition
from stream.core.rowstate import META_KEY, VERSION, PartitionState, decode_metadata, decode_partition, encode
from stream.edge.kafka import Position, Source
from stream.edge.state import Restoration, Topics, state_topic
from stream.errors import DataError, SettingsError

RAISED: Final = "was raised from {} to {} partitions: rows whose key changed partition left their state behind"
ANEW: Final = "delete its state topic and the group's offsets of it, and start anew with `start: beginning`"

Start = Literal["beginning", "end"] | datetime | None


class Takeover:
    """Restores some partitions, step by step, so that polling goes on meanwhile."""

    def __init__(
        self,
        source: Source,
        topics: Topics,
        properties: Mapping[str, Any],
        group: str,
        start: Start,
        *,
        fingerprint: Callable[[str], str],
        remember: bool = True,
    ) -> None:
        self._source: Final = source
        self._topics: Final = topics
        self._properties: Final = properties
        self._group: Final = group
        self._start: Final = start
        self._fingerprint: Final = fingerprint
        self._remember: Final = remember
        self._tps: list[TopicPartition] = []
        self._committed: dict[TopicPartition, Position] = {}
        self._reading: Restoration | None = None
        self._counts: dict[str, int] = {}
        self._ids: dict[str, str] = {}

    @property
    def busy(self) -> bool:
        return bool(self._tps)

    @property
    def reading(self) -> MutableMapping[TopicPartition, MutableMapping[bytes, bytes]]:
        """The rows that were read so far; whoever finds them too many may put another mapping in a place."""
        return self._reading.rows if self._reading is not None else {}

    def begin(self, tps: Sequence[TopicPartition]) -> None:
        """Start on these; they are added to those under way, which are read anew."""
        self.cancel()
        self._tps = list(dict.fromkeys([*self._tps, *tps]))
        self._counts = self._source.partition_counts()
        names = sorted({tp.topic for tp in self._tps})
        self._ids = self._topics.ids(names)
        written = {
            name
            for name in names
            if self._remember
            and self._topics.ensure(state_topic(self._group, name), self._counts.get(name, 0), self._counts)
        }
        # stable offsets first, then the state up to its end: a transaction between the two is waited for
        self._committed = self._source.committed(self._tps)
        known = [tp for tp in self._tps if tp.topic in written]
        self._reading = Restoration(self._properties, self._group, known) if known else None

    def cancel(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def forget(self, tps: Sequence[TopicPartition]) -> None:
        """These went away again before they were restored."""
        self._tps = [tp for tp in self._tps if tp not in set(tps)]
        if not self._tps:
            self.cancel()

    def step(self, wait_s: float) -> list[Restored]:
        """Read on; everything at once when it is there, else nothing yet. Raises DataError, SettingsError, Unavailable."""
        if not self._tps:
            return []
        if self._reading is not None and not self._reading.step(wait_s):
            return []
        rows = self.reading
        self.cancel()
        tps, self._tps = self._tps, []
        found = [self._judge(tp, rows.get(tp, {})) for tp in tps]
        return [r._replace(epoch=self._source.begin(r.tp, r.position)) for r in found]

    def _judge(self, tp: TopicPartition, rows: MutableMapping[bytes, bytes]) -> Restored:
        meta = rows.pop(META_KEY, None)
        committed = self._committed.get(tp)
        count = self._counts.get(tp.topic, 0)
        own = PartitionState(VERSION, self._ids.get(tp.topic, ""), self._fingerprint(tp.topic), count)
        name = f"{tp.topic}[{tp.partition}]"
        reset = (
            f"to begin anew: delete topic {state_topic(self._group, tp.topic)}, "
            f"kafka-consumer-groups --group {self._group} --topic {tp.topic} --delete-offsets, and set start: beginning"
        )
        if committed is None:
            if meta is not None:
                raise DataError(
                    f"{name}: row state is there, but the group has no committed offset (expired?)", advice=reset
                )
            return self._first(tp, rows, own, count)
        low, high = self._source.watermarks(tp)
        if self._remember and meta is None:
            raise DataError(f"{name}: the group has a committed offset, but its row state is gone", advice=reset)
        if meta is not None:
            self._compare(name, decode_partition(meta), own, reset)
        if committed.offset < low:
            raise DataError(
                f"{name}: committed offset {committed.offset} is gone, the oldest is {low}: events were missed",
                advice=reset,
            )
        if committed.offset > high:
            raise DataError(
                f"{name}: committed offset {committed.offset} lies beyond the end {high}: was the topic recreated?",
                advice=reset,
            )
        return Restored(tp, 0, rows, committed.offset, committed.metadata, fresh=False, partitions=count, end=high)

    def _compare(self, name: str, stored: PartitionState, own: PartitionState, reset: str) -> None:
        if stored.topic_id and own.topic_id and stored.topic_id != own.topic_id:
            raise DataError(f"{name}: the topic was recreated, the row state belongs to its predecessor", advice=reset)
        if stored.partitions and stored.partitions != own.partitions:
            raise DataError(f"{name}: the topic {RAISED.format(stored.partitions, own.partitions)}", advice=ANEW)
        if stored.fingerprint != own.fingerprint:
            raise DataError(
                f"{name}: the table's settings (or the hash secret) changed what a row says; the stored rows said otherwise",
                advice=f"undo the change, or {reset}",
            )

    def _first(
        self, tp: TopicPartition, rows: MutableMapping[bytes, bytes], own: PartitionState, count: int
    ) -> Restored:
        low, high = self._source.watermarks(tp)
        meta = encode(own)
        siblings = self._source.committed([TopicPartition(tp.topic, p) for p in range(count)])
        started = [m.partitions for p in siblings.values() if (m := decode_metadata(p.metadata)) is not None]
        if started and tp.partition >= max(started):
            raise DataError(f"{tp.topic}: {RAISED.format(max(started), count)}", advice=ANEW)
        if self._start is None:
            raise SettingsError(
                f"start is not set, and group {self._group} has no offset for {tp.topic}[{tp.partition}]",
                advice="set `start: beginning` (or end, or a time) for the first start",
            )
        if self._start == "beginning":
            return Restored(tp, 0, rows, low, "", fresh=True, fold_to=high, meta=meta, partitions=count)
        position = high
        if isinstance(self._start, datetime):
            at = self._source.at_time([tp], int(self._start.timestamp() * 1000))[tp]
            position = at if at >= 0 else high
        return Restored(tp, 0, rows, position, "", fresh=True, meta=meta, partitions=count)
