"""One process: the loop's contract around the real engine, and its senders with their lease."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from stream.core.effects import Alarm, Bury, Commit, Define, Effect, Restore, Restored, Send
from stream.core.engine import Engine
from stream.core.model import Call, DefinitionOutcome, Outcome, TopicPartition
from stream.core.rowstate import META_KEY, PartitionState, decode_metadata, encode
from stream.core.verdict import VerdictPolicy
from tests.sim.watch import Violation

if TYPE_CHECKING:
    from tests.sim.play import Play

POLICY = VerdictPolicy(retry_base_s=0.05, retry_cap_s=2.0, retry_after_cap_s=3.0)


class Instance:
    """number: its id in the group. away: it was paused, or cut off from Kafka, until that time."""

    def __init__(self, play: Play, name: str) -> None:
        self.play = play
        self.name = name
        self.rng = play.rng
        self.clock = play.clock
        self.broker = play.broker
        self.group = play.broker.group
        self.alive = True
        self.stopping = False
        self.paused_until_s = -1.0
        self.cut_until_s = -1.0
        self.contact_s = self.heard_s = self.clock.now_s
        self.engine = self._new_engine()
        for topic, count in self.broker.counts.items():
            self.engine.partitions_known(topic, count)
        self.shadow = play.new_shadow()
        self.positions: dict[TopicPartition, int] = {}
        self.epochs: dict[TopicPartition, int] = {}
        self.tickets: dict[TopicPartition, int] = {}
        self.owned: set[TopicPartition] = set()
        self.leaving: set[TopicPartition] = set()
        self.leave_by_s = 0.0
        self.last: Commit | None = None
        self._asked: list[Callable[[], None]] = []
        self._outcomes: list[Outcome] = []
        self._next_s = float("inf")
        self._steps = 0
        self._pause_for_s = 0.0
        self._proven = True
        self._stale: list[tuple[TopicPartition, int, int]] = []
        self.number = self.group.join(self)
        self.wake(0.0)

    def _new_engine(self) -> Engine:
        return Engine(self.play.spec_of, self.play.world.limits, POLICY)

    # ---- what others ask -----------------------------------------------------------------------------------------

    def reachable(self) -> bool:
        """Whether it runs, and Kafka hears it."""
        return self.alive and self.clock.now_s >= max(self.paused_until_s, self.cut_until_s)

    def on_assign(self, tps: list[TopicPartition]) -> None:
        self._asked.append(lambda: self._assign(tps))
        self.wake(self.rng.uniform(0.01, 0.2))

    def on_revoke(self, tps: list[TopicPartition]) -> None:
        self._asked.append(lambda: self._leave(tps))
        self.wake(self.rng.uniform(0.01, 0.2))

    def wake(self, delay_s: float) -> None:
        """Have a loop turn soon; an earlier one that is planned already stays."""
        at_s = self.clock.now_s + delay_s
        if at_s < self._next_s - 1e-9:
            self._next_s = at_s
            self._steps += 1
            self.clock.after(delay_s, self._turn, self._steps)

    def pause_at_send(self, for_s: float) -> None:
        """With its next call in its senders' queue, nothing of the process runs for so long."""
        self._pause_for_s = for_s

    def pause(self, until_s: float) -> None:
        """Nothing of the process runs until then."""
        self.paused_until_s = max(self.paused_until_s, until_s)
        self.clock.after(max(0.0, self.heard_s + self.play.session_s - self.clock.now_s), self._expire)

    def cut(self, until_s: float) -> None:
        """The process runs, and Kafka does not hear it."""
        self.cut_until_s = max(self.cut_until_s, until_s)
        self.clock.after(max(0.0, self.heard_s + self.play.session_s - self.clock.now_s), self._expire)

    def crash(self) -> None:
        self.alive = False
        self.clock.after(max(0.0, self.heard_s + self.play.session_s - self.clock.now_s), self._expire)

    def stop(self) -> None:
        """An orderly end: drain, one last transaction, leave."""
        self.stopping = True
        self.wake(0.0)

    def _expire(self) -> None:
        if not self.reachable() and self.clock.now_s >= self.heard_s + self.play.session_s - 1e-9:
            self.group.leave(self.number)

    # ---- the loop ------------------------------------------------------------------------------------------------

    def _turn(self, step: int) -> None:
        if step != self._steps or not self.alive:
            return
        self._next_s = float("inf")
        now_s = self.clock.now_s
        if now_s < self.paused_until_s:
            self.wake(self.paused_until_s - now_s + self.rng.uniform(0.0, 0.05))
            return
        if now_s >= self.cut_until_s:
            if self.group.poll(self.number):
                self.heard_s = now_s
                if self._proven:
                    self.contact_s = now_s
            else:
                self._lost()
        if self.last is None:
            self._work(now_s)
        if self.alive:
            full = len(self.engine.delivery.flights) >= self.play.world.limits.slots
            # an answer wakes it: it need not look for one
            next_s = min(max(self.engine.next_s(now_s) - now_s, 0.05 if full else 0.002), self.play.step_max_s)
            self.wake(next_s + self.rng.uniform(0.0, 0.01))

    def _beside(self, now_s: float) -> None:
        """What goes on beside the walk."""

    def _ask(self, effect: Effect) -> None:
        """Where rows name ids, all that is asked is whether a segment takes members."""
        assert isinstance(effect, Define), effect
        assert effect.definition.op == "look", effect
        engine = self.engine

        def answer() -> None:
            if not self.alive or self.engine is not engine:
                return
            there = effect.definition.code in self.play.shop.segments
            outcome = DefinitionOutcome(
                effect.definition, "done", 200, "there" if there else "absent", "", None, self.clock.now_s, 0.1
            )
            self._asked.append(lambda: engine.defined(outcome, self.clock.now_s, self.rng.random()))
            self.wake(0.01)

        self.clock.after(self.rng.uniform(0.02, 0.3), answer)

    def _work(self, now_s: float) -> None:
        asked, self._asked = self._asked, []
        for do in asked:
            do()
        if self.stopping and not self.leaving and self.last is None:
            self._leave(sorted(self.owned))
        outcomes, self._outcomes = self._outcomes, []
        for outcome in outcomes:
            self.engine.settle(outcome, now_s, self.rng.random())
        self._beside(now_s)
        if now_s >= self.cut_until_s:
            self._feed(now_s)
        self._perform(now_s)
        if self.leaving or self.stopping:
            self._go(now_s)
        self.play.watch.bounded(self)

    def _feed(self, now_s: float) -> None:
        engine = self.engine
        if self._stale and self.rng.random() < 0.3:
            self._feed_stale()
        lag = 0
        for tp in sorted(self.positions):
            log = self.broker.logs[tp]
            while engine.takes(tp) and (room := engine.room()) > 0:
                records = log.read(self.positions[tp], min(room, self.rng.randint(1, 40)))
                if not records:
                    self.positions[tp] = max(self.positions[tp], log.end)
                    engine.caught_up(tp, self.epochs[tp], self.positions[tp])
                    break
                self.positions[tp] = records[-1].offset + 1
                self.shadow.feed(tp, records)
                self._give(tp, self.epochs[tp], now_s)
                if self.rng.random() < 0.3:
                    break
            lag += log.end - self.positions[tp]
        engine.behind = lag > 30
        if lag:
            self.wake(0.02)

    def _feed_stale(self) -> None:
        """Records that were taken before their partition went away: facts of an older assignment change nothing."""
        tp, epoch, position = self._stale.pop()
        part = self.engine.part(tp)
        if part is None or part.epoch == epoch:
            return
        before = part.ledger.position, len(part.working), self.engine.commits.window_records
        self.shadow.fed = self.broker.logs[tp].read(max(0, position - 5), 10)
        self._give(tp, epoch, self.clock.now_s)
        if before != (part.ledger.position, len(part.working), self.engine.commits.window_records):
            raise Violation("older assignment", f"{self.name} folds records of an older assignment of {tp}")

    def _give(self, tp: TopicPartition, epoch: int, now_s: float) -> None:
        records = self.shadow.fed
        self.engine.feed(
            tp,
            epoch,
            [r.item for r in records],
            [r.offset for r in records],
            [r.at_ms for r in records],
            [100] * len(records),
            records,
            now_s,
        )

    def _perform(self, now_s: float) -> None:
        for effect in self.engine.effects(now_s, self.clock.wall_ms):
            if isinstance(effect, Send):
                self._send(effect.call)
            elif isinstance(effect, Commit):
                self._commit(effect)
            elif isinstance(effect, Restore):
                for tp in effect.tps:
                    self.tickets[tp] = self.tickets.get(tp, 0) + 1
                    self.clock.after(self.rng.uniform(0.02, 0.3), self._restore, tp, self.tickets[tp])
            elif isinstance(effect, Bury):
                self.clock.after(self.rng.uniform(0.005, 0.1), self._bury, effect)
            elif isinstance(effect, Alarm):
                self.play.note(f"{self.name} alarm {effect.kind}: {effect.text}")
                self.play.alarms[effect.kind] += 1
            else:
                self._ask(effect)

    # ---- calls ---------------------------------------------------------------------------------------------------

    def _send(self, call: Call) -> None:
        self.play.watch.sending(self, call)
        if self._pause_for_s:
            self.play.note(f"{self.name} pauses with {call.op} {call.segment} {call.members} queued")
            self.pause(self.clock.now_s + self._pause_for_s)
            self._pause_for_s = 0.0
        lives = {m: self.life((call.segment, m)) for m in call.members}
        self.clock.after(self.rng.uniform(0.0, 0.01), self._write, call, lives)

    def life(self, membership: tuple[str, str]) -> object:
        """Which assignment of its partition a call belongs to."""
        part = self.engine.part(self.play.home(membership))
        return part.table if part is not None else None

    def _write(self, call: Call, lives: dict[str, object]) -> None:
        """A sender: right before writing, the lease."""
        now_s = self.clock.now_s
        if not self.alive:
            return
        if now_s < self.paused_until_s:
            self.clock.after(self.paused_until_s - now_s + self.rng.uniform(0.0, 0.01), self._write, call, lives)
            return
        if now_s - self.contact_s > self.play.lease_s:
            self._answer(Outcome(call, "unsent", 0, (), None, "lease", "", now_s, 0.0))
            return
        self.play.watch.written(self, call, lives)
        self.play.shop.receive(call, self._answered)

    def _answered(self, outcome: Outcome) -> None:
        self.play.watch.answered(outcome)
        self._answer(outcome)

    def _answer(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        if self.alive:
            self.wake(self.rng.uniform(0.0, 0.01))

    # ---- Kafka ---------------------------------------------------------------------------------------------------

    def _commit(self, commit: Commit) -> None:
        world = self.play.world
        self.play.watch.committing(self, commit)
        fails = self.rng.random() < world.abort and self.clock.now_s < self.play.calm_s
        self.broker.commit(
            self, commit, lambda ok: self._committed(commit, ok=ok), transactions=world.transactions, fails=fails
        )

    def _committed(self, commit: Commit, *, ok: bool) -> None:
        if not self.alive:
            return
        if self.clock.now_s < self.paused_until_s:
            self.clock.after(self.paused_until_s - self.clock.now_s, lambda: self._committed(commit, ok=ok))
            return
        self.engine.committed(commit.number, ok=ok)
        self.wake(0.0)
        if self.last is commit:
            self.last = None
            self._left()

    def _bury(self, bury: Bury) -> None:
        if not self.alive:
            return
        if not self.reachable():
            self.clock.after(0.1, self._bury, bury)
            return
        self.broker.letters[bury.tp, bury.offset] = bury.reason
        self.play.note(f"{self.name} letter {bury.tp.topic}[{bury.tp.partition}]@{bury.offset} {bury.reason}")
        self.engine.buried(bury.token)
        self.wake(0.0)

    def _restore(self, tp: TopicPartition, ticket: int) -> None:
        if not self.alive or ticket != self.tickets.get(tp) or tp not in self.owned:
            return
        if not self.reachable() or self.broker.pending.get(tp):
            self.clock.after(self.rng.uniform(0.02, 0.1), self._restore, tp, ticket)
            return
        broker = self.broker
        stored = broker.offsets.get(tp)
        rows = dict(broker.state[tp])
        meta = rows.pop(META_KEY, None)
        log = broker.logs[tp]
        start = log.records[0].offset if log.records else log.end
        position, metadata = stored if stored is not None else (start, "")
        self.play.epoch += 1
        self.epochs[tp] = self.play.epoch
        found = Restored(
            tp,
            self.play.epoch,
            rows,
            position,
            metadata,
            fresh=stored is None,
            fold_to=log.end if stored is None else 0,
            meta=encode(PartitionState(1, "id", "print", broker.counts[tp.topic])) if meta is None else None,
            partitions=broker.counts[tp.topic],
            end=log.end,
        )
        parsed = decode_metadata(metadata)
        clean = parsed is not None and parsed.clean
        self.play.note(
            f"{self.name} restored {tp.topic}[{tp.partition}] at {position}, {len(rows)} rows, clean {clean}"
        )
        if stored is not None and not clean:
            self.play.unclean += 1
        self.positions[tp] = position
        self.shadow.restored(tp, rows, position)
        self.engine.restored(found, self.clock.now_s)
        self.wake(0.0)

    # ---- membership of the group ---------------------------------------------------------------------------------

    def _assign(self, tps: Iterable[TopicPartition]) -> None:
        self.owned.update(tps)
        self._proven = True
        self.contact_s = self.clock.now_s
        self.play.note(f"{self.name} assigned {[f'{tp.topic}[{tp.partition}]' for tp in tps]}")
        self.engine.assigned(tps)

    def _leave(self, tps: Iterable[TopicPartition]) -> None:
        """These are to be given back: drain them."""
        self.leaving = set(tps)
        self.leave_by_s = self.clock.now_s + self.play.drain_s
        self.play.note(f"{self.name} leaves {[f'{tp.topic}[{tp.partition}]' for tp in tps]}")
        self.engine.drain(self.leaving)

    def _go(self, now_s: float) -> None:
        if self.last is not None:
            return
        busy = self.engine.busy(self.leaving, now_s)
        if busy and now_s < self.leave_by_s:
            self.wake(0.05)
            return
        commit = self.engine.last_commit(self.leaving, now_s)
        if commit is None:
            return
        self.play.note(f"{self.name} last commit, busy {busy!r}")
        self.last = commit
        self._commit(commit)

    def _left(self) -> None:
        self._forget(self.leaving)
        self.leaving = set()
        if self.stopping and not self.owned:
            self.alive = False
            self.group.leave(self.number)
        else:
            self.group.revoked(self.number)

    def _lost(self) -> None:
        """The group went on without it: the lease ends, until the group has given it something again."""
        self._proven = False
        self.play.note(f"{self.name} lost everything")
        self._asked.clear()
        self.last = None
        self._forget(set(self.owned))
        self.leaving = set()
        if self.stopping:
            self.alive = False
        else:
            self.number = self.group.join(self)

    def _forget(self, tps: set[TopicPartition]) -> None:
        for tp in tps:
            self.tickets[tp] = self.tickets.get(tp, 0) + 1
            if tp in self.positions:
                self._stale.append((tp, self.epochs[tp], self.positions.pop(tp)))
        self.owned -= tps
        self.engine.forget(tps)
        self.shadow.forget(tps)
        for tp in list(self.positions):
            if self.engine.part(tp) is None:
                del self.positions[tp]
                self.shadow.forget({tp})
