"""The laws, checked at each step by bookkeeping of the simulator's own."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from stream.core.effects import Commit
from stream.core.model import Call, Membership, Outcome, TopicPartition
from stream.core.rowstate import decode_metadata, decode_row
from tests.sim.broker import Record, Says

if TYPE_CHECKING:
    from tests.sim.instance import Instance
    from tests.sim.play import Play


class Violation(AssertionError):  # it is what it says
    """A law is broken. law is its short name; about the memberships concerned."""

    def __init__(self, law: str, text: str, about: tuple[Membership, ...] = ()) -> None:
        super().__init__(f"{law}: {text}")
        self.law = law
        self.about = about


class Operation:
    """A written request, until it can no longer land."""

    __slots__ = ("answered", "call", "land_s", "life", "members")

    def __init__(self, call: Call, life: object, land_s: float) -> None:
        self.call = call
        self.members = set(call.members)
        self.life = life
        self.land_s = land_s
        self.answered = False


class Watch:
    def __init__(self, play: Play) -> None:
        self.play = play
        self.homes: dict[Hashable, list[Operation]] = {}
        self._calls: dict[int, list[Operation]] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._folds: dict[TopicPartition, dict[Any, tuple[Says, Record]]] = {}
        self._read: dict[TopicPartition, int] = {}

    # ---- calls ---------------------------------------------------------------------------------------------------

    def sending(self, instance: Instance, call: Call) -> None:
        """Law 2, levels: what is sent is what the rows say by everything this instance was given."""
        play = self.play
        for member in call.members:
            membership = (call.segment, member)
            if instance.shadow.said(membership) != (call.op == "add"):
                raise Violation("level", f"{instance.name} sends {call.op} against what the rows say", (membership,))
            if play.world.exact and instance.shadow.said(membership, newest=True) != (call.op == "add"):
                raise Violation("older state", f"{instance.name} sends {call.op} from a repeat", (membership,))
        if len(set(call.members)) != len(call.members):
            raise Violation(
                "twice", f"{instance.name} has a member twice in a call", ((call.segment, call.members[0]),)
            )
        if len(call.members) > play.world.limits.members_max:
            raise Violation("members_max", f"{instance.name} sends {len(call.members)} members")

    def written(self, instance: Instance, call: Call, lives: dict[str, object]) -> None:
        """Law 2, one operation at a time; and no owner sends while another's request may still land."""
        play, now_s = self.play, self.play.clock.now_s
        play.note(f"{instance.name} writes {call.op} {call.segment} {call.members}", call.segment, call.members)
        operations: dict[Hashable, Operation] = {}
        limits = play.world.limits
        mine = set(call.members)
        for member in call.members:
            home = play.home((call.segment, member))
            life = lives[member]
            if home not in operations:
                operations[home] = Operation(call, life, now_s + limits.api_timeout_s + limits.settle_s)
            kept = [o for o in self.homes.get(home, ()) if not o.answered or o.land_s > now_s]
            self.homes[home] = kept
            for other in kept:
                if other.life is not life and other.members and other.land_s > now_s:
                    raise Violation(
                        "two owners",
                        f"{instance.name} sends {call.op} while {other.call.op} of another life may land until "
                        f"{other.land_s:.3f}",
                        ((call.segment, member),),
                    )
                if other.life is life and other.call.segment == call.segment and not mine.isdisjoint(other.members):
                    both = tuple((call.segment, m) for m in mine.intersection(other.members))
                    if not other.answered:
                        raise Violation(
                            "two in flight", f"{instance.name} sends {call.op} beside {other.call.op}", both
                        )
                    if other.call.op != call.op:
                        raise Violation(
                            "opposite",
                            f"{instance.name} sends {call.op}; {other.call.op} may land until {other.land_s:.3f}",
                            both,
                        )
        for home, operation in operations.items():
            self.homes[home].append(operation)
        self._calls[id(call)] = list(operations.values())

    def answered(self, outcome: Outcome) -> None:
        """From an answer on it is known until when a request may land."""
        now_s = self.play.clock.now_s
        late = outcome.kind == "unknown" or outcome.status >= 500
        call = outcome.call
        self.play.note(
            f"answer {outcome.kind} {outcome.status} to {call.op} {call.segment} {call.members} {outcome.errors or ''}",
            call.segment,
            call.members,
        )
        for operation in self._calls.pop(id(call)):
            operation.answered = True
            for error in outcome.errors:
                operation.members.discard(error.entity_id or call.members[error.index or 0])
            if outcome.status == 202:
                operation.land_s = now_s + self.play.world.limits.settle_s
            elif not late:
                operation.land_s = now_s

    # ---- commits -------------------------------------------------------------------------------------------------

    def committing(self, instance: Instance, commit: Commit) -> None:
        """A clean mark: nothing of that partition may land any more."""
        now_s = self.play.clock.now_s
        if instance.number not in self.play.broker.group.members:
            return  # it does not know yet that it is no member: this commit is refused
        for tp, (offset, text) in commit.offsets.items():
            metadata = decode_metadata(text)
            assert metadata is not None
            if not metadata.clean:
                continue
            self.play.note(f"{instance.name} leaves {tp.topic}[{tp.partition}] clean at {offset}")
            for operation in self.homes.get(self.play.home_of(tp), ()):
                if operation.members and (not operation.answered or operation.land_s > now_s):
                    raise Violation(
                        "clean",
                        f"{instance.name} leaves {tp} clean while {operation.call.op} may land",
                        tuple((operation.call.segment, m) for m in operation.call.members),
                    )

    def applied(self, offsets: dict[TopicPartition, tuple[int, str]], commit: Commit) -> None:
        """Laws 1 and 3: below a committed offset every event is in its row's durable state, or in a letter."""
        play = self.play
        for tp, (offset, _) in offsets.items():
            before = self._committed.get(tp, -1)
            if offset < before:
                raise Violation("offset", f"{tp} was committed back from {before} to {offset}")
            self._committed[tp] = offset
            fold = self._folds.setdefault(tp, {})
            log = play.broker.logs[tp]
            touched: set[Any] = {
                play.names[tp.topic, w.key] for w in commit.writes if w.tp == tp and w.key != b"\0partition"
            }
            at = self._read.get(tp, 0)
            history = log.history
            while at < len(history) and history[at].offset < offset:
                record = history[at]
                at += 1
                if isinstance(record.says, str) and (tp, record.offset) not in play.broker.letters:
                    raise Violation("letter", f"{tp} is committed past {record.offset}, which has no letter")
                if record.row is not None:
                    fold[record.row] = (record.says, record)
                    touched.add(record.row)
            self._read[tp] = at
            for row in touched:
                self._durable(tp, row, fold, at)

    def _durable(self, tp: TopicPartition, row: Any, fold: dict[Any, tuple[Says, Record]], at: int) -> None:
        data = self.play.broker.state[tp].get(self.play.keys[row])
        says: Says = None
        ahead = -1
        if data is not None:
            state = decode_row(data)
            ahead = state.offset
            if state.segment is not None and state.member is not None:
                says = (state.segment, state.member)
        expected, record = fold.get(row, (None, None))
        for later in self.play.broker.logs[tp].history[at:]:
            if later.offset > ahead:
                break
            if later.row == row:
                expected = later.says
        if isinstance(expected, str):
            expected = None
        if says != expected and not self.play.world.compaction:
            raise Violation(
                "durable",
                f"{tp} is committed past {record}, row {row} says {expected}, its state {says} ({ahead})",
                tuple(m for m in (says, expected) if isinstance(m, tuple)),
            )

    # ---- bounds --------------------------------------------------------------------------------------------------

    def bounded(self, instance: Instance) -> None:
        """Law 8."""
        engine, limits = instance.engine, self.play.world.limits
        if not 0 <= engine.commits.window_records <= limits.window_records_max:
            raise Violation("window", f"{instance.name} holds {engine.commits.window_records} undurable rows")
        if engine.standings() > limits.standings_max + 2 * limits.window_records_max:
            raise Violation("standings", f"{instance.name} works on {engine.standings()} memberships")
        if len(engine.delivery.flights) > limits.slots:
            raise Violation("slots", f"{instance.name} has {len(engine.delivery.flights)} calls in flight")
