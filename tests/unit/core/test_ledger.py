"""The ledger against a model that scans everything: which offset may be committed, what is oldest, who holds for long."""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from stream.core.ledger import Ledger


@dataclass(eq=False)
class Holding:
    first: int = -1


class LedgerMachine(RuleBasedStateMachine):
    """The model: a list of (offset, holder) that are held, and of all advances."""

    holders = Bundle("holders")

    @initialize(position=st.integers(0, 1_000))
    def start(self, position: int) -> None:
        self.ledger = Ledger(position)
        self.next = position
        self.now = 0.0
        self.held: list[Holding] = []
        self.reads: list[tuple[int, float, int]] = []

    @rule(target=holders, gap=st.integers(0, 5))
    def hold(self, gap: int) -> Holding:
        self.next += gap + 1
        holder = Holding(self.next - 1)
        self.ledger.hold(holder)
        self.held.append(holder)
        return holder

    @rule(holder=holders, gap=st.integers(0, 3))
    def hold_again(self, holder: Holding, gap: int) -> None:
        """A row that was made durable gets another event."""
        if holder.first < 0:
            self.next += gap + 1
            holder.first = self.next - 1
            self.ledger.hold(holder)
            self.held.append(holder)

    @rule(holder=holders)
    def release(self, holder: Holding) -> None:
        if holder.first >= 0:
            holder.first = -1
            self.held.remove(holder)

    @rule(gap=st.integers(0, 3), passed_s=st.floats(0, 10), ts_ms=st.integers(0, 1_000))
    def advance(self, gap: int, passed_s: float, ts_ms: int) -> None:
        self.next += gap
        self.now += passed_s
        self.ledger.advance(self.next, self.now, ts_ms)
        self.reads.append((self.next, self.now, ts_ms))

    def low(self) -> int:
        return min((holder.first for holder in self.held), default=self.ledger.position)

    @invariant()
    def committable_is_the_lowest_that_is_held(self) -> None:
        assert self.ledger.committable() == self.low()

    @rule()
    def oldest_is_the_read_that_brought_it(self) -> None:
        self.ledger.advance(self.next, self.now, 7)
        self.reads.append((self.next, self.now, 7))
        expected = None
        if self.held:
            expected = next((read_s, ts_ms) for position, read_s, ts_ms in self.reads if position > self.low())
        assert self.ledger.oldest() == expected

    @rule(ago_s=st.floats(0, 20))
    def holders_of_long_ago(self, ago_s: float) -> None:
        before_s = self.now - ago_s
        end = max((position for position, read_s, _ in self.reads if read_s < before_s), default=-1)
        expected = [holder for holder in self.held if holder.first < end]
        assert sorted(map(id, self.ledger.holders(before_s))) == sorted(map(id, expected))


LedgerMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_ledger_against_the_model = LedgerMachine.TestCase


def test_what_is_done_costs_nothing_any_more() -> None:
    ledger = Ledger(0)
    for offset in range(10_000):
        holder = Holding(offset)
        ledger.hold(holder)
        ledger.advance(offset + 1, float(offset), 0)
        holder.first = -1
        assert ledger.committable() == offset + 1
        assert ledger.oldest() is None
    assert (len(ledger._holds), len(ledger._read)) == (0, 0)
