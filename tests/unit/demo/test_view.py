import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from stream.demo.figures import Figures, Readings, fault_counts, quantile
from stream.demo.stage import draw
from stream.demo.view import line, render

FIGURES = Figures(
    passed_s=12.3, duration_s=30, state="running", changes=4433, records=5602, edits=1909, requests=198,
    changes_rate=300, records_rate=375.5, edits_rate=210.2, requests_rate=29.9, lag=57, p50_s=0.31, p99_s=1.87,
    wanted=1365, in_sync=1309, extra=12, faults_on=("429",),
    faults=fault_counts({"statuses": {"200": 9, "429": 7, "503": 2, "500": 1}, "rows_refused": 4}, kills=1),
    events=((3.0, "429: 20% of requests"), (9.5, "kill -9: the consumer dies in the middle of its work, starts again")),
)  # fmt: skip


def drawn(width: int) -> str:
    console = Console(width=width, file=StringIO(), record=True)
    console.print(render(FIGURES, width))
    return console.export_text()


@pytest.mark.parametrize("width", [60, 140])
def test_every_figure_is_shown_whole_and_no_line_is_too_long(width: int) -> None:
    text = drawn(width)
    assert max(map(len, text.splitlines())) <= width
    for figure in ("4,433", "5,602", "1,909", "198", "375.5", "9.6", "0.31 s", "1.87 s", "57", "1,309 of 1,365"):
        assert figure in text, figure
    for name in (
        "there too long",
        "429 answers",
        "5xx answers",
        "rows refused once",
        "overlapping operations",
        "freshness p99",
    ):
        assert name in text, name
    for key in ("kill", "pause", "quit"):
        assert key in text, key


def test_the_wide_view_is_lower_than_the_narrow_one() -> None:
    assert len(drawn(140).splitlines()) <= 24
    assert len(drawn(60).splitlines()) > len(drawn(140).splitlines())


def test_the_line_says_the_same() -> None:
    assert "1309 of 1365 members in sync" in line(FIGURES)
    assert "p99 1.87 s" in line(FIGURES)


def test_the_picture_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    draw(FIGURES, tmp_path / "view.svg")
    text = (tmp_path / "view.svg").read_text()
    assert "1,309" in text
    assert re.findall(r"url\((?!#)|@font-face|src=", text) == []


def test_faults_are_counted_by_kind() -> None:
    assert FIGURES.faults["5xx answers"] == 3
    assert FIGURES.faults["429 answers"] == 7


def test_a_quantile_lies_within_its_bucket() -> None:
    buckets = {0.1: 0.0, 0.5: 50.0, 1.0: 100.0, float("inf"): 100.0}
    assert quantile(buckets, 0.5) == pytest.approx(0.5)
    assert quantile(buckets, 0.99) == pytest.approx(0.99)
    assert quantile({}, 0.5) is None


def page(records: int, lag: int) -> str:
    return (
        f'segstream_records_consumed_total{{op="c",topic="t"}} {records}.0\n'
        f'segstream_consumer_lag_records{{partition="0",topic="t"}} {lag}.0\n'
    )


def test_totals_go_on_over_a_restart_of_the_consumer() -> None:
    readings = Readings()
    readings.take(page(100, 5), 0.0, 0)
    readings.take("", 1.0, 0)
    assert not readings.answers
    readings.take(page(10, 3), 2.0, 0)
    readings.take(page(30, 4), 4.0, 0)
    assert readings.total("records") == 130
    assert readings.rate("records") == pytest.approx(30 / 4)
    assert readings.lag == 4
    readings.close()
