"""One process that reads references and asks questions, and the laws that hold for what it sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream.core.effects import Ask, Define, Effect
from stream.core.engine import Engine
from stream.core.model import Call, DefinitionOutcome, LookupOutcome, TopicPartition
from stream.core.rowstate import decode_row
from tests.sim import instance as plain
from tests.sim import truth
from tests.sim.broker import Record
from tests.sim.instance import POLICY, Instance
from tests.sim.reader import Reader
from tests.sim.shadow import Shadow
from tests.sim.watch import Violation, Watch

if TYPE_CHECKING:
    from tests.sim.named_play import NamedPlay


class NamedInstance(Instance):
    play: NamedPlay

    def _new_engine(self) -> Engine:
        self.reader = Reader(self.play)
        self.told: list[str] = list(self.play.accepted)
        self._answers: list[LookupOutcome | DefinitionOutcome] = []
        self._asks = 0
        # as the other processes get theirs: a test may put another in its place
        return plain.Engine(
            self.play.spec_of,
            self.play.world.limits,
            POLICY,
            identities=self.reader.identities(),
            segments=self.reader.plan(),
        )

    def _beside(self, now_s: float) -> None:
        self.reader.step(self.engine, now_s)
        if not self.reader.ready:
            self.wake(0.05)  # a turn of the loop reads on, whatever the engine waits for
        if self.told and self.reader.ready:
            for code in self.told:
                self.engine.accept_code(code)
            self.told = []
        answers, self._answers = self._answers, []
        for answer in answers:
            if isinstance(answer, LookupOutcome):
                self.engine.looked_up(answer, now_s, self.clock.wall_ms, self.rng.random())
            else:
                self.engine.defined(answer, now_s, self.rng.random())

    def _ask(self, effect: Effect) -> None:
        if isinstance(effect, Ask):
            self.play.watch.asking(self, effect)
            self._asks += 1
            self.play.customers.receive(effect.lookup, self._told_lookup)
        else:
            assert isinstance(effect, Define)
            self.play.watch.defining(self, effect)
            self.play.definer.receive(effect.definition, self._told_answer)

    def _told_lookup(self, outcome: LookupOutcome) -> None:
        self._asks -= 1
        self._told_answer(outcome)

    def _told_answer(self, outcome: LookupOutcome | DefinitionOutcome) -> None:
        self._answers.append(outcome)
        if self.alive:
            self.wake(self.rng.uniform(0.0, 0.01))

    @property
    def asks(self) -> int:
        """Questions under way."""
        return self._asks


class NamedShadow(Shadow):
    """What each row claims, by the log alone: stored state tells only up to where it was folded."""

    def restored(self, tp: TopicPartition, rows: dict[bytes, bytes], position: int) -> None:
        super().restored(tp, rows, position)
        latest: dict[Any, Any] = {}
        ahead = self._ahead[tp]
        for record in self.play.broker.logs[tp].history:
            if record.row is not None and (record.offset < position or record.offset <= ahead.get(record.row, -1)):
                latest[record.row] = record.says if isinstance(record.says, tuple) else None
        self.latest[tp] = latest


class NamedWatch(Watch):
    play: NamedPlay

    def sending(self, instance: Instance, call: Call) -> None:
        """An addition is for somebody whom a row names now, exactly, and who was registered when that was asked."""
        if len(set(call.members)) != len(call.members):
            raise Violation("twice", f"{instance.name} has a member twice", ((call.segment, call.members[0]),))
        if len(call.members) > self.play.world.limits.members_max:
            raise Violation("members_max", f"{instance.name} sends {len(call.members)} members")
        everybody = set().union(*self.play.customers.answered.values()) if self.play.customers.answered else set()
        everybody |= {person.steady for person in self.play.persons}
        for member in call.members:
            if member not in everybody:
                raise Violation(
                    "nobody",
                    f"{instance.name} sends {call.op} of somebody who was never found",
                    ((call.segment, member),),
                )
            if call.op == "add" and not self._named(instance, call.segment, member):
                raise Violation("not named", f"{instance.name} adds whom no row names", ((call.segment, member),))

    def _named(self, instance: Instance, code: str, member: str) -> bool:
        return any(
            isinstance(said, tuple) and member in self.possible(said) and code in self.codes(said[0])
            for rows in instance.shadow.latest.values()
            for said in rows.values()
        )

    def codes(self, segment: str) -> set[str]:
        """Every code that this may ever have meant."""
        if segment.startswith("ref:"):
            held = self.play.database.held.get(("segments", int(segment.rsplit(":", 1)[1])), ())
            return {values[0] for values in held}
        return {segment.removeprefix("code:")}

    def possible(self, said: tuple[Any, ...]) -> set[str]:
        """Everybody whom a look-up may have found for these terms, whatever the reference held then."""
        if isinstance(said[1], str):
            return {said[1]}
        play, found = self.play, set()
        for term in said[1]:
            kind, value = term.split(":", 1)
            if kind == "id":
                found.add(value)
            elif kind == "ref":
                for number, email in play.database.held.get(("customers", int(value.split(":")[1])), ()):
                    found |= play.customers.answered.get(("number", number), set())
                    if email is not None:
                        found |= play.customers.answered.get(("email", play.world.match.norm("email", email)), set())
            else:
                found |= play.customers.answered.get((kind, play.world.match.norm(kind, value)), set())
        return found

    def asking(self, instance: NamedInstance, effect: Ask) -> None:
        """Questions keep to their limits."""
        lookup, limits = effect.lookup, self.play.world.lookups
        if not lookup.values or len(set(lookup.values)) != len(lookup.values):
            raise Violation("question", f"{instance.name} asks for {lookup.values}")
        if len(lookup.values) > max(2, limits.values_max):
            raise Violation("values_max", f"{instance.name} asks for {len(lookup.values)} at once")
        if instance.asks >= limits.slots:
            raise Violation("look-up slots", f"{instance.name} asks {instance.asks + 1} questions at once")

    def defining(self, instance: NamedInstance, effect: Define) -> None:
        """A code that the source deleted is never created, and nothing is created without a wish."""
        definition, world = effect.definition, self.play.world
        wanted = instance.reader.wants(definition.code)
        if definition.op in ("exist", "define"):
            # a changed code that no row used yet is in use for members, and not for the table of segments
            if wanted is False and world.catalog and not definition.code.endswith("-new"):
                raise Violation("created", f"{instance.name} would create {definition.code}, which the source deleted")
            if wanted is None and not world.create_missing and not truth.called(self.play, definition.code):
                raise Violation("created", f"{instance.name} would create {definition.code}, which nobody wants")
        elif definition.op != "look" and (wanted is not False or definition.op != world.on_delete):
            raise Violation("deleted", f"{instance.name} would {definition.op} {definition.code}, wanted: {wanted}")

    def _durable(self, tp: TopicPartition, row: Any, fold: dict[Any, tuple[Any, Record]], at: int) -> None:
        data = self.play.broker.state[tp].get(self.play.keys[row])
        says: Any = None
        ahead = -1
        if data is not None:
            state = decode_row(data)
            ahead = state.offset
            if state.claim is not None:
                says = (state.claim.segment, state.claim.terms)
            elif state.segment is not None:
                says = (state.segment, state.member)
        expected, record = fold.get(row, (None, None))
        for later in self.play.broker.logs[tp].history[at:]:
            if later.offset > ahead:
                break
            if later.row == row:
                expected = later.says
        if isinstance(expected, str):
            expected = None
        if says != expected:
            raise Violation(
                "durable", f"{tp} is committed past {record}, row {row} claims {expected}, its state {says}"
            )
