"""Which segments come to exist: what the table of segments says, what members need, and what is never done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import pytest

from stream.core.catalog import CODES_MAX, REFUSED_RETRY_S, SLOT_LOOK_S, TEXT_MAX, Catalog, CatalogRule, Plan
from stream.core.mapping import Condition
from stream.core.model import Definition, DefinitionOutcome
from stream.core.verdict import VerdictPolicy

OnDelete = Literal["keep", "deactivate", "delete"]
LANDS_S = 15.0


class Rows:
    """The table of segments: each row's values, its partition, and whether it was deleted."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[Sequence[Any], int, bool]] = {}

    def get(self, key: str) -> Sequence[Any] | None:
        found = self.rows.get(key)
        return found[0] if found is not None else None

    def deleted(self, key: str) -> bool:
        return key in self.rows and self.rows[key][2]

    def partition(self, key: str) -> int:
        return self.rows[key][1] if key in self.rows else -1

    def every(self) -> list[str]:
        return list(self.rows)


class Table:
    """A catalog over a table of segments with the columns code, title, about; partition 0 is ours."""

    def __init__(
        self,
        *,
        on_delete: OnDelete = "keep",
        present: tuple[Condition, ...] = (),
        create_missing: bool = False,
        table: bool = True,
        owned: set[int] | None = None,
        slots: int = 2,
    ) -> None:
        self.rows = Rows()
        self.alarms: list[tuple[str, str]] = []
        self.created: list[str] = []
        self.tally: Counter[tuple[str, ...]] = Counter()
        self.now = 100.0
        rule = CatalogRule("code", "title", "about", present, on_delete)
        plan = Plan(create_missing, "t", rule, self.rows) if table else Plan(create_missing)
        self.catalog = Catalog(
            plan,
            VerdictPolicy(1.0, 60.0, 300.0),
            self.tally,
            lambda kind, text: self.alarms.append((kind, text)),
            self.created.append,
            lands_s=LANDS_S,
            slots=slots,
        )
        self.catalog.owned({0} if owned is None else owned)

    def put(self, key: str, *values: Any, partition: int = 0, deleted: bool = False) -> None:
        self.rows.rows[key] = (values, partition, deleted)
        self.catalog.changed([key])

    def cut(self, key: str) -> None:
        values, partition, _ = self.rows.rows[key]
        self.put(key, *values, partition=partition, deleted=True)

    def asks(self, pass_s: float = 0.0) -> list[Definition]:
        self.now += pass_s
        return self.catalog.definitions(self.now)

    def asked(self, pass_s: float = 0.0) -> list[tuple[str, str]]:
        return [(one.op, one.code) for one in self.asks(pass_s)]

    def only(self, pass_s: float = 0.0) -> Definition:
        (one,) = self.asks(pass_s)
        return one

    def answer(
        self, asked: Definition, kind: Any = "done", reason: str = "created", message: str = "", **more: Any
    ) -> None:
        values: dict[str, Any] = {"status": 200, "retry_after_s": None} | more
        outcome = DefinitionOutcome(
            asked, kind, values["status"], reason, message, values["retry_after_s"], self.now, 0.0
        )
        self.catalog.settle(outcome, self.now, 0.5)

    def done(self) -> list[tuple[str, str]]:
        """Everything that is owed is asked for and done; what that was."""
        found: list[tuple[str, str]] = []
        while self.catalog.open or self.catalog.next_s(self.now) <= self.now:
            for one in self.asks():
                found.append((one.op, one.code))
                self.answer(one, reason="deleted" if one.op == "delete" else "created")
            self.now = max(self.now, min(self.catalog.next_s(self.now), self.now + LANDS_S))
        return found

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.alarms]


# ---- created, and by whom ----------------------------------------------------------------------------------------------


def test_a_row_defines_its_segment_with_name_and_description() -> None:
    table = Table()
    table.put("7", "gold", "Golden", "the best")
    one = table.only()
    assert (one.op, one.code, one.name, one.description) == ("define", "gold", "Golden", "the best")
    assert table.asked() == []
    table.answer(one)
    assert table.created == ["gold"]
    assert (table.catalog.open, table.asked()) == (0, [])
    assert table.tally["segments_defined", "created"] == 1


@pytest.mark.parametrize(
    ("name", "about", "as_name", "as_about"),
    [
        (None, None, "gold", None),
        ("", "", "gold", ""),
        (0, 5, "0", "5"),
        ("x" * 2_000, "y" * 2_000, "x" * TEXT_MAX, "y" * TEXT_MAX),
    ],
)
def test_a_name_that_is_missing_is_the_code_and_long_texts_are_cut(
    name: Any, about: Any, as_name: str, as_about: str | None
) -> None:
    table = Table()
    table.put("7", "gold", name, about)
    one = table.only()
    assert (one.name, one.description) == (as_name, as_about)


def test_columns_that_are_not_named_are_not_told() -> None:
    table = Table()
    table.catalog = Catalog(
        Plan(topic="t", rule=CatalogRule("code"), rows=table.rows),
        VerdictPolicy(1, 2, 3),
        Counter(),
        print,
        print,
        lands_s=LANDS_S,
    )
    table.catalog.owned({0})
    table.put("7", "gold")
    one = table.only()
    assert (one.name, one.description) == ("gold", None)


def test_the_columns_that_are_kept_are_each_named_once() -> None:
    rule = CatalogRule("code", "code", "", (Condition("active", "in", (True,)), Condition("code", "not_in", (None,))))
    assert rule.columns() == ("code", "active")


def test_only_the_owner_of_the_row_s_partition_acts() -> None:
    table = Table()
    table.put("7", "gold", None, None, partition=1)
    assert table.asked() == []
    table.put("8", "silver", None, None, partition=0)
    assert table.asked() == [("define", "silver")]


def test_a_new_owner_looks_at_every_row_of_its_partitions() -> None:
    table = Table(owned=set())
    table.put("7", "gold", None, None)
    table.put("8", "silver", None, None, partition=1)
    assert table.asked() == []
    table.catalog.owned({1})
    assert table.done() == [("define", "silver")]
    table.catalog.owned({0, 1})
    assert table.done() == [("define", "gold")]
    table.catalog.owned({0, 1})
    assert table.done() == []


def test_a_renamed_row_defines_again_one_that_says_the_same_code_and_name_too() -> None:
    table = Table()
    table.put("7", "gold", "Golden", None)
    table.answer(table.only())
    table.put("7", "gold", "Very golden", None)
    assert table.only().name == "Very golden"


def test_a_rename_while_the_first_is_asked_for_is_asked_for_afterwards() -> None:
    table = Table()
    table.put("7", "gold", "Golden", None)
    first = table.only()
    table.put("7", "gold", "Very golden", None)
    assert table.asked() == []
    table.answer(first)
    second = table.only()
    assert second.name == "Very golden"
    table.answer(first)
    assert table.catalog.open == 1
    table.answer(second)
    assert table.catalog.open == 0


def test_two_rows_of_one_code_are_one_segment_and_the_last_look_names_it() -> None:
    table = Table()
    table.put("7", "gold", "One", None)
    table.put("8", "gold", "Two", None)
    assert table.only().name == "Two"


def test_a_row_without_a_usable_code_is_left_out_and_said_once() -> None:
    table = Table()
    for code in (None, "", "a/b", {"x": 1}, "x" * 129):
        table.put("7", code, None, None)
    assert table.asked() == []
    assert table.kinds() == ["segment_code"]
    table.put("7", "gold", None, None)
    assert table.asked() == [("define", "gold")]


def test_what_is_asked_for_at_once_is_limited() -> None:
    table = Table(slots=2)
    for n in range(5):
        table.put(str(n), f"s{n}", None, None)
    first = table.asks()
    assert len(first) == 2
    assert table.catalog.next_s(table.now) == table.now + SLOT_LOOK_S
    table.answer(first[0])
    assert table.catalog.next_s(table.now) <= table.now
    assert [one.code for one in table.asks()] == ["s2"]


# ---- deleted -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_delete", "then"),
    [("keep", []), ("deactivate", [("deactivate", "gold")]), ("delete", [("delete", "gold")])],
)
def test_what_becomes_of_a_segment_whose_row_is_deleted(on_delete: OnDelete, then: list[tuple[str, str]]) -> None:
    table = Table(on_delete=on_delete)
    table.put("7", "gold", None, None)
    table.done()
    table.created.clear()
    table.cut("7")
    assert table.done() == then
    assert table.created == []


def test_a_segment_that_another_row_names_stays() -> None:
    table = Table(on_delete="delete")
    table.put("7", "gold", None, None)
    table.put("8", "gold", None, None)
    table.done()
    table.cut("7")
    assert table.done() == []
    table.cut("8")
    assert table.done() == [("delete", "gold")]


@pytest.mark.parametrize("order", [("7", "8"), ("8", "7")])
@pytest.mark.parametrize("partition", [0, 1])
def test_at_the_start_a_deleted_row_does_not_take_away_what_another_names(
    order: tuple[str, str], partition: int
) -> None:
    table = Table(on_delete="delete")
    rows = {"7": {"deleted": True}, "8": {"partition": partition}}
    for key in order:
        table.put(key, "gold", None, None, **rows[key])  # type: ignore[arg-type]
    assert "delete" not in {op for op, _ in table.done()}


def test_another_s_row_that_comes_while_the_deletion_is_under_way_makes_it_exist_again() -> None:
    table = Table(on_delete="delete")
    table.put("7", "gold", None, None, deleted=True)
    deletion = table.only()
    table.put("8", "gold", "Golden", None, partition=1)
    assert table.asked() == []
    table.answer(deletion, reason="deleted")
    # the deletion may still take effect after its answer
    assert table.asked(LANDS_S - 1) == []
    assert table.catalog.next_s(table.now) == table.now + 1
    one = table.only(1)
    assert (one.op, one.name) == ("define", "Golden")


def test_a_row_that_comes_back_defines_again() -> None:
    table = Table(on_delete="delete")
    table.put("7", "gold", None, None)
    table.done()
    table.cut("7")
    deletion = table.only()
    table.put("7", "gold", None, None)
    table.answer(deletion, reason="deleted")
    assert table.done() == [("define", "gold")]


@pytest.mark.parametrize(
    ("condition", "counts", "not_"),
    [
        (Condition("active", "in", (True,)), True, (1, "true", False, None)),
        (Condition("active", "in", (1,)), 1, (True, "1", 0)),
        (Condition("active", "in", (False,)), False, (0, None, True)),
        (Condition("active", "in", (None,)), None, (False, 0, "")),
        (Condition("active", "not_in", (True,)), 1, (True,)),
        (Condition("active", "in", ("a", "b")), "b", ("c",)),
    ],
)
def test_a_row_that_counts_no_more_is_as_one_deleted(condition: Condition, counts: Any, not_: tuple[Any, ...]) -> None:
    for value in not_:
        table = Table(on_delete="deactivate", present=(condition,))
        table.put("7", "gold", None, None, counts)
        assert table.done() == [("define", "gold")], counts
        table.put("7", "gold", None, None, value)
        assert table.done() == [("deactivate", "gold")], value


def test_every_condition_must_hold() -> None:
    both = (Condition("active", "in", (True,)), Condition("shop", "in", ("de", "at")))
    table = Table(present=both)
    table.put("7", "gold", None, None, True, "de")  # noqa: FBT003 - a column's value
    table.put("8", "silver", None, None, True, "ch")  # noqa: FBT003 - likewise
    table.put("9", "bronze", None, None, False, "at")  # noqa: FBT003 - likewise
    assert table.done() == [("define", "gold")]


# ---- changed codes -----------------------------------------------------------------------------------------------------


def test_a_code_that_changed_before_its_segment_was_made_is_made_as_its_members_stay_there() -> None:
    table = Table(owned=set())
    table.put("7", "gold", "Gold", None)
    assert table.asks() == []
    table.put("7", "golden", "Gold", None)
    assert table.asks() == []
    table.catalog.owned({0})
    assert table.asks() == []
    table.catalog.missing("gold", existed=False)
    assert [(one.op, one.code) for one in table.asks()] == [("exist", "gold")]
    assert table.kinds() == ["segment_code_changed"]


def test_a_changed_code_creates_nothing_and_is_said_once() -> None:
    table = Table(on_delete="delete")
    table.put("7", "gold", None, None)
    table.done()
    for _ in range(2):
        table.put("7", "golden", "New", None)
        assert table.done() == []
    ((kind, text),) = table.alarms
    assert kind == "segment_code_changed"
    assert "--accept golden" in text
    table.put("7", "gold", "Renamed", None)
    assert table.only().name == "Renamed"


@pytest.mark.parametrize("before", [True, False])
def test_an_accepted_code_is_created_and_the_old_segment_kept(before: bool) -> None:  # noqa: FBT001 - a case
    table = Table(on_delete="delete")
    table.put("7", "gold", None, None)
    table.done()
    if before:
        table.catalog.accept("golden")
    table.put("7", "golden", "New", None)
    if not before:
        assert table.done() == []
        table.catalog.accept("golden")
    one = table.only()
    assert (one.op, one.code, one.name) == ("define", "golden", "New")
    table.answer(one)
    table.catalog.accept("golden")
    assert table.done() == []
    assert "deleted it" in table.catalog.missing("gold", existed=True)
    table.cut("7")
    assert table.done() == [("delete", "golden")]


def test_an_accepted_code_of_another_row_moves_nothing() -> None:
    table = Table()
    table.put("7", "gold", None, None)
    table.put("8", "silver", None, None)
    table.done()
    table.put("7", "golden", None, None)
    table.catalog.accept("platinum")
    assert table.done() == []
    table.catalog.accept("golden")
    table.catalog.withdraw("golden")
    assert table.done() == []
    assert table.kinds() == ["segment_code_changed"]


@pytest.mark.parametrize(("on_delete", "gone"), [("keep", False), ("deactivate", False), ("delete", True)])
def test_a_segment_has_no_members_once_the_source_ended_it_and_it_is_deleted(
    on_delete: OnDelete,
    gone: bool,  # noqa: FBT001 - a case
) -> None:
    table = Table(on_delete=on_delete)
    table.put("7", "gold", None, None)
    table.done()
    assert not table.catalog.deleted("gold")
    table.cut("7")
    table.done()
    assert table.catalog.deleted("gold") is gone


@pytest.mark.parametrize("on_delete", ["keep", "deactivate"])
def test_a_segment_is_made_active_only_where_it_may_have_been_deactivated_by_us(on_delete: OnDelete) -> None:
    table = Table(on_delete=on_delete)
    table.put("7", "gold", None, None)
    assert table.only().active is (on_delete == "deactivate")


# ---- what members need -------------------------------------------------------------------------------------------------


def test_a_missing_segment_is_created_only_where_that_is_wanted() -> None:
    table = Table(table=False)
    assert "create_missing" in table.catalog.missing("gold", existed=False)
    assert table.asked() == []
    table = Table(table=False, create_missing=True)
    assert table.catalog.missing("gold", existed=False) == "it is created"
    one = table.only()
    assert (one.op, one.code, one.name, one.description) == ("exist", "gold", "gold", None)
    table.catalog.missing("gold", existed=False)
    assert table.asked() == []
    table.answer(one)
    assert table.created == ["gold"]


def test_what_was_there_before_is_not_created_again() -> None:
    table = Table(table=False, create_missing=True)
    assert "was deleted at retail.red" in table.catalog.missing("gold", existed=True)
    assert table.asked() == []


@pytest.mark.parametrize("existed", [True, False])
def test_what_the_source_deleted_is_never_created(existed: bool) -> None:  # noqa: FBT001 - a case
    table = Table(create_missing=True, on_delete="delete")
    table.put("7", "gold", None, None)
    table.done()
    table.cut("7")
    table.done()
    assert "the source deleted it" in table.catalog.missing("gold", existed=existed)
    assert table.asked() == []
    table.put("7", "gold", None, None)
    assert table.done() == [("define", "gold")]
    assert "the table of segments names it" in table.catalog.missing("gold", existed=existed)


def test_what_the_table_names_is_defined_by_its_owner_alone() -> None:
    table = Table(create_missing=True)
    table.put("7", "gold", "Golden", None)
    table.put("8", "silver", "Silver", None, partition=1)
    assert table.done() == [("define", "gold")]
    # it went away at retail.red: the table names it all the same
    assert "the table of segments names it" in table.catalog.missing("gold", existed=True)
    assert table.only().name == "Golden"
    assert "the table of segments names it" in table.catalog.missing("silver", existed=False)
    assert table.asked() == []


def test_what_members_need_does_not_outrank_what_the_table_says() -> None:
    table = Table(create_missing=True, slots=0)
    table.catalog.missing("gold", existed=False)
    table.put("7", "gold", "Golden", None)
    assert table.asked() == []
    table.catalog.missing("gold", existed=False)
    assert [task.op for task in table.catalog._tasks.values()] == ["define"]


# ---- answers -----------------------------------------------------------------------------------------------------------


def test_a_dynamic_segment_is_never_touched_and_said_once() -> None:
    table = Table()
    table.put("7", "gold", None, None)
    table.answer(table.only(), "dynamic", "dynamic")
    assert (table.kinds(), table.created, table.catalog.open) == (["segment_dynamic"], [], 0)
    table.put("7", "gold", "Name", None)
    table.answer(table.only(), "dynamic", "dynamic")
    assert table.kinds() == ["segment_dynamic"]
    assert table.tally["segments_defined", "dynamic"] == 2


def test_a_refused_one_rests_and_is_tried_again_at_once_when_it_changes() -> None:
    table = Table()
    table.put("7", "gold", "bad", None)
    table.answer(table.only(), "refused", "400", "name is bad", status=400)
    assert table.alarms == [("segment_refused", "retail.red refuses segment gold: name is bad")]
    assert table.catalog.next_s(table.now) == table.now + REFUSED_RETRY_S
    assert table.asked(REFUSED_RETRY_S - 1) == []
    table.put("7", "gold", "good", None)
    assert table.only().name == "good"


def test_a_refusal_does_not_delay_what_was_changed_meanwhile() -> None:
    table = Table()
    table.put("7", "gold", "bad", None)
    one = table.only()
    table.put("7", "gold", "good", None)
    assert table.asked() == []
    table.answer(one, "refused", "400", status=400)
    assert table.only().name == "good"


def test_failures_are_tried_again_slower_and_slower_and_others_go_on() -> None:
    table = Table(slots=1)
    table.put("7", "gold", None, None)
    waits = []
    for _ in range(8):
        table.answer(table.only(), "failed", "server_error", status=503)
        waits.append(table.catalog.next_s(table.now) - table.now)
        table.now += waits[-1]
    assert waits == sorted(waits)
    assert waits[0] < 5 < waits[-1] <= 60
    table.answer(table.only(), "failed", "server_error", status=503)
    table.put("8", "silver", None, None)
    assert table.only().code == "silver"
    assert table.tally["segments_defined", "failed"] == 9


@pytest.mark.parametrize(("told_s", "waits_s"), [(120.0, 120.0), (9_000.0, 300.0)])
def test_a_pause_that_retail_red_asks_for_is_made_within_limits(told_s: float, waits_s: float) -> None:
    table = Table()
    table.put("7", "gold", None, None)
    table.answer(table.only(), "failed", "throttled", status=429, retry_after_s=told_s)
    assert table.catalog.next_s(table.now) == table.now + waits_s


@pytest.mark.parametrize("reason", ["auth", "credentials", "forbidden"])
def test_a_lack_of_rights_is_said_once_and_tried_again_seldom(reason: str) -> None:
    table = Table()
    table.put("7", "gold", None, None)
    table.put("8", "silver", None, None)
    for one in table.asks():
        table.answer(one, "failed", reason, "no right", status=403)
    assert table.alarms == [("segment_auth", "retail.red does not let this program define segments: no right")]
    assert table.asked(59) == []
    assert len(table.asked(2)) == 2


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    table = Table()
    table.answer(Definition(99, "define", "gold", "x"))
    assert (table.created, dict(table.tally)) == ([], {})


def test_nothing_is_due_while_nothing_is_owed() -> None:
    table = Table()
    assert table.catalog.next_s(5.0) == float("inf")
    table.put("7", "gold", None, None)
    assert table.catalog.next_s(5.0) == 5.0
    one = table.only()
    table.answer(one)
    assert table.catalog.next_s(5.0) == float("inf")


def test_without_a_table_rows_and_accepted_codes_mean_nothing() -> None:
    table = Table(table=False)
    table.catalog.changed(["7"])
    table.catalog.accept("gold")
    table.catalog.owned({0, 1})
    assert table.asked() == []


def test_what_is_remembered_of_deleted_ones_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CODES_MAX >= 1_000_000
    monkeypatch.setattr("stream.core.catalog.CODES_MAX", 3)
    table = Table()
    for n in range(10):
        table.put(str(n), f"s{n}", None, None, deleted=True)
        table.put(f"bad{n}", None, None, None)
        table.asked()
    assert len(table.catalog._gone) <= 3
    assert len(table.catalog._said) <= 3


def test_what_the_table_says_now() -> None:
    table = Table(on_delete="delete", present=(Condition("active", "in", (True,)),))
    assert table.catalog.says() == ({}, set())
    table.put("7", "gold", "Golden", None, True)  # noqa: FBT003 - a column's value
    table.put("8", "gold", "Old", None, True, deleted=True)  # noqa: FBT003 - likewise
    table.put("9", "silver", "Silver", None, False, partition=1)  # noqa: FBT003 - likewise
    table.put("10", "a/b", "bad", None, True)  # noqa: FBT003 - likewise
    named, gone = table.catalog.says()
    assert {code: wanted.name for code, wanted in named.items()} == {"gold": "Golden"}
    assert gone == {"silver"}
    assert Table(table=False).catalog.says() == ({}, set())
