"""The live shell: take, decode, feed, settle, perform. The one place that knows the time and acts.

It owns the consumer and the engine on one thread. Everything slow (requests, transactions, schemas) is done by threads that
answer through queues, so that polling goes on whatever happens.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Final

from stream import __version__, wiring
from stream.beside import Beside
from stream.core.effects import Alarm, Ask, Bury, Commit, Define, Effect, Restore, Send
from stream.core.engine import Engine
from stream.core.model import Call, Definition, TopicPartition
from stream.edge import logs
from stream.edge.api import RetailRed
from stream.edge.health import Health, HealthServer
from stream.edge.intake import Intake, Readable
from stream.edge.kafka import Source
from stream.edge.letters import Letters
from stream.edge.metrics import Metrics
from stream.edge.notes import Notes
from stream.edge.registry import Registry
from stream.edge.report import Report
from stream.edge.senders import Destination, DryRun, Lease, Senders
from stream.edge.spill import Spill
from stream.edge.state import Committer, Topics
from stream.edge.takeover import Takeover
from stream.errors import Fenced, Unavailable, Unfinished
from stream.settings import Settings
from stream.watch import Watch

WAIT_S: Final = 0.05
"""The longest wait for a record: outcomes and commits that end meanwhile wait with it."""
SUMMARY_INTERVAL_S: Final = 10.0
KIP_848_JOIN_S: Final = 5.0
COMMIT_GRACE_S: Final = 3.0
"""After the drain's time: for the last transaction alone, within what the pod is granted beyond drain_s."""
TAKE_RECORDS: Final = 10_000
BEHIND_RECORDS: Final = 9_000
"""A take that comes (nearly) full means a backlog: then full requests matter more than fresh ones."""

log: Final = logs.Log("loop")


_note: Final = Notes(lambda kind, text: log.warning(text, kind=kind), time.monotonic)


class Loop:
    """One instance, from subscribe to the last commit."""

    def __init__(
        self,
        settings: Settings,
        destination: Callable[[Lease], Destination],
        metrics: Metrics,
        health: Health,
        *,
        dry_run: bool = False,
    ) -> None:
        self.settings: Final = settings
        self.metrics: Final = metrics
        self.health: Final = health
        self.dry_run: Final = dry_run
        self.stopping = False
        self.tables: Final = wiring.Tables(settings)
        properties = wiring.kafka_properties(settings)
        if dry_run:
            # a shadow: it must take no partition from the group that works
            properties["group.id"] = f"{settings.group_id}-dry-run"
            properties.pop("group.instance.id", None)
        group = str(properties["group.id"])
        hash_secret = wiring.secret(settings.state.hash_secret_file)
        self.spill: Final = Spill(settings.state.directory, settings.state.rows_in_memory_max, _note)
        self.beside: Final = Beside(
            settings, properties, _registry(settings), metrics, self.spill, note=_note, now=time.monotonic
        )
        self.engine: Final = Engine(
            self.tables.spec,
            wiring.limits(settings),
            wiring.policy(settings),
            hash_secret=hash_secret,
            index=self.spill.index,
            identities=wiring.identities(settings, self.beside.tables),
            segments=wiring.plan(settings, self.beside.tables),
        )
        self.source: Final = Source(properties, self.tables.subscriptions, self, log=_note, now=time.monotonic)
        registry = _registry(settings)
        self.intake: Final = Intake(self.tables.decoding, registry, log=_note, now=time.monotonic)
        topics = Topics(
            properties,
            create=settings.state.create_topics,
            verify=settings.state.verify_topics,
            replication_factor=settings.state.replication_factor,
        )
        self.topics: Final = topics
        self.takeover: Final = Takeover(
            self.source,
            topics,
            properties,
            group,
            settings.start,
            fingerprint=self.tables.fingerprint(hash_secret),
            remember=not dry_run,
        )
        self.committer: Final = (
            None
            if dry_run
            else Committer(
                properties,
                group,
                transactions=settings.transactions,
                transaction_timeout_ms=int(settings.session_timeout_s * 1000 * 2 / 3),
                log=_note,
            )
        )
        self.letters: Final = None if dry_run else Letters(properties, settings.letters_topic, _note)
        self.lease: Final = Lease(settings.lease_s, logs_clock)
        self._destination: Final = destination(self.lease)
        self.senders: Final = Senders(self._destination, settings.retail_red.slots, self.lease)
        self.report: Final = Report(metrics, properties)
        self._random = random.Random()  # noqa: S311 - it spreads retries, it guards nothing
        self.watch: Final = Watch(settings, self.tables, self.source, topics, self.engine, self.beside)
        self._summary_s = time.monotonic()
        self._last: dict[str, int] = {}
        self._behind_s = float("-inf")
        self._said_closed = ""
        self._subscribed_s = float("inf")
        self._kip_848 = settings.kafka.get("group.protocol") == "consumer"
        self._closed = False
        self._leaving = False
        self._ends: dict[TopicPartition, tuple[int, int]] = {}
        self._restores: list[TopicPartition] = []

    # ---- rebalances (inside poll, on this thread) ----------------------------------------------------------------

    def on_assigned(self, tps: Sequence[TopicPartition]) -> None:
        self.metrics.rebalanced("assign")
        log.info("partitions assigned", partitions=_names(tps))
        for topic in {tp.topic for tp in tps}:
            self.metrics.assigned(topic, [tp.partition for tp in tps if tp.topic == topic])
        self.engine.assigned(tps)
        self.health.ready("start")

    def on_revoked(self, tps: Sequence[TopicPartition]) -> None:
        self.metrics.rebalanced("revoke")
        log.info("partitions revoked", partitions=_names(tps))
        self._leave(tps, time.monotonic() + self.settings.drain_s)

    def on_lost(self, tps: Sequence[TopicPartition]) -> None:
        self.metrics.rebalanced("lost")
        log.warning(
            "partitions lost: what was unsent of them is forgotten, their next owner repeats it", partitions=_names(tps)
        )
        self._forget(tps)

    def _leave(self, tps: Sequence[TopicPartition], deadline_s: float) -> str:
        """Drain, commit the last time, forget. Returns why they were not left clean, empty when they were."""
        if all(self.engine.part(tp) is None for tp in tps):
            self._forget(tps)
            return ""
        self._leaving = True
        try:
            why = self._drain(tps, deadline_s)
        finally:
            # whatever went wrong: what is not ours any more must not be acted for
            self._leaving = False
            self._forget(tps)
        if why:
            log.warning("not left clean: the next owner waits before it acts", why=why, partitions=_names(tps))
        return why

    def _drain(self, tps: Sequence[TopicPartition], deadline_s: float) -> str:
        engine = self.engine
        engine.drain(tps)
        # with the destination blocked for longer than the drain may take, waiting helps nobody: what is owed is told by the state
        while (why := engine.busy(tps, time.monotonic())) and time.monotonic() < deadline_s:
            if (
                why in ("not_owner", "folding", "takeover", "repeat", "references")
                or engine.delivery.blocked_until_s > deadline_s
            ):
                break
            self._turn(0.01)
        if self._await_commit(deadline_s + COMMIT_GRACE_S):
            commit = engine.last_commit(tps, time.monotonic())
            if commit is not None:
                self._perform_commit(commit)
                if not self._await_commit(deadline_s + COMMIT_GRACE_S):
                    why = why or "commit"
        else:
            why = why or "commit"
        return why

    def _await_commit(self, until_s: float) -> bool:
        """Whether the commit in flight ended by then; one that did not is decided by the group's word, not by us."""
        while self.engine.commits.flying is not None:
            if time.monotonic() >= until_s:
                return False
            self._commits(0.05)
        return True

    def _forget(self, tps: Sequence[TopicPartition]) -> None:
        if self.engine.delivery.flights:
            # calls that no thread has begun to write yet; those of other partitions come back as unsent and are made again
            self.lease.end_term()
        before = {part.tp for part in self.engine.parts()}
        self.engine.forget(tps)
        gone = before - {part.tp for part in self.engine.parts()}
        for tp in gone | set(tps):
            self.source.end_epoch(tp)
            self._ends.pop(tp, None)
        self.intake.forget(gone | set(tps))
        self._restores = [tp for tp in self._restores if tp not in set(tps)]
        self.takeover.forget(list(tps))
        self.report.forget(list(tps))

    # ---- one turn ------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Until stopped. Returns the exit code; raises SegstreamError where going on is impossible."""
        self.begin()
        gc.collect()
        gc.freeze()
        gc.disable()
        while not self.stopping:
            self.once()
        return self.stop()

    def begin(self) -> None:
        """Reach everything and join the group, unless stopped meanwhile."""
        # before anything else: what waits longer for brokers would say less about why they do not answer
        self.source.reach()
        self.watch.look(time.monotonic())
        if self.letters is not None:
            self.watch.ensure_letters()
        self.senders.start()
        self.beside.start(self._destination, self.lease)
        if self.committer is not None and not self.stopping:
            self.committer.start()
        if not self.stopping:
            self.source.subscribe()
            self._subscribed_s = time.monotonic()
            self.health.not_ready("start", "has not joined the group yet")

    def once(self) -> None:
        """Take what is there, and one turn of everything else."""
        now_s = time.monotonic()
        room = self.engine.room()
        flow = {tp for tp in self.source.assignment if self.engine.takes(tp)} - self.intake.waiting() if room else set()
        self.source.flow(flow)
        wait_s = max(0.0, min(WAIT_S, self.engine.next_s(now_s) - now_s))
        if self.takeover.busy or self.beside.busy:
            wait_s = 0.0
        taken = self.source.take(min(room, TAKE_RECORDS) or 1, wait_s)
        polled_s = time.monotonic()
        self.health.beat()
        self.metrics.polled()
        self.metrics.spent("poll" if room else "backpressure", polled_s - now_s)
        if self.source.failure is not None:
            raise self.source.failure
        if taken.records >= BEHIND_RECORDS:
            self._behind_s = polled_s
        self.engine.behind = polled_s - self._behind_s < 1.0
        for one in taken.slices:
            for readable in self.intake.read(one):
                self._feed(readable)
        for readable in self.intake.resumed():
            self._feed(readable)
        for tp, offset in taken.ends:
            if (epoch := self.source.epoch(tp)) is not None:
                self._ends[tp] = (epoch, offset)
        # an end is told once: while records before it wait for a schema, it waits, too
        for tp in [tp for tp in self._ends if tp not in self.intake.waiting()]:
            self.engine.caught_up(tp, *self._ends.pop(tp))
        for tp, text in taken.gone:
            self.engine.halt(tp.topic, f"the offset of partition {tp.partition} is gone: {text}")
        self.metrics.spent("decode", time.monotonic() - polled_s)
        self._turn(0.0)
        self.watch.look_again(now_s)

    def _feed(self, readable: Readable) -> None:
        taken, start, items = readable
        end = start + len(items)
        values = taken.values[start:end]
        self.engine.feed(
            taken.tp,
            taken.epoch,
            items,
            taken.offsets[start:end],
            taken.timestamps_ms[start:end],
            [0 if value is None else len(value) for value in values],
            taken.origins[start:end],
            time.monotonic(),
        )
        self._newest(taken.tp.topic, items)

    def _newest(self, topic: str, items: Sequence[Any]) -> None:
        ts_ms = getattr(items[-1], "ts_ms", 0)
        if ts_ms:
            self.metrics.source_event(topic, ts_ms / 1000)

    def _turn(self, commit_wait_s: float) -> None:
        """Settle what ended, perform what is due."""
        engine = self.engine
        started_s = time.monotonic()
        # here, as a drain may last longer than the lease: heartbeats go on meanwhile
        self._renew_lease()
        for outcome in self.senders.finished():
            # the wall clock of its end, not of now: freshness must not count our own queue twice
            wall_s = time.time() - (time.monotonic() - outcome.at_s)
            verdict = engine.settle(outcome, time.monotonic(), self._random.random(), wall_s)
            if verdict is not None and verdict.alarm:
                log.error(
                    "retail.red refuses this program, a person must look",
                    reason=verdict.reason, status=outcome.status, code=outcome.code, segment=outcome.call.segment,
                )  # fmt: skip
        self.beside.turn(engine, time.monotonic(), int(time.time() * 1000), self._random.random)
        self._commits(commit_wait_s)
        if self.letters is not None:
            for token in self.letters.acknowledged():
                engine.buried(token)
        if not self._leaving:
            self._take_over()
        for effect in engine.effects(time.monotonic(), int(time.time() * 1000)):
            self._perform(effect)
        now_s = time.monotonic()
        self.metrics.spent("api", now_s - started_s)
        due = self.report.due(now_s)
        if due or self.takeover.busy or self.spill.moving:
            self.spill.turn(engine, self.takeover.reading)
        if due:
            self.report.write(engine, self.source.assignment, self.source.paused, now_s, time.time())
            self.beside.report()
            if self._destination.token_expires_at:
                self.metrics.token_expires(self._destination.token_expires_at)
            self._say(now_s)

    def _take_over(self) -> None:
        """Never while others are left: it takes broker's answers, and the group waits for the end of the leaving."""
        if self._restores:
            wanted, self._restores = self._restores, []
            self.takeover.begin(wanted)
        reads = not self.spill.moving  # else memory would grow faster than it is freed
        for found in self.takeover.step(0.01 if self.takeover.busy else 0.0) if reads else ():
            self.engine.restored(found, time.monotonic())
            log.info("partition restored", partition=f"{found.tp.topic}[{found.tp.partition}]", offset=found.position,
                     rows=len(found.rows), first=found.fresh)  # fmt: skip

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Send(call, trigger):
                self.metrics.flushed(trigger, call.op, len(call.members))
                self.senders.send(call)
            case Commit():
                self._perform_commit(effect)
            case Ask() | Define():
                self.beside.ask(effect)
            case Restore(tps):
                self._restores.extend(tps)
            case Bury():
                log.warning("letter", reason=effect.reason, detail=effect.detail, topic=effect.tp.topic,
                            partition=effect.tp.partition, offset=effect.offset)  # fmt: skip
                if self.letters is None:
                    self.engine.buried(effect.token)
                else:
                    self.letters.write(effect)
            case Alarm(kind, text):
                log.error(text, alarm=kind)

    # ---- commits -------------------------------------------------------------------------------------------------

    def _perform_commit(self, commit: Commit) -> None:
        if self.committer is None:
            self.engine.committed(commit.number, ok=True)
        else:
            self.committer.submit(commit, self.source.group_metadata() if self.settings.transactions else None)

    def _commits(self, wait_s: float) -> None:
        if self.committer is None or self.engine.commits.flying is None:
            return
        done = self.committer.finished(wait_s)
        if done is None:
            return
        ok, detail = done.ok, done.detail
        if ok and not self.settings.transactions:
            offsets = self.engine.commits.flying_offsets(self.engine.part)
            try:
                if offsets:
                    self.source.commit(offsets)
            except Unavailable as error:
                ok, detail = False, str(error)
        self.engine.committed(done.number, ok=ok)
        self.metrics.committed("ok" if ok else "failed")
        self.metrics.spent("commit", done.seconds)
        if not ok:
            log.warning("commit failed, it goes into the next", detail=detail)
        if done.fatal:
            raise Fenced(
                f"the transaction cannot go on: {detail}",
                advice="the process ends; its successor repeats what was open",
            )

    def _renew_lease(self) -> None:
        if self.lease.renew():
            return
        # this process was paused: what it had queued is not written, and only the group's word tells what is still ours
        self.lease.end_term()
        engine = self.engine
        if engine.commits.flying is not None:
            return  # its answer comes first: offsets beside an open transaction could go back
        # a dry run commits nothing, and what it would send is sent by nobody: there is nothing to be proven
        offsets = {} if self.dry_run else {p.tp: p.durable for p in engine.parts() if p.durable is not None}
        try:
            if offsets:
                self.source.commit(offsets)
        except Unavailable as error:
            log.warning("paused past the lease, and the group does not confirm this instance", detail=str(error))
            return
        log.warning("paused past the lease, still a member of the group")
        self.lease.renew(proven=True)

    # ---- what people see -----------------------------------------------------------------------------------------

    def _say(self, now_s: float) -> None:
        """Readiness, and a line every ten seconds."""
        engine = self.engine
        if self._kip_848 and now_s - self._subscribed_s > KIP_848_JOIN_S:
            # under KIP-848 a member that gets no partition is told nothing, not even that it is one
            self.health.ready("start")
        closed = sorted({why for table in engine.tables() if (why := engine.why_closed(table, now_s))})
        missing = engine.not_owned() if self.source.assignment else []
        if missing:
            closed = ["not_owner"]
        why = ", ".join(closed)
        if why != self._said_closed:
            self._said_closed = why
            if missing:
                log.warning("waits: tables without keyed ownership act only while one instance owns every partition of them",
                            missing=_names(missing)[:10], advice="run one instance, or set partitioned_by")  # fmt: skip
            elif why:
                log.info("not sending yet", why=why, **({"references": self.beside.why()} if self.beside.why() else {}))
            else:
                log.info("sending")
        if now_s - self._summary_s >= SUMMARY_INTERVAL_S:
            totals = dict(self.report.totals)
            window_s = now_s - self._summary_s
            log.info(
                "stream",
                records_per_s=round((totals.get("records", 0) - self._last.get("records", 0)) / window_s),
                added=totals.get("add", 0),
                removed=totals.get("remove", 0),
                letters=totals.get("letters", 0),
                rows=sum(len(part.rows) for part in engine.parts()),
                open=engine.standings(),
                in_flight=len(engine.delivery.flights),
                pending=sum(engine.pending().values()),
                **({"waits_for": self.intake.why_waiting()} if self.intake.why_waiting() else {}),
                **({"references": self.beside.why()} if self.beside.why() else {}),
                **({"halted": dict(engine.halted)} if engine.halted else {}),
                **({"blocked": engine.delivery.blocked_reason} if engine.delivery.blocked_until_s > now_s else {}),
            )
            self._last = totals
            self._summary_s = now_s

    # ---- the end -------------------------------------------------------------------------------------------------

    def stop(self) -> int:
        """Drain, commit, leave the group. 0 when everything was left clean, 75 when the drain ran out of time."""
        log.info("stopping: draining", drain_s=self.settings.drain_s)
        owned = [part.tp for part in self.engine.parts()]
        busy_ok = {"", "settling", "folding", "takeover", "not_owner", "counting", "claiming", "repeat", "references"}
        why = self._leave(owned, time.monotonic() + self.settings.drain_s) if owned else ""
        self.close()
        if self.dry_run or why in busy_ok:
            log.info("stopped", clean=not why)
            return 0
        raise Unfinished(f"the drain ran out of time ({why}): what was open is repeated at the next start")

    def close(self) -> None:
        """Free everything, whatever happened before. What is still owned is let go as it is: nobody is left to drain it."""
        if self._closed:
            return
        self._closed = True
        self._forget([*self.source.assignment, *(part.tp for part in self.engine.parts())])
        self.senders.close()
        self.beside.close()
        self.intake.close()
        self.takeover.cancel()
        if self.letters is not None:
            self.letters.close()
        if self.committer is not None:
            self.committer.close()
        try:
            self.source.close()
        finally:
            self.spill.close()


def logs_clock() -> float:
    """A clock that goes on while the machine sleeps, too: a lease must not outlive a suspended laptop."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _names(tps: Sequence[TopicPartition]) -> list[str]:
    return [f"{tp.topic}[{tp.partition}]" for tp in sorted(tps)]


def _registry(settings: Settings) -> Registry | None:
    found = settings.registry
    if found is None:
        return None
    password = wiring.secret(found.password_file).decode() if found.password_file else None
    return Registry(found.url, found.username, password, found.ca_file, found.timeout_s)


def run(settings: Settings, *, dry_run: bool = False) -> int:
    """The command `segstream run`. Raises SegstreamError."""
    metrics = Metrics.fresh(__version__)
    health = Health(settings.max_poll_interval_s)
    apis: list[RetailRed] = []

    def destination(lease: Lease) -> Destination:
        apis.append(RetailRed(wiring.api_config(settings), lease=lease.valid, observe=metrics.requested))
        # a dry run looks customers up: that is reading, and nothing could be said without it
        return DryRun(_would, apis[0], _would_define) if dry_run else apis[0]

    with HealthServer(settings.metrics.host, settings.metrics.port, metrics.registry, health) as server:
        log.info(
            "segstream",
            version=__version__,
            metrics=f"http://{server.host}:{server.port}",
            group=settings.group_id,
            dry_run=dry_run,
        )
        loop = Loop(settings, destination, metrics, health, dry_run=dry_run)

        def stop(number: int, _: FrameType | None) -> None:
            if loop.stopping:
                # by force: an exception would be caught where callbacks are guarded, or wait for whatever made it slow
                os._exit(128 + number)
            loop.stopping = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            return loop.run()
        finally:
            # requests in flight end at once, those that come too late are not written
            for api in apis:
                api.close()
            loop.close()
            for number, handler in before.items():
                signal.signal(number, handler)


def _would_define(definition: Definition) -> None:
    log.info("would define", operation=definition.op, segment=definition.code, name=definition.name)


def _would(call: Call) -> None:
    log.info("would send", operation=call.op, segment=call.segment, members=len(call.members))
