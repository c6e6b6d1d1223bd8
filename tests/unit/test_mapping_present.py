"""When a row counts as present."""

from __future__ import annotations

from typing import Any

import pytest

from stream.core.mapping import Condition, RowMapping, TableRule
from stream.core.model import UNAVAILABLE, Change

SAYS = ("gold", "c1")


def said(condition: Condition, value: Any) -> object:
    mapping = RowMapping(TableRule((("column", "segment"),), (("id", "member"),), (condition,)))
    change = Change("c", {"id": 1}, None, ("gold", "c1", value), 0, False, None)  # noqa: FBT003 - the struct's order
    return mapping.says(change)


@pytest.mark.parametrize(
    ("values", "value"),
    [((None,), None), ((1,), 1), ((True,), True), ((False,), False), (("active", "trial"), "trial"), ((0,), 0)],
)
def test_a_value_that_is_listed(values: tuple[Any, ...], value: Any) -> None:
    assert said(Condition("c", "in", values), value) == SAYS
    assert said(Condition("c", "not_in", values), value) is None


@pytest.mark.parametrize(
    ("values", "value"), [((None,), "2026-11-24"), ((1,), True), ((True,), 1), ((0,), False), (("active",), None)]
)
def test_a_value_that_is_not_listed_and_a_boolean_is_no_number(values: tuple[Any, ...], value: Any) -> None:
    assert said(Condition("c", "in", values), value) is None
    assert said(Condition("c", "not_in", values), value) == SAYS


def test_an_unavailable_value_leaves_the_question_open() -> None:
    partly = said(Condition("c", "in", (None,)), UNAVAILABLE)
    assert getattr(partly, "present", "absent") is None


def test_a_container_is_refused_also_beside_an_unavailable_value() -> None:
    mapping = RowMapping(TableRule((("column", "segment"),), (("id", "member"),), (Condition("c", "in", (None,)),)))
    change = Change("u", {"id": 1}, None, (UNAVAILABLE, "c1", [1]), 0, False, None)  # noqa: FBT003 - the struct's order
    assert getattr(mapping.says(change), "reason", "") == "present_type"
