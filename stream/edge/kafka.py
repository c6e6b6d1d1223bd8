"""The one owner of the Kafka consumer: records in slices, assignments stamped with epochs, pauses, offsets.

One thread calls it. An exception that escaped a callback would lose the batch already taken, so callbacks catch everything and
the loop finds it in `failure`.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import confluent_kafka as ck

from stream.core.model import Slice, TopicPartition
from stream.edge.beginnings import Beginnings
from stream.edge.slices import sliced
from stream.edge.trouble import patiently, refused, trouble
from stream.errors import SegstreamError, Unavailable

CLOSE_S: Final = 4.0
COMMIT_TIMEOUT_S: Final = 5.0
TAKE_MAX: Final = 10_000
GATHER_S: Final = 0.005
"""After the first record, others may join it for so long: a turn of the loop costs too much to be made for each."""
CALL_TIMEOUT_S: Final = 15.0
FIRST_CALL_TIMEOUT_S: Final = 10.0
"""A person may be waiting for the first answer of all; whoever restarts this program may as well try again."""

_NOT_ACTIVE_YET: Final = (ck.KafkaError._STATE, ck.KafkaError._IN_PROGRESS)  # noqa: SLF001 - the client's own names

OWNED: Final[Mapping[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
}
"""Consumer properties that the program sets itself: the settings refuse them."""


class Listener(Protocol):
    """Who hears of rebalances, inside poll, on the loop's thread."""

    def on_assigned(self, tps: Sequence[TopicPartition]) -> None:
        """These partitions were added; they are paused."""

    def on_revoked(self, tps: Sequence[TopicPartition]) -> None:
        """These partitions are to be given back: drain and commit before returning."""

    def on_lost(self, tps: Sequence[TopicPartition]) -> None:
        """These partitions are somebody else's already: forget, never commit."""


class Taken(NamedTuple):
    """What one take brought. ends: partitions whose end was reached, to the offset there. gone: partitions whose offset is gone."""

    slices: list[Slice]
    records: int
    ends: list[tuple[TopicPartition, int]]
    gone: list[tuple[TopicPartition, str]]


class Position(NamedTuple):
    """A committed offset and its metadata."""

    offset: int
    metadata: str


def consumer_properties(properties: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The settings' librdkafka properties with those that the program owns."""
    merged = {"partition.assignment.strategy": "cooperative-sticky", **properties, **OWNED, **more}
    if merged.get("group.protocol") == "consumer":
        for name in ("partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"):
            merged.pop(name, None)
    return merged


class Source:
    """The consumer group's member. Raises Unavailable where the brokers do not answer, SettingsError for its properties."""

    def __init__(
        self,
        properties: Mapping[str, Any],
        topics: Sequence[str],
        listener: Listener,
        *,
        log: Callable[[str, str], None],
        now: Callable[[], float],
    ) -> None:
        self._listener: Final = listener
        self._log: Final = log
        self._now: Final = now
        self._epochs: dict[TopicPartition, int] = {}
        self._epoch = itertools.count(1)
        self._beginnings: Final = Beginnings()
        self._paused: set[TopicPartition] = set()
        self.assignment: set[TopicPartition] = set()
        self.failure: BaseException | None = None
        self._seen: list[ck.KafkaError] | None = None
        try:
            self._consumer: Final = ck.Consumer(
                {**consumer_properties(properties), "error_cb": self._on_error, "logger": _Silent(self._on_line)}
            )
        except ck.KafkaException as error:
            raise refused(error) from error
        self._topics: Final = list(topics)

    def reach(self) -> None:
        """The first call of all. Raises Unavailable or AuthError when no broker answers within some seconds."""
        self._seen = []
        try:
            self._consumer.list_topics(timeout=FIRST_CALL_TIMEOUT_S)
        except ck.KafkaException as error:
            self._consumer.poll(0)  # what the client has to report is handed out here only
            raise trouble("no broker answers", error.args[0], self._seen) from error
        finally:
            self._seen = None

    def subscribe(self) -> None:
        """Join the group."""
        self._consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    # ---- callbacks -----------------------------------------------------------------------------------------------

    def _on_error(self, error: ck.KafkaError) -> None:
        if self._seen is not None:
            self._seen.append(error)
        elif error.fatal():
            self.failure = self.failure or Unavailable(f"Kafka client: {error.str()}")
        else:
            self._log("kafka", str(error.str()))

    def _on_line(self, kind: str, line: str) -> None:
        # what begins with FAIL comes as an error, too
        if self._seen is None and not line.startswith("FAIL "):
            self._log(kind, line)

    def _guarded(self, step: Callable[[Sequence[TopicPartition]], None], parts: Iterable[ck.TopicPartition]) -> None:
        try:
            step([TopicPartition(p.topic, p.partition) for p in parts])
        except BaseException as error:  # noqa: BLE001 - see the module's docstring
            self.failure = self.failure or error

    def _on_assign(self, consumer: ck.Consumer, parts: list[ck.TopicPartition]) -> None:
        try:
            # read from where the loop says after it restored the partition; until then nothing is fetched in earnest.
            # The end as a number: the client's answer to OFFSET_END may come after the seek, and undo it
            ends = [self.watermarks(TopicPartition(p.topic, p.partition))[1] for p in parts]
            places = zip(parts, ends, strict=True)
            consumer.incremental_assign([ck.TopicPartition(p.topic, p.partition, end) for p, end in places])
            if parts:
                consumer.pause(parts)
        except ck.KafkaException as error:
            self.failure = self.failure or Unavailable(f"Kafka assignment: {error.args[0].str()}")
            return
        except SegstreamError as error:
            self.failure = self.failure or error
            return
        tps = [TopicPartition(p.topic, p.partition) for p in parts]
        self.assignment.update(tps)
        self._paused.update(tps)
        self._guarded(self._listener.on_assigned, parts)

    def _on_revoke(self, _: ck.Consumer, parts: list[ck.TopicPartition]) -> None:
        self._guarded(self._listener.on_revoked, parts)
        self._leave(parts)

    def _on_lost(self, _: ck.Consumer, parts: list[ck.TopicPartition]) -> None:
        self._guarded(self._listener.on_lost, parts)
        self._leave(parts)

    def _leave(self, parts: Iterable[ck.TopicPartition]) -> None:
        for part in parts:
            tp = TopicPartition(part.topic, part.partition)
            self.assignment.discard(tp)
            self._paused.discard(tp)
            self.end_epoch(tp)

    # ---- records -------------------------------------------------------------------------------------------------

    def begin(self, tp: TopicPartition, offset: int) -> int:
        """Read this partition from here, under a new epoch, which is returned. It stays paused until flow() lets it go."""
        self._seek(tp, offset)
        self._beginnings.begin(tp, offset)
        epoch = next(self._epoch)
        self._epochs[tp] = epoch
        return epoch

    def _seek(self, tp: TopicPartition, offset: int) -> None:
        part = ck.TopicPartition(tp.topic, tp.partition, offset)
        deadline = self._now() + CALL_TIMEOUT_S
        while True:
            try:
                self._consumer.seek(part)
                break
            except ck.KafkaException as error:
                # a partition that was just assigned is not active at once
                if error.args[0].code() not in _NOT_ACTIVE_YET or self._now() > deadline:
                    raise Unavailable(f"seek {tp.topic}[{tp.partition}] to {offset}: {error.args[0].str()}") from error
                time.sleep(0.01)

    def end_epoch(self, tp: TopicPartition) -> None:
        """Whatever is still on its way of this partition is not wanted any more."""
        self._epochs.pop(tp, None)
        self._beginnings.forget(tp)

    def flow(self, wanted: set[TopicPartition]) -> None:
        """Pause and resume so that just these partitions deliver records."""
        pause = [tp for tp in self.assignment - wanted if tp not in self._paused]
        resume = [tp for tp in self._paused if tp in wanted]
        if pause:
            self._consumer.pause([ck.TopicPartition(*tp) for tp in pause])
            self._paused.update(pause)
        if resume:
            self._consumer.resume([ck.TopicPartition(*tp) for tp in resume])
            self._paused.difference_update(resume)

    @property
    def paused(self) -> int:
        """How many assigned partitions are paused."""
        return len(self._paused)

    def take(self, limit: int, wait_s: float) -> Taken:
        """At most `limit` records, waiting at most wait_s for the first and GATHER_S for more."""
        first = self._consumer.poll(wait_s)
        if first is None:
            return Taken([], 0, [], [])
        messages = [first]
        if limit > 1:
            messages += self._consumer.consume(min(limit - 1, TAKE_MAX), GATHER_S)
        return self._sliced(messages)

    def _sliced(self, messages: list[Any]) -> Taken:
        ends: list[tuple[TopicPartition, int]] = []
        gone: list[tuple[TopicPartition, str]] = []
        slices = sliced(messages, self._epochs, lambda message, error: self._event(message, error, ends, gone))
        again = {one.tp for one in slices if self._again(one.tp, one.offsets[0])}
        if again:
            slices = [one for one in slices if one.tp not in again]
        records = sum(len(one.offsets) for one in slices)
        reached = [(tp, o) for tp, o in ends if tp in self._epochs and tp not in again and not self._again(tp, o)]
        return Taken(slices, records, reached, gone)

    def _again(self, tp: TopicPartition, offset: int) -> bool:
        """Whether what came first of this partition is not believed, and was asked for once more."""
        wanted = self._beginnings.doubted(tp, offset)
        if wanted is None:
            return False
        self._log("kafka", f"{tp.topic}[{tp.partition}] began at {offset} instead of {wanted}: asked again")
        self._seek(tp, wanted)
        return True

    def _event(
        self,
        message: Any,
        error: ck.KafkaError,
        ends: list[tuple[TopicPartition, int]],
        gone: list[tuple[TopicPartition, str]],
    ) -> None:
        code = error.code()
        if code == ck.KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own name
            ends.append((TopicPartition(message.topic(), message.partition()), message.offset()))
        elif code in (ck.KafkaError._AUTO_OFFSET_RESET, ck.KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001 - the client's own name
            if message.topic() is not None:
                gone.append((TopicPartition(message.topic(), message.partition()), error.str()))
        elif error.fatal():
            self.failure = self.failure or Unavailable(f"Kafka client: {error.str()}")
        else:
            self._log("kafka", str(error.str()))

    def epoch(self, tp: TopicPartition) -> int | None:
        """The epoch under which this partition is read now."""
        return self._epochs.get(tp)

    # ---- offsets -------------------------------------------------------------------------------------------------

    def committed(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, Position]:
        """The group's committed offsets, stable ones only (none of an open transaction). Absent where there is none."""
        found: dict[TopicPartition, Position] = {}
        try:
            parts = self._consumer.committed([ck.TopicPartition(*tp) for tp in tps], timeout=CALL_TIMEOUT_S)
        except ck.KafkaException as error:
            raise Unavailable(f"committed offsets: {error.args[0].str()}") from error
        for part in parts:
            if part.error is not None:
                raise Unavailable(f"committed offset of {part.topic}[{part.partition}]: {part.error.str()}")
            if part.offset >= 0:
                found[TopicPartition(part.topic, part.partition)] = Position(part.offset, part.metadata or "")
        return found

    def watermarks(self, tp: TopicPartition) -> tuple[int, int]:
        """The partition's low and high watermark, asked now."""
        try:
            low, high = patiently(
                lambda: self._consumer.get_watermark_offsets(
                    ck.TopicPartition(*tp), timeout=CALL_TIMEOUT_S, cached=False
                ),
                CALL_TIMEOUT_S,
            )
        except ck.KafkaException as error:
            raise Unavailable(f"watermarks of {tp.topic}[{tp.partition}]: {error.args[0].str()}") from error
        return int(low), int(high)

    def at_time(self, tps: Sequence[TopicPartition], timestamp_ms: int) -> dict[TopicPartition, int]:
        """The first offset at or after this time for each; -1 where there is none."""

        def ask() -> list[ck.TopicPartition]:
            parts = self._consumer.offsets_for_times(
                [ck.TopicPartition(*tp, timestamp_ms) for tp in tps], timeout=CALL_TIMEOUT_S
            )
            for part in parts:
                if part.error is not None:  # its offset would read as "none at or after this time"
                    raise ck.KafkaException(part.error)
            return parts

        try:
            parts = patiently(ask, CALL_TIMEOUT_S)
        except ck.KafkaException as error:
            raise Unavailable(f"offsets for a time: {error.args[0].str()}") from error
        return {TopicPartition(p.topic, p.partition): p.offset for p in parts}

    def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
        """Commit these now, outside any transaction. Raises Unavailable when the broker refuses."""
        parts = [ck.TopicPartition(*tp, offset, metadata=metadata) for tp, (offset, metadata) in offsets.items()]
        answers: list[Any] = []

        def commit() -> None:
            try:
                answers.append(self._consumer.commit(offsets=parts, asynchronous=False) or ())
            except (RuntimeError, ck.KafkaException) as error:
                answers.append(error)

        # without a broker the client goes on trying until the session is over, and polling would stand still
        _within(COMMIT_TIMEOUT_S, "commit", commit)
        if not answers:
            raise Unavailable(f"commit: no answer within {COMMIT_TIMEOUT_S:g} s")
        if isinstance(answers[0], Exception):
            raise Unavailable(f"commit: {answers[0]}") from answers[0]
        for part in answers[0]:
            if part.error is not None:
                raise Unavailable(f"commit of {part.topic}[{part.partition}]: {part.error.str()}")

    def group_metadata(self) -> Any:
        """What a transaction proves its membership with."""
        return self._consumer.consumer_group_metadata()

    def partition_counts(self, timeout_s: float = CALL_TIMEOUT_S) -> dict[str, int]:
        """The partition count of every topic of the cluster."""
        try:
            topics = self._consumer.list_topics(timeout=timeout_s).topics
        except ck.KafkaException as error:
            raise Unavailable(f"topics: {error.args[0].str()}") from error
        return {name: len(topic.partitions) for name, topic in topics.items() if topic.error is None}

    def close(self) -> None:
        """Leave the group; revokes what is still assigned, through the callbacks.

        Without a broker the client goes on trying until the session is over: that is not waited for, the group finds out.
        """
        if not _within(CLOSE_S, "leaving", self._close):
            self._log("kafka", f"the group did not answer within {CLOSE_S:g} s: left without a goodbye")
        if self.failure is not None and not isinstance(self.failure, SegstreamError):
            raise self.failure

    def _close(self) -> None:
        try:
            self._consumer.close()
        except (RuntimeError, ck.KafkaException) as error:
            self._log("kafka", f"close: {error}")


def _within(patience_s: float, name: str, step: Callable[[], None]) -> bool:
    """Whether this step, in a thread of its own, ended in time. One that did not is left behind."""
    thread = threading.Thread(target=step, name=name, daemon=True)
    thread.start()
    thread.join(patience_s)
    return not thread.is_alive()


class _Silent:
    """librdkafka's own log lines, handed to ours: the client calls `log(level, format, *args)` of a logging.Logger."""

    def __init__(self, log: Callable[[str, str], None]) -> None:
        self._log = log

    def log(self, _level: int, text: str, *args: Any) -> None:
        self._log("kafka", text % args if args else text)
