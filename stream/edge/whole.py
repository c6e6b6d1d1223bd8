"""Topics that every instance reads whole: all partitions, from the beginning, outside the group, kept current.

What the records mean is up to the topic's feed. No offset is ever committed, so nothing of this can disturb the group. One thread
calls it, and nothing here waits for the broker.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final, Protocol

import confluent_kafka as ck

from stream.core.model import Slice, TopicPartition
from stream.edge.ends import Ends
from stream.edge.slices import sliced
from stream.edge.state import reader_properties
from stream.edge.trouble import refused
from stream.errors import Unavailable

PIECE: Final = 500
"""Records taken at once: the budget is looked at between pieces."""
FETCHED_KBYTES_MAX: Final = 16_384
"""What the client fetches ahead, unless the settings say otherwise: its own default is four times that."""

_GONE: Final = (ck.KafkaError._AUTO_OFFSET_RESET, ck.KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001 - the client's own name


class Feed(Protocol):
    """Who takes a topic's records."""

    def feed(self, taken: Slice) -> None:
        """These come next in their partition."""

    def waiting(self) -> Iterable[TopicPartition]:
        """Partitions of which nothing more can be taken now."""

    def anew(self, topic: str, partitions: Iterable[TopicPartition]) -> None:
        """The topic was recreated: what was taken of it is not true any more, and it comes from its beginning."""


class _Topic:
    """How far one topic is read. positions: the next offset of each partition; done: those read to the end of the start."""

    __slots__ = ("count", "done", "feed", "id", "missing", "positions", "stopped", "trouble")

    def __init__(self, feed: Feed) -> None:
        self.feed: Final = feed
        self.count = 0
        self.id = ""
        self.missing = True
        self.stopped = ""
        self.trouble = ""
        self.positions: dict[TopicPartition, int] = {}
        self.done: set[TopicPartition] = set()


class WholeTopics:
    """Reads some topics whole. Raises SettingsError for properties that the client does not take.

    group: a name that the client wants; it is never joined. optional: topics that need not be there. log(kind, text) is for
    people, now() in seconds.
    """

    def __init__(
        self,
        properties: Mapping[str, Any],
        group: str,
        feeds: Mapping[str, Feed],
        *,
        optional: Collection[str] = (),
        log: Callable[[str, str], None],
        now: Callable[[], float],
    ) -> None:
        self._log: Final = log
        self._now: Final = now
        self._topics: Final = {name: _Topic(feed) for name, feed in feeds.items()}
        self._optional: Final = frozenset(optional)
        self._epochs: dict[TopicPartition, int] = {}
        self._epoch: Final = itertools.count(1)
        self._paused: set[TopicPartition] = set()
        self._failure: Unavailable | None = None
        self._gone: dict[str, str] = {}
        self.full = False
        """Whether the last step left records behind: the next one need not wait."""
        try:
            self._consumer: Final = ck.Consumer(
                {
                    "queued.max.messages.kbytes": FETCHED_KBYTES_MAX,
                    **reader_properties(properties, group),
                    "auto.offset.reset": "error",
                    "error_cb": self._on_error,
                }
            )
        except ck.KafkaException as error:
            raise refused(error) from error
        self._ends: Final = Ends(properties)

    # ---- what there is -------------------------------------------------------------------------------------------

    def check(self, counts: Mapping[str, int], ids: Mapping[str, str]) -> None:
        """The cluster's topics with their partition counts, and ids where they are known: begin, widen, or begin anew.

        Raises Unavailable when the client cannot go on.
        """
        for name, topic in self._topics.items():
            count, found = counts.get(name, 0), ids.get(name, "")
            if not count:
                self._say_missing(name, topic, counts)
                continue
            same = topic.id == found if topic.id and found else not (topic.missing and topic.count)
            if topic.missing:
                topic.missing, topic.trouble = False, ""
            topic.id = found or topic.id
            if not same or count < topic.count:
                self._anew(name, "it was recreated")
            if count > topic.count and not topic.stopped:
                self._begin(name, range(topic.count, count))
                topic.count = count

    def _say_missing(self, name: str, topic: _Topic, counts: Mapping[str, int]) -> None:
        if topic.missing and topic.trouble:
            return
        topic.missing = True
        if name in self._optional:
            return
        near = get_close_matches(name, list(counts), n=3)
        topic.trouble = "the topic does not exist, or may not be described"
        self._log("topics", f"{name}: {topic.trouble}: waiting for it{f'; there are {near}' if near else ''}")

    def _begin(self, name: str, numbers: Iterable[int]) -> None:
        tps = [TopicPartition(name, number) for number in numbers]
        self._epochs.update(dict.fromkeys(tps, next(self._epoch)))
        self._topics[name].trouble = ""
        self._call(self._consumer.incremental_assign, [ck.TopicPartition(*tp, ck.OFFSET_BEGINNING) for tp in tps])

    def _leave(self, name: str) -> None:
        tps = [tp for tp in self._epochs if tp.topic == name]
        paused = [tp for tp in tps if tp in self._paused]
        if paused:
            # a pause survives the leaving
            self._call(self._consumer.resume, [ck.TopicPartition(*tp) for tp in paused])
            self._paused.difference_update(paused)
        if tps:
            self._call(self._consumer.incremental_unassign, [ck.TopicPartition(*tp) for tp in tps])
        for tp in tps:
            del self._epochs[tp]

    def _anew(self, name: str, why: str) -> None:
        self._log("topics", f"{name}: {why}: it is read anew, from the beginning")
        topic = self._topics[name]
        tps = [TopicPartition(name, number) for number in range(topic.count)]
        self._leave(name)
        topic.stopped = ""
        topic.positions.clear()
        topic.done.clear()
        self._ends.forget(tps)
        topic.feed.anew(name, tps)
        topic.count = 0

    def stop(self, name: str, why: str) -> None:
        """Read this topic no further: its feed cannot go on. Only its recreation makes it read again."""
        self._leave(name)
        self._topics[name].stopped = why

    # ---- records -------------------------------------------------------------------------------------------------

    def step(self, records_max: int, budget_s: float) -> int:
        """Give what is there to the feeds: at most so many records, for about so long. Returns how many they were.

        Raises Unavailable when the client cannot go on.
        """
        self._flow()
        deadline_s = self._now() + budget_s
        taken = 0
        self.full = True
        while taken < records_max and self._now() < deadline_s:
            wanted = min(PIECE, records_max - taken)
            messages = self._consumer.consume(wanted, 0)
            for one in sliced(messages, self._epochs, self._event):
                taken += len(one.offsets)
                self._give(one)
            self._restart()
            if len(messages) < wanted:
                self.full = False
                break
        if self._failure is not None:
            raise self._failure
        self._ends.look(self._epochs, self._now())
        return taken

    def _give(self, one: Slice) -> None:
        tp = one.tp
        if self._epochs.get(tp) != one.epoch:
            return  # its feed stopped the topic at a record before
        topic = self._topics[tp.topic]
        topic.trouble = ""
        topic.positions[tp] = one.offsets[-1] + 1
        topic.feed.feed(one)

    def _event(self, message: Any, error: ck.KafkaError) -> None:
        code, name = error.code(), message.topic()
        topic = self._topics.get(name) if name is not None else None
        tp = TopicPartition(name, message.partition())
        if code == ck.KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own name
            if topic is not None and tp in self._epochs:
                topic.trouble = ""
                topic.positions[tp] = max(message.offset(), topic.positions.get(tp, 0))
                topic.done.add(tp)
        elif error.fatal():
            self._failure = self._failure or Unavailable(f"Kafka client: {error.str()}")
        elif code in _GONE and topic is not None:
            if tp in self._epochs:
                self._gone[name] = f"the offset of partition {tp.partition} is gone"
        else:
            if topic is not None:
                topic.trouble = str(error.str())
            self._log("kafka", str(error.str()))

    def _restart(self) -> None:
        """Not inside the sorting of what was taken: that begins and ends epochs."""
        for name, why in self._gone.items():
            topic = self._topics[name]
            if not topic.stopped:
                count = topic.count
                self._anew(name, why)
                self._begin(name, range(count))
                topic.count = count
        self._gone.clear()

    def _flow(self) -> None:
        """Pause what its feed cannot take, and let go what was paused."""
        held = {tp for topic in self._topics.values() for tp in topic.feed.waiting() if tp in self._epochs}
        pause, resume = held - self._paused, self._paused - held
        if pause:
            self._call(self._consumer.pause, [ck.TopicPartition(*tp) for tp in pause])
        if resume:
            self._call(self._consumer.resume, [ck.TopicPartition(*tp) for tp in resume])
        self._paused = held

    # ---- how far it is -------------------------------------------------------------------------------------------

    def ready(self, name: str) -> bool:
        """Whether every partition was read to the end that it had when it was begun."""
        return not self.why(name)

    def why(self, name: str) -> str:
        """Why this topic is not ready, as one line; empty when it is."""
        topic = self._topics[name]
        if topic.stopped:
            return topic.stopped
        if topic.missing:
            return topic.trouble or "the topic was not looked for yet"
        self._reach(topic)
        left = topic.count - len(topic.done)
        if left or any(tp.topic == name for tp in topic.feed.waiting()):
            lag = self.lag(name)
            return topic.trouble or f"reads{'' if lag is None else f', {lag} records to go'}"
        return ""

    def _reach(self, topic: _Topic) -> None:
        # an end is told only once nothing comes any more: where records never stop, the end that was asked for counts
        for tp, position in topic.positions.items():
            if tp not in topic.done and position >= self._ends.known.get(tp, 1 << 62):
                topic.done.add(tp)

    def lag(self, name: str) -> int | None:
        """Records between what was read and the ends, some seconds old; None until every partition's are known."""
        topic = self._topics[name]
        if not topic.count or len(topic.positions) < topic.count:
            return None
        ends = self._ends.known
        if any(tp not in ends for tp in topic.positions):
            return None
        return sum(max(0, ends[tp] - position) for tp, position in topic.positions.items())

    # ---- the client ----------------------------------------------------------------------------------------------

    def _on_error(self, error: ck.KafkaError) -> None:
        if error.fatal():
            self._failure = self._failure or Unavailable(f"Kafka client: {error.str()}")
        else:
            self._log("kafka", str(error.str()))

    def _call(self, step: Callable[[list[ck.TopicPartition]], object], parts: list[ck.TopicPartition]) -> None:
        try:
            step(parts)
        except ck.KafkaException as error:
            raise Unavailable(f"Kafka assignment: {error.args[0].str()}") from error

    def close(self) -> None:
        self._consumer.close()
