"""What the simulator found about segments that come to exist, by hand."""

from __future__ import annotations

import pytest
from test_catalog import Table


@pytest.mark.parametrize("flying", [False, True])
def test_a_definition_that_failed_is_not_repeated_once_the_source_ended_the_segment(flying: bool) -> None:  # noqa: FBT001 - a case
    table = Table()
    table.put("7", "gold", "Golden", None)
    one = table.only()
    if not flying:
        table.answer(one, "failed", "timeout")
    table.cut("7")
    assert table.asked() == []
    if flying:
        table.answer(one, "failed", "timeout")
    assert table.asked(100.0) == []
    assert table.catalog.open == 0


def test_a_segment_that_is_back_is_defined() -> None:
    table = Table()
    table.put("7", "gold", "Golden", None)
    table.answer(table.only(), "failed", "timeout")
    table.cut("7")
    assert table.asked() == []
    table.put("7", "gold", "Golden", None)
    assert table.asked(100.0) == [("define", "gold")]
