"""The row table against a model that is a dict: row to membership. Whatever is sent, answered, set aside or lost in a crash,
what is wanted is what any row says, and in the end the destination holds just that."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stream.core.model import Membership, TopicPartition
from stream.core.rows import (
    FLIGHT,
    IDLE,
    PRESENT,
    QUEUED,
    UNKNOWN,
    WAITING,
    Event,
    Part,
    Row,
    Standing,
    load,
    store_form,
)
from stream.core.table import RowTable

KEYS = [bytes([n]) * 16 for n in range(5)]
MEMBERSHIPS: list[Membership] = [("gold", "a"), ("gold", "b"), ("vip", "a")]
PARTITIONS = 2


class Flight:
    """One call of one member: what it says, and the touches that it was made after."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self.op = standing.op
        self.gen = standing.gen


class RowsMachine(RuleBasedStateMachine):
    """A shell around the table that keeps the contract of the engine: enqueue, rest and hold, and calls one at a time."""

    @initialize()
    def start(self) -> None:
        self.log: list[list[tuple[bytes, Membership | None]]] = [[] for _ in range(PARTITIONS)]
        self.durable: list[dict[bytes, bytes]] = [{} for _ in range(PARTITIONS)]
        self.committed = [0] * PARTITIONS
        self.there: set[Membership] = set()
        self.refused: set[tuple[bytes, Membership]] = set()
        self.boot()

    def boot(self) -> None:
        """A process with nothing but what is durable."""
        self.queue: list[Standing] = []
        self.flights: list[Flight] = []
        self.resting: list[Row] = []
        self.parked: set[Membership] = set()
        self.table = RowTable(sole=True, enqueue=self.enqueue, rest=self.resting.append, hold=self.hold)
        self.parts = [Part(TopicPartition("t", n), 1, self.table) for n in range(PARTITIONS)]
        for part, rows, position in zip(self.parts, self.durable, self.committed, strict=True):
            part.rows = dict(rows)
            part.ledger.position = position
            self.table.parts[part.tp] = part
        self.table.restored()
        while not self.table.whole:
            self.table.count(2)
        self.table.open = True
        for number, position in enumerate(self.committed):
            for offset in range(position, len(self.log[number])):
                self.fold(number, offset)
        self.resume()

    def enqueue(self, standing: Standing) -> None:
        assert standing.where == IDLE
        assert standing not in self.queue
        standing.where = QUEUED
        self.queue.append(standing)

    def hold(self, row: Row) -> None:
        row.part.ledger.hold(row)

    def resume(self) -> None:
        while self.table.later:
            self.table.resume(2, lambda _: 10)

    def fold(self, number: int, offset: int) -> None:
        key, says = self.log[number][offset]
        part = self.parts[number]
        event: Event = (offset, 0, 0, 1, None)
        self.table.fold(part, key, says, event)
        part.ledger.position = offset + 1

    # ---- what happens --------------------------------------------------------------------------------------------

    @rule(key=st.integers(0, len(KEYS) - 1), says=st.sampled_from([None, *MEMBERSHIPS]))
    def event(self, key: int, says: Membership | None) -> None:
        number = key % PARTITIONS
        if says is not None or KEYS[key] in self.model():
            # a row that says nothing once more, as by its tombstone, tries no refused removal again
            self.refused = {(row, membership) for row, membership in self.refused if row != KEYS[key]}
        self.log[number].append((KEYS[key], says))
        self.fold(number, len(self.log[number]) - 1)

    @rule(key=st.integers(0, len(KEYS) - 1))
    def read_again(self, key: int) -> None:
        """An event at or below the row's stored offset changes nothing."""
        number = key % PARTITIONS
        part = self.parts[number]
        row = part.row_at(KEYS[key])
        if row is not None:
            before = (row.says, dict(row.told), row.offset, row.pending)
            self.table.fold(part, KEYS[key], MEMBERSHIPS[0], (row.offset, 0, 0, 1, None))
            again = part.row_at(KEYS[key])
            assert again is not None
            assert (again.says, again.told, again.offset, again.pending) == before

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        standing = data.draw(st.sampled_from(self.queue), "of the queue")
        self.queue.remove(standing)
        assert standing.where == QUEUED
        standing.where = FLIGHT
        self.flights.append(Flight(standing))

    def take(self, data: st.DataObject) -> Flight:
        flight = data.draw(st.sampled_from(self.flights), "of the flights")
        self.flights.remove(flight)
        return flight

    def apply(self, flight: Flight) -> None:
        if flight.op == "add":
            self.there.add(flight.standing.membership)
        else:
            self.there.discard(flight.standing.membership)

    def requeue(self, standing: Standing) -> None:
        standing.where = IDLE
        self.enqueue(standing)

    @precondition(lambda self: self.flights)
    @rule(data=st.data())
    def accepted(self, data: st.DataObject) -> None:
        flight = self.take(data)
        self.apply(flight)
        if flight.standing.gen == flight.gen:
            self.table.confirm(flight.standing, flight.op)
            self.table.put_away(flight.standing)
        else:
            self.requeue(flight.standing)

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), applied=st.booleans())
    def failed(self, data: st.DataObject, applied: bool) -> None:  # noqa: FBT001 - Hypothesis passes it by name
        flight = self.take(data)
        if applied:
            self.apply(flight)
        self.requeue(flight.standing)

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), pending=st.sampled_from(["segment_missing", "refused:invalid"]))
    def cannot_be_done(self, data: st.DataObject, pending: str) -> None:
        flight = self.take(data)
        standing = flight.standing
        if pending == "segment_missing":
            self.parked.add(standing.membership)
        elif standing.gen != flight.gen:
            self.requeue(standing)
            return
        else:
            # a letter is written for each of these rows
            self.refused.update((row.key, standing.membership) for row in self.table.undone(standing, pending))
        self.table.set_aside(standing, pending)

    @precondition(lambda self: self.parked)
    @rule(data=st.data())
    def try_again(self, data: st.DataObject) -> None:
        membership = data.draw(st.sampled_from(sorted(self.parked)), "of the parked")
        self.parked.remove(membership)
        if membership in self.table.index:
            self.table.reissue(membership)

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def put_off(self, data: st.DataObject) -> None:
        """What may not be sent now becomes durable as it is, and is issued later."""
        standing = data.draw(st.sampled_from(self.queue), "of the queue")
        self.queue.remove(standing)
        self.table.later[standing.membership] = None
        self.table.set_aside(standing, None)

    @rule()
    def go_on(self) -> None:
        self.resume()

    @rule()
    def commit(self) -> None:
        """What is at rest becomes durable together with the offsets."""
        resting, self.resting[:] = list(self.resting), []
        for row in resting:
            row.listed = False
            if row.pins:
                continue
            data = store_form(row)
            assert same(load(row.part, row.key, data), row)
            row.part.rows[row.key] = data
            row.first = -1
            row.part.working.pop(row.key, None)
        self.durable = [dict(part.rows) for part in self.parts]
        self.committed = [part.ledger.committable() for part in self.parts]

    @rule()
    def crash(self) -> None:
        self.flights.clear()
        self.boot()

    @rule(data=st.data())
    def crash_while_calls_land(self, data: st.DataObject) -> None:
        for flight in list(self.flights):
            if data.draw(st.booleans(), "it lands"):
                self.apply(flight)
        self.crash()

    # ---- what must hold ------------------------------------------------------------------------------------------

    def model(self) -> dict[bytes, Membership]:
        says: dict[bytes, Membership] = {}
        for log in self.log:
            for key, membership in log:
                if membership is None:
                    says.pop(key, None)
                else:
                    says[key] = membership
        return says

    @invariant()
    def a_membership_is_wanted_while_a_row_says_it(self) -> None:
        counts = Counter(self.model().values())
        for membership in MEMBERSHIPS:
            standing = self.table.working.get(membership)
            if standing is not None:
                assert standing.sayers == counts[membership]
                continue
            count = self.table.index.get(membership, 0)
            assert (count if isinstance(count, int) else count[0]) == counts[membership]

    @invariant()
    def each_row_says_what_the_log_says(self) -> None:
        model = self.model()
        for number, part in enumerate(self.parts):
            for key in KEYS[number::PARTITIONS]:
                row = part.row_at(key)
                assert (row.says if row is not None else None) == model.get(key)

    @invariant()
    def one_thing_at_a_time_for_a_membership(self) -> None:
        busy = [*self.queue, *(flight.standing for flight in self.flights)]
        assert len({standing.membership for standing in busy}) == len(busy)
        assert {id(standing) for standing in busy} == {id(standing) for standing in self.table.working.values()}

    @invariant()
    def what_differs_at_the_destination_is_known_to_be_owed(self) -> None:
        wanted = set(self.model().values())
        for membership in wanted ^ self.there:
            assert (
                membership in self.table.working
                or membership in self.table.later
                or membership in self.parked
                or any(refused == membership for _, refused in self.refused)
            ), membership

    def teardown(self) -> None:
        """When nothing fails any more, all that is owed is done, and what is stored has nothing open."""
        if not hasattr(self, "table"):
            return
        for membership in MEMBERSHIPS:
            if membership in self.table.index and membership not in self.table.working:
                self.table.reissue(membership)
        self.resume()
        for _ in range(20):
            while self.queue:
                standing = self.queue.pop(0)
                standing.where = FLIGHT
                flight = Flight(standing)
                self.apply(flight)
                self.table.confirm(standing, flight.op)
                self.table.put_away(standing)
            for flight in list(self.flights):
                self.flights.remove(flight)
                self.requeue(flight.standing)
        model = self.model()
        assert self.there == set(model.values())
        assert not self.table.working
        self.commit()
        assert [part.ledger.committable() for part in self.parts] == [len(log) for log in self.log]
        for part in self.parts:
            assert not part.working
            for key, data in part.rows.items():
                row = load(part, key, data)
                # what it said before and another row says now: one of them ends it, when its time has come
                assert set(row.told.values()) <= {PRESENT}
                assert row.told.keys() <= set(model.values())
                assert row.says is None or row.says in row.told
                assert row.pending is None


RowsMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
test_rows_against_the_model = RowsMachine.TestCase


def same(one: Row, other: Row) -> bool:
    return all(getattr(one, n) == getattr(other, n) for n in ("says", "told", "offset", "at_ms", "pending"))


def table_of(rows: dict[bytes, Row], enqueue: Callable[[Standing], Any] = lambda _: None) -> RowTable:
    table = RowTable(sole=True, enqueue=enqueue, rest=lambda _: None, hold=lambda _: None)
    part = Part(TopicPartition("t", 0), 1, table)
    table.parts[part.tp] = part
    part.rows = {key: store_form(row) for key, row in rows.items()}
    table.restored()
    while not table.whole:
        table.count(1)
    return table


def row(says: Membership | None, told: dict[Membership, str], pending: str | None = None) -> Row:
    return Row(b"", None, says, told, 1, 5, pending=pending)  # type: ignore[arg-type]


def test_restored_finds_all_that_is_owed_and_nothing_else() -> None:
    a, b, c = MEMBERSHIPS
    table = table_of(
        {
            b"0" * 16: row(a, {a: PRESENT}),
            b"1" * 16: row(a, {a: PRESENT, b: UNKNOWN}),
            b"2" * 16: row(None, {c: PRESENT}),
            b"3" * 16: row(None, {("gone", "x"): UNKNOWN}, "refused:invalid"),
            b"4" * 16: row(None, {}),
            b"5" * 16: row(("missing", "x"), {("missing", "x"): UNKNOWN}, "segment_missing"),
        }
    )
    assert set(table.later) == {b, c, ("missing", "x")}
    assert table.index[a] == 2
    (part,) = table.parts.values()
    assert list(part.absent) == [(5, b"4" * 16)]


def test_what_a_row_said_before_is_not_owed_while_another_says_it() -> None:
    a, b, _ = MEMBERSHIPS
    table = table_of({b"0" * 16: row(b, {b: PRESENT, a: PRESENT}), b"1" * 16: row(a, {a: PRESENT})})
    assert not table.later
    count = table.index[a]
    assert isinstance(count, tuple)
    assert count[0] == 1


def test_a_late_attempt_is_remembered_while_its_membership_is_at_rest_and_forgotten_when_it_has_landed() -> None:
    table = table_of({})
    standing = table.standing(MEMBERSHIPS[0])
    standing.where = WAITING
    standing.late_op, standing.late_until_s = "add", 30.0
    table.put_away(standing)
    table.landed(29.0)
    assert table.standing(MEMBERSHIPS[0]).late_op == "add"
    table.put_away(table.standing(MEMBERSHIPS[0]))
    table.landed(30.0)
    assert table.standing(MEMBERSHIPS[0]).late_op is None


def test_a_row_that_is_unknown_and_says_nothing_is_not_remembered() -> None:
    table = table_of({})
    (part,) = table.parts.values()
    assert not table.fold(part, KEYS[0], None, (1, 0, 0, 0, None))
    assert not part.working
    assert table.fold(part, KEYS[0], None, (2, 0, 0, 0, None), was=MEMBERSHIPS[0])
    assert part.working[KEYS[0]].told == {MEMBERSHIPS[0]: UNKNOWN}


def test_clear_forgets_everything_and_what_comes_late_finds_nothing() -> None:
    queue: list[Standing] = []
    table = table_of({b"1" * 16: row(MEMBERSHIPS[0], {MEMBERSHIPS[0]: UNKNOWN})}, queue.append)
    table.resume(10, lambda _: 10)
    (standing,) = queue
    table.clear()
    assert (standing.gen, standing.rows, standing.refs, standing.where) == (-1, [], (), IDLE)
    assert not any((table.alive, table.open, table.parts, table.index, table.working, table.later))


def test_what_is_refused_does_not_hide_what_the_same_row_still_waits_for() -> None:
    """The row moved: its new segment does not exist yet, and the end of its old membership is refused for good."""
    old, new, _ = MEMBERSHIPS
    queue: list[Standing] = []

    def enqueue(standing: Standing) -> None:
        standing.where = QUEUED
        queue.append(standing)

    table = table_of({}, enqueue)
    (part,) = table.parts.values()
    table.fold(part, KEYS[0], old, (1, 0, 0, 0, None))
    table.fold(part, KEYS[0], new, (2, 0, 0, 0, None))
    ended, begun = queue
    table.set_aside(begun, "segment_missing")
    assert table.undone(ended, "refused:invalid") == [part.working[KEYS[0]]]
    table.set_aside(ended, "refused:invalid")
    again = table_of({KEYS[0]: part.working[KEYS[0]]})
    assert new in again.later


def test_what_is_refused_alone_is_not_sent_again_by_a_successor() -> None:
    queue: list[Standing] = []

    def enqueue(standing: Standing) -> None:
        standing.where = QUEUED
        queue.append(standing)

    table = table_of({}, enqueue)
    (part,) = table.parts.values()
    table.fold(part, KEYS[0], MEMBERSHIPS[0], (1, 0, 0, 0, None))
    table.undone(queue[0], "refused:invalid")
    table.set_aside(queue[0], "refused:invalid")
    again = table_of({KEYS[0]: part.working[KEYS[0]]})
    assert not again.later
    assert table.fold(part, KEYS[0], MEMBERSHIPS[0], (2, 0, 0, 0, None))
    assert [standing.membership for standing in queue] == [MEMBERSHIPS[0]] * 2
    assert part.working[KEYS[0]].pending is None


def test_what_was_touched_is_unknown_until_a_call_made_after_it_is_settled() -> None:
    """Stored as present; its delete may have been sent; the row is there again and put off: a successor must tell it."""
    table = table_of({KEYS[0]: row(MEMBERSHIPS[0], {MEMBERSHIPS[0]: PRESENT})})
    (part,) = table.parts.values()
    table.fold(part, KEYS[0], None, (2, 0, 0, 0, None))
    table.fold(part, KEYS[0], MEMBERSHIPS[0], (3, 0, 0, 0, None))
    table.set_aside(table.working[MEMBERSHIPS[0]], None)
    assert set(table_of({KEYS[0]: part.working[KEYS[0]]}).later) == {MEMBERSHIPS[0]}
