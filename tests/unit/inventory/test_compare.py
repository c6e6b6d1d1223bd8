"""What differs between the source's segments and retail.red's, what is no fault, and how it is shown."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stream.core.catalog import Wanted
from stream.edge.api import Segment
from stream.inventory import as_table, as_text, summary
from stream.inventory.census import Census, Tally
from stream.inventory.compare import Inventory, Line, OnDelete, Told, compare


def census(tallies: dict[str, Tally] | None = None) -> Census:
    found = Census(lambda _: "")
    found.tallies.update(tallies or {})
    return found


def there(code: str, count: int | None = 0, **more: Any) -> Segment:
    values = {"name": code, "type": "fixed", "status": "active"} | more
    return Segment(code, values["name"], values["type"], values["status"], count)


def table(*codes: str, gone: tuple[str, ...] = (), on_delete: OnDelete = "keep", **names: str) -> Told:
    named = {code: Wanted(code, names.get(code, code), None, present=True) for code in codes}
    return Told(named, frozenset(gone), on_delete)


def inventory(
    told: Told | None = None, tallies: dict[str, Tally] | None = None, *segments: Segment, stateless: bool = False
) -> Inventory:
    return compare(told or Told(), census(tallies), {one.code: one for one in segments}, stateless=stateless)


def only(found: Inventory) -> Line:
    (line,) = found.lines
    return line


def test_what_is_equal_ends_with_0() -> None:
    found = inventory(table("gold"), {"gold": Tally(2, 2)}, there("gold", 2))
    assert only(found) == Line("gold", "named", 2, 2, "fixed", 2, (), (), {})
    assert found.exit_code == 0


@pytest.mark.parametrize(("told", "differs"), [(None, False), ("old", False), ("new", True)])
def test_a_description_differs_where_the_table_has_one(told: str | None, *, differs: bool) -> None:
    said = Told({"gold": Wanted("gold", "gold", told, present=True)})
    found = only(inventory(said, {}, there("gold")._replace(description="old")))
    assert found.differences == (("description differs",) if differs else ())


@pytest.mark.parametrize(
    ("told", "tally", "segment", "difference"),
    [
        (table("gold"), Tally(), None, "missing"),
        (Told(), Tally(1), None, "missing"),
        (table("gold"), Tally(), there("gold", type="dynamic"), "dynamic"),
        (Told(), Tally(1), there("gold", 1, type="dynamic"), "dynamic"),
        (table("gold", gold="Golden"), Tally(), there("gold"), "name differs"),
        (table("gold", on_delete="deactivate"), Tally(), there("gold", status="inactive"), "inactive"),
        (Told(), Tally(2, 2), there("gold", 3), "count +1"),
        (Told(), Tally(2, 2), there("gold", 0), "count -2"),
        (table(gone=("gold",), on_delete="delete"), Tally(), there("gold"), "not deleted"),
        (table(gone=("gold",), on_delete="deactivate"), Tally(), there("gold"), "not deactivated"),
    ],
)
def test_what_segstream_is_to_make_equal_and_is_not(
    told: Told, tally: Tally, segment: Segment | None, difference: str
) -> None:
    found = inventory(told, {"gold": tally}, *([segment] if segment else []))
    assert only(found).differences == (difference,)
    assert found.exit_code == 65


@pytest.mark.parametrize(
    ("told", "tally", "segment", "notes"),
    [
        (Told(), None, there("gold", 7), ("extra",)),
        (Told(), Tally(pending=Counter({"customer_missing": 4, "lookup": 1})), there("gold", 0), ("pending 5",)),
        (Told(), Tally(pending=Counter({"customer_missing": 4})), None, ("pending 4",)),
        (Told(), Tally(wanted=3, told=1), there("gold", 3), ("2 on the way",)),
        (Told(), Tally(wanted=3, told=1, refused=2), there("gold", 1), ("refused 2",)),
        (Told(), Tally(ending=1), there("gold", 0), ("1 ending",)),
        (Told(), Tally(wanted=3, told=3), there("gold", None), ()),
        (Told(), Tally(wanted=3, told=3), there("gold", 3, status="inactive"), ()),
        (table("gold"), Tally(), there("gold", status="inactive"), ()),
        (table(gone=("gold",)), Tally(), there("gold"), ()),
        (table(gone=("gold",), on_delete="delete"), Tally(), None, ()),
        (table(gone=("gold",), on_delete="deactivate"), Tally(), there("gold", status="inactive"), ()),
        (table(gone=("gold",), on_delete="deactivate"), Tally(), None, ()),
    ],
)
def test_what_is_no_fault(told: Told, tally: Tally | None, segment: Segment | None, notes: tuple[str, ...]) -> None:
    found = inventory(told, {"gold": tally} if tally else {}, *([segment] if segment else []))
    assert (only(found).differences, only(found).notes) == ((), notes)
    assert found.exit_code == 0


def test_without_row_state_members_are_not_compared() -> None:
    found = inventory(table("gold"), {}, there("gold", 5), stateless=True)
    assert only(found).differences == ()
    assert "no row state yet" in summary(found)
    assert as_text(found).splitlines()[1].split() == ["gold", "named", "?", "fixed", "5", "-"]


def test_a_dynamic_segment_that_nobody_asked_for_is_left_out() -> None:
    found = inventory(Told(), {}, there("auto", type="dynamic"), there("by-hand"), there("untyped", type=""))
    assert [(line.code, line.source, line.there) for line in found.lines] == [
        ("by-hand", "-", "fixed"),
        ("untyped", "-", "fixed"),
    ]


def some() -> Inventory:
    return inventory(
        table("gold", "silver", gone=("old",), silver="Silver"),
        {"gold": Tally(1_000, 998), "tin": Tally(2, 2, pending=Counter({"customer_missing": 3}))},
        there("gold", 1_000),
        there("silver", 4),
        there("old", 1),
        there("by-hand", 9),
    )


def test_as_lines_of_text() -> None:
    assert as_text(some()) == (
        "CODE     SOURCE   MEMBERS  RETAIL.RED  COUNT THERE  DIFFERENCE\n"
        "by-hand  -              ?  fixed                 9  extra\n"
        "gold     named   998/1000  fixed              1000  2 on the way\n"
        "old      gone         0/0  fixed                 1  count +1\n"
        "silver   named        0/0  fixed                 4  name differs, count +4\n"
        "tin      named        2/2  missing               ?  missing, pending 3\n"
    )
    assert (
        summary(some()) == "4 segments of the source, 3 differ, 1 at retail.red that the source does not know, 0 rows"
    )


def test_as_json() -> None:
    told = json.loads(json.dumps(some().as_json()))
    assert told["exit_code"] == 65
    tin = next(one for one in told["segments"] if one["code"] == "tin")
    assert tin == {
        "code": "tin", "source": "named", "wanted": 2, "told": 2, "there": "missing", "count": None,
        "differences": ["missing"], "notes": ["pending 3"], "pending": {"customer_missing": 3},
    }  # fmt: skip


@pytest.mark.parametrize("width", [40, 80, 200])
def test_nothing_is_wider_than_the_terminal(width: int, tmp_path: Path) -> None:
    from rich.console import Console  # noqa: PLC0415 - the one test that draws

    found = inventory(table(*(f"segment-with-a-rather-long-code-{n}" for n in range(3))))
    with (tmp_path / "out").open("w") as out:
        console = Console(width=width, record=True, file=out)
        console.print(as_table(found))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    assert "long" in "".join("".join(lines).split())
