"""Rows and counts in a scratch file are what they are in dicts; and nothing of the file outlives its process."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_hand import Hand, tp
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stream.core.engine import Engine
from stream.core.model import Membership, TopicPartition
from stream.core.rows import Part, Row, Standing
from stream.core.table import RowTable
from stream.edge.scratch import OWNER, PREFIX, Scratch, sweep
from stream.edge.spill import Spill
from stream.edge.store import LmdbIndex, LmdbRows, Stored
from stream.errors import DataError, SettingsError, Unavailable


def _nothing(_: Standing | Row) -> None:
    pass


def small(directory: Path | None) -> Scratch:
    """A file that renews its transaction, and grows its map, at every turn."""
    return Scratch(directory, map_bytes=1 << 20, headroom_bytes=1 << 19, writes_max=3)


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    found = small(tmp_path)
    yield found
    found.close()


def table_of(*parts: TopicPartition) -> RowTable:
    table = RowTable(sole=True, enqueue=_nothing, rest=_nothing, hold=_nothing)
    for place in parts:
        table.parts[place] = Part(place, 1, table)
    return table


# ---- each map against a dict -----------------------------------------------------------------------------------------


class Against(RuleBasedStateMachine):
    """Every operation that the core uses, on a map of the file and on a dict; another map of the file is written beside it."""

    stored: Stored[Any, Any]
    keys: list[Any]

    def make(self, front: dict[Any, Any]) -> Stored[Any, Any]:
        raise NotImplementedError

    def value(self, number: int) -> Any:
        raise NotImplementedError

    def begin(self, front: int) -> None:
        self.scratch = small(None)
        self.model: dict[Any, Any] = {key: self.value(n) for n, key in enumerate(self.keys[:front])}
        self.stored = self.make(dict(self.model))
        self.beside = LmdbRows(self.scratch)
        self.beside[b"beside"] = b"it"

    def teardown(self) -> None:
        if hasattr(self, "scratch"):
            assert dict(self.beside.items()) == {b"beside": b"it"}
            self.scratch.close()

    @rule(pick=st.integers(0, 11), number=st.integers(0, 9))
    def write(self, pick: int, number: int) -> None:
        self.stored[self.keys[pick]] = self.model[self.keys[pick]] = self.value(number)

    @rule(pick=st.integers(0, 11))
    def read(self, pick: int) -> None:
        key = self.keys[pick]
        assert self.stored.get(key) == self.model.get(key)
        assert self.stored.get(key, 0) == self.model.get(key, 0)
        assert (key in self.stored) == (key in self.model)
        if key in self.model:
            assert self.stored[key] == self.model[key]
        else:
            with pytest.raises(KeyError):
                self.stored[key]

    @rule(pick=st.integers(0, 11))
    def take(self, pick: int) -> None:
        key = self.keys[pick]
        assert self.stored.pop(key, None) == self.model.pop(key, None)

    @rule(pick=st.integers(0, 11))
    def delete(self, pick: int) -> None:
        key = self.keys[pick]
        if key in self.model:
            del self.stored[key], self.model[key]
        else:
            with pytest.raises(KeyError):
                del self.stored[key]

    @rule(picks=st.lists(st.integers(0, 11), max_size=4), number=st.integers(0, 9))
    def update(self, picks: list[int], number: int) -> None:
        new = {self.keys[pick]: self.value(number) for pick in picks}
        self.stored.update(new)
        self.model.update(new)

    @rule()
    def clear(self) -> None:
        self.stored.clear()
        self.model.clear()

    @rule(most=st.integers(0, 5))
    def move(self, most: int) -> None:
        before = self.stored.front
        assert self.stored.move(most) == before - self.stored.front == min(before, most)

    @rule()
    def iterate(self) -> None:
        assert sorted(self.stored.items(), key=repr) == sorted(self.model.items(), key=repr)
        assert set(self.stored) == set(self.model)

    @rule(number=st.integers(0, 9))
    def write_while_iterating(self, number: int) -> None:
        seen = {}
        for key, value in self.stored.items():
            seen[key] = value
            self.stored[key] = self.model[key] = self.value(number)
        assert seen.keys() == self.model.keys()

    @rule()
    def renew(self) -> None:
        self.scratch.renew()

    @invariant()
    def as_many(self) -> None:
        if hasattr(self, "scratch"):
            assert len(self.stored) == len(self.model)
            assert bool(self.stored) == bool(self.model)


class RowsAgainst(Against):
    keys = [bytes([n]) * 16 for n in range(10)] + [b"\x00", b"k" * 511]

    @initialize(front=st.integers(0, 12))
    def start(self, front: int) -> None:
        self.begin(front)

    def make(self, front: dict[bytes, bytes]) -> LmdbRows:
        return LmdbRows(self.scratch, front)

    def value(self, number: int) -> bytes:
        return b"v" * number * number * 100


class IndexAgainst(Against):
    # the last ones are longer than a key may be, alike to its end, or differ only in where the segment ends
    keys = [  # noqa: RUF012 - never changed
        *[("gold", f"c{n}") for n in range(5)],
        ("", ""), ("a", "bc"), ("ab", "c"), ("ä" * 200, "ü" * 55), ("ä" * 200, "ü" * 56), ("s" * 70_000, "m"), ("s" * 70_000, "n"),
    ]  # fmt: skip

    @initialize(front=st.integers(0, 12))
    def start(self, front: int) -> None:
        self.table = table_of(TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b", 0))
        self.begin(front)

    def make(self, front: dict[Membership, Any]) -> LmdbIndex:
        return LmdbIndex(self.scratch, self.table, front)

    def value(self, number: int) -> Any:
        if number % 2:
            return 10 ** (number - 1)
        parts = list(self.table.parts.values())
        return number, tuple((parts[n % 3], bytes([n]) * 16) for n in range(number))


TestRows = RowsAgainst.TestCase
TestIndex = IndexAgainst.TestCase
TestRows.settings = TestIndex.settings = hypothesis_settings(
    max_examples=40, stateful_step_count=40, deadline=None, derandomize=True
)


def test_a_reference_comes_back_as_the_part_itself(scratch: Scratch) -> None:
    table = table_of(tp(0), tp(1))
    index = LmdbIndex(scratch, table)
    index["gold", "c1"] = (0, ((table.parts[tp(1)], b"row"),))
    count = index["gold", "c1"]
    assert isinstance(count, tuple)
    assert count[1][0][0] is table.parts[tp(1)]


@pytest.mark.parametrize("key", [b"", b"k" * 512])
def test_a_key_that_no_row_has_is_said(scratch: Scratch, key: bytes) -> None:
    with pytest.raises(DataError, match="not this program's"):
        LmdbRows(scratch)[key] = b""


def test_the_map_grows_before_it_is_full(scratch: Scratch) -> None:
    rows = LmdbRows(scratch)
    for number in range(3_000):
        rows[number.to_bytes(16, "big")] = bytes(3_000)
    assert scratch.bytes_used() > 3 << 20
    assert len(rows) == 3_000


def test_databases_are_used_again(scratch: Scratch) -> None:
    for _ in range(20_000):  # more than an environment may have
        rows = LmdbRows(scratch)
        assert not rows
        rows[b"a"] = b"1"
        rows.release()


# ---- the engine with them --------------------------------------------------------------------------------------------


class SpillingHand(Hand):
    """A hand whose every process keeps its rows in a file from the second on, and is looked after at each step."""

    folder: Path
    spill: Spill | None = None

    def boot(self) -> None:
        super().boot()
        if self.spill is not None:
            self.spill.close()
        self.spill = Spill(self.folder, 1, lambda _kind, _text: None, small)
        self.engine = Engine(self.engine._spec, self.limits, self.engine.delivery._policy, index=self.spill.index)
        self.engine.partitions_known("rows", self.partitions)

    def restore(self, partition: int = 0, **found: Any) -> None:
        assert self.spill is not None
        reading: dict[TopicPartition, Any] = {tp(partition): dict(self.state[tp(partition)])}
        self.spill.turn(self.engine, reading)
        rows = reading[tp(partition)]
        rows.pop(b"\x00partition", None)
        super().restore(partition, rows=rows, **found)

    def step(self, pass_s: float = 0.0, *, acknowledge: bool = True) -> list[Any]:
        assert self.spill is not None
        self.spill.turn(self.engine, {})
        return super().step(pass_s, acknowledge=acknowledge)


def course(hand: Hand, seed: int) -> dict[str, Any]:
    """Two partitions of rows that share their memberships, with answers of every kind, and crashes between."""
    rng = random.Random(seed)
    hand.start()
    answered: set[tuple[int, int]] = set()

    def calls() -> list[Any]:
        """What is not answered yet; the numbers begin anew in each process."""
        hand.settle()
        new = [call for call in hand.sent if (hand.epoch, call.number) not in answered]
        answered.update((hand.epoch, call.number) for call in new)
        return new

    for _ in range(60):
        partition = rng.randrange(2)
        row = 2 * rng.randrange(8) + partition
        if rng.random() < 0.3:
            hand.feed(hand.cut(row), partition=partition)
        else:
            hand.feed(hand.put(row, rng.choice(["gold", "blue"]), f"c{rng.randrange(4)}"), partition=partition)
        if rng.random() < 0.6:
            for call in calls():
                if rng.random() < 0.2:
                    hand.answer(call, kind="unknown")
                else:
                    hand.answer(call, rng.choice([201, 201, 202, 503]))
        if rng.random() < 0.08:
            hand.crash()
    for _ in range(20):
        for call in calls():
            hand.answer(call)
        hand.settle(5.0)
    return {
        "rows": {place: dict(part.rows.items()) for place in (tp(0), tp(1)) if (part := hand.engine.part(place))},
        "index": {
            membership: (count, ()) if isinstance(count, int) else (count[0], {(p.tp, row) for p, row in count[1]})
            for membership, count in hand.engine.tables()[0].index.items()
        },
        "open": hand.engine.standings(),
        "offsets": hand.offsets,
        "state": hand.state,
    }


def test_an_engine_ends_in_the_same_state_as_with_dicts(tmp_path: Path) -> None:
    crashed = 0
    for seed in range(25):
        plain, spilling = Hand(partitions=2), type("Here", (SpillingHand,), {"folder": tmp_path})(partitions=2)
        expected, found = course(plain, seed), course(spilling, seed)
        assert found == expected, f"seed {seed}"
        assert found["open"] == 0
        assert isinstance(spilling.engine.part(tp(0)).rows, LmdbRows), f"seed {seed}: never spilled"
        assert isinstance(spilling.engine.tables()[0].index, LmdbIndex)
        crashed += spilling.epoch > 2
        spilling.spill.close()
    assert crashed > 5
    assert list(tmp_path.iterdir()) == []


def test_many_rows_are_counted_a_piece_at_a_time(tmp_path: Path) -> None:
    hand = Hand().start()
    total = 12_000
    for first in range(0, total, 3_000):
        hand.feed(*[hand.put(n, "gold", f"c{n % 9_000}") for n in range(first, first + 3_000)])
        while calls := hand.settle():
            for call in calls:
                hand.answer(call)
    assert len(hand.state[tp()]) == total + 1

    spilling = type("Here", (SpillingHand,), {"folder": tmp_path})()
    spilling.state, spilling.offsets = hand.state, hand.offsets
    spilling.own()
    spilling.restore()
    table = spilling.engine.tables()[0]
    assert not spilling.engine.takes(tp())
    assert spilling.engine.why_closed(table, spilling.now) == "counting"
    assert spilling.engine.next_s(spilling.now) == spilling.now
    spilling.step()
    assert spilling.engine.takes(tp())
    assert dict(table.index.items()) == dict(hand.engine.tables()[0].index.items())
    spilling.spill.close()


def test_forgotten_partitions_are_dropped_and_their_file_with_the_last(tmp_path: Path) -> None:
    hand = type("Here", (SpillingHand,), {"folder": tmp_path})(keyed=True, partitions=2).start()
    for partition in (0, 1):
        hand.feed(*[hand.put(("gold", f"c{partition}{n}")) for n in range(5)], partition=partition)
        for call in hand.settle():
            hand.answer(call)
        hand.settle()
    scratch = hand.spill._scratch
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith(PREFIX)
    assert len(hand.spill._maps) == 4
    assert not scratch._spare
    kept = hand.engine.part(tp(1)).rows
    hand.engine.forget([tp(0)])
    hand.step()
    assert [len(one) for one in hand.spill._maps] == [5, 5]
    assert len(kept) == 5
    assert [scratch.entries(spare) for spare in scratch._spare] == [0, 0]
    hand.engine.forget([tp(1)])
    hand.step()
    assert not hand.spill.spilled
    assert list(tmp_path.iterdir()) == []


class Kept:
    def __init__(self, keys: int) -> None:
        self.values: Any = {}
        self.grow(keys)

    def grow(self, keys: int) -> None:
        self.values.update({b"%d" % key: b"value" for key in range(len(self.values), keys)})


@pytest.mark.parametrize(
    ("rows", "kept", "rows_go", "kept_go"), [(5, 5, False, False), (5, 6, False, True), (11, 5, True, False)]
)
def test_rows_stay_where_it_is_enough_that_references_go(
    tmp_path: Path, *, rows: int, kept: int, rows_go: bool, kept_go: bool
) -> None:
    hand = Hand(keyed=True).start()
    hand.feed(*[hand.put(("gold", f"c{n}")) for n in range(rows)])
    for call in hand.settle():
        hand.answer(call)
    hand.settle()
    said: list[str] = []
    spill = Spill(tmp_path, 10, lambda _, text: said.append(text), small)
    references = [Kept(kept), Kept(0)]
    for one in references:
        spill.keep(one)
    part = hand.engine.part(tp())
    assert len(part.rows) == rows
    spill.turn(hand.engine, {})
    assert (isinstance(part.rows, LmdbRows), isinstance(references[0].values, LmdbRows)) == (rows_go, kept_go)
    assert spill.spilled == rows_go
    assert len(said) == rows_go + kept_go
    assert not said or said[0].startswith(f"{rows} rows, more" if rows_go else f"{kept} references, more")
    if kept_go:
        # then rows may use all of the memory, and no more
        spill.turn(hand.engine, {})
        assert not isinstance(part.rows, LmdbRows)
    references[0].grow(20)
    spill.turn(hand.engine, {})
    assert isinstance(references[0].values, LmdbRows)
    assert dict(references[0].values.items()) == {b"%d" % key: b"value" for key in range(20)}
    # rows go with their partitions, references stay
    hand.engine.forget([tp()])
    spill.turn(hand.engine, {})
    assert not spill.spilled
    assert spill.index(part.table) == {}
    assert len(references[0].values) == 20
    assert list(tmp_path.iterdir()) != []
    spill.close()
    assert list(tmp_path.iterdir()) == []


# ---- the file --------------------------------------------------------------------------------------------------------


def child(body: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - this interpreter
        [sys.executable, "-c", textwrap.dedent(body), *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def test_a_killed_process_leaves_nothing_to_its_successor(tmp_path: Path) -> None:
    killed = child(
        """
        import sys, time, pathlib
        from stream.edge.scratch import Scratch
        from stream.edge.store import LmdbRows
        rows = LmdbRows(Scratch(pathlib.Path(sys.argv[1])))
        for n in range(20_000):
            rows[n.to_bytes(16, "big")] = bytes(100)
        print("written", flush=True)
        time.sleep(60)
        """,
        tmp_path,
    )
    assert killed.stdout is not None
    assert killed.stdout.readline() == "written\n"
    (folder,) = tmp_path.iterdir()
    assert sweep(tmp_path) == [], "its owner lives"
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    assert folder.exists()
    said: list[str] = []
    spill = Spill(tmp_path, 1, lambda _kind, text: said.append(text))
    assert list(tmp_path.iterdir()) == []
    assert said == [f"removed {folder}: its process was killed"]
    spill.close()


def test_what_is_not_ours_is_not_swept(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / OWNER).touch()
    (tmp_path / f"{PREFIX}link").symlink_to(other)
    (tmp_path / f"{PREFIX}file").touch()
    (tmp_path / f"{PREFIX}without-owner").mkdir()
    assert sweep(tmp_path) == []
    assert (other / OWNER).exists()


def test_a_full_disk_is_said_and_nothing_goes_on_after_it(tmp_path: Path) -> None:
    full = child(
        """
        import resource, sys, pathlib
        from stream.edge.scratch import Scratch
        from stream.edge.store import LmdbRows
        from stream.errors import Unavailable
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))
        scratch = Scratch(pathlib.Path(sys.argv[1]))
        rows = LmdbRows(scratch)
        try:
            for n in range(100_000):
                rows[n.to_bytes(16, "big")] = bytes(100)
        except Unavailable as error:
            print(error, "|", error.advice)
        for use in (lambda: rows.get(b"a"), lambda: rows.update({b"a": b""}), lambda: list(rows), lambda: rows.pop(b"a", None)):
            try:
                use()
            except Unavailable as error:
                print("again")
        rows.clear()
        scratch.close()
        print("closed")
        """,
        tmp_path,
    )
    told = full.communicate(timeout=60)[0].splitlines()
    assert full.returncode == 0, told
    assert "cannot go on" in told[0]
    assert "MiB are free there" in told[0]
    assert "nothing is lost" in told[0]
    assert told[1:] == ["again"] * 4 + ["closed"]
    assert list(tmp_path.iterdir()) == []


def test_the_file_has_a_limit(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, bytes_max=1 << 20, writes_max=100)
    rows = LmdbRows(scratch)
    with pytest.raises(Unavailable, match="limit of 1048576 bytes"):
        rows.update({n.to_bytes(16, "big"): bytes(1_000) for n in range(3_000)})
    scratch.close()


def test_a_disk_that_is_nearly_full_is_left_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.edge.scratch.FREE_BYTES_MIN", 1 << 62)
    scratch = small(tmp_path)
    with pytest.raises(Unavailable, match="left to others"):
        LmdbRows(scratch).update({bytes([n]): b"" for n in range(5)})
    scratch.close()


def test_a_named_folder_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"state\.directory"):
        Spill(tmp_path / "absent", 1, lambda _kind, _text: None)


def test_without_a_folder_rows_stay_in_memory_and_it_is_said(tmp_path: Path) -> None:
    def fails(_: Path | None) -> Scratch:
        raise Unavailable("no scratch folder")

    said: list[str] = []
    spill = Spill(tmp_path, 1, lambda _kind, text: said.append(text), fails)
    reading: dict[TopicPartition, Any] = {tp(): {b"a": b"", b"b": b""}}
    engine = Hand().engine
    for _ in range(3):
        spill.turn(engine, reading)
    assert isinstance(reading[tp()], dict)
    assert len(said) == 1
    assert "stay in memory: no scratch folder" in said[0]


def test_a_turn_moves_for_a_moment_only(tmp_path: Path) -> None:
    spill = Spill(tmp_path, 1_000, lambda _kind, _text: None)
    engine = Hand().engine
    rows = {n.to_bytes(16, "big"): bytes(120) for n in range(200_000)}
    reading: dict[TopicPartition, Any] = {tp(): rows}
    turns = 0
    longest_s = 0.0
    started_s = time.monotonic()
    while not spill.spilled or spill.moving:
        before_s = time.monotonic()
        spill.turn(engine, reading)
        longest_s = max(longest_s, time.monotonic() - before_s)
        turns += 1
        assert time.monotonic() - started_s < 60
    assert turns > 3
    assert longest_s < 1.0
    assert len(reading[tp()]) == 200_000
    assert rows == {}
    spill.close()
