import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from stream.demo.figures import Figures, Readings, Second, Segment, fault_counts, quantile
from stream.demo.shop import SEGMENTS
from stream.demo.stage import draw
from stream.demo.view import line, render

KILL = (
    "kill -9 with 129 rows under way. Restarted, it waits for its old session's end, and 4 s for late requests"
)  # fmt: skip
FIGURES = Figures(
    passed_s=12.3, duration_s=30, state="running", changes=4433, records=5602, edits=1909, requests=198,
    changes_rate=300, records_rate=375.5, edits_rate=210.2, requests_rate=29.9, lag=57, p50_s=0.31, p99_s=1.87,
    wanted=1365, in_sync=1309, extra=12, faults_on=("429",),
    faults=fault_counts({"statuses": {"200": 9, "429": 7, "503": 2, "500": 1}, "rows_refused": 4}, kills=1),
    segments=tuple(Segment(code, 200 + place, 190 + place, place) for place, code in enumerate(SEGMENTS)),
    seconds=tuple(Second(300, 7 * second % 400, 10 * second, second) for second in range(70)),
    events=((3.0, "429: 20% of requests"), (8.0, "429: back to normal"), (9.5, KILL)),
)  # fmt: skip
# as much as there may be: every fault on, and lines that are there to be copied
FULL = replace(
    FIGURES,
    faults_on=("429", "5xx", "row errors", "slow", "pause"),
    addresses=(
        "sandbox: http://127.0.0.1:40559/",
        "consumer: http://127.0.0.1:40560/metrics and /readyz",
        "/usr/lib/postgresql/17/bin/psql -h 127.0.0.1 -p 39629 -U segstream postgres",
        "insert into segment_members values (default, 'vip', 4711);",
    ),
)
# as far as the embedded broker goes, and beyond
LARGE = replace(
    FIGURES, changes=34_433, records=145_602, edits=121_909, requests=12_198, changes_rate=5000, records_rate=16_375.5,
    edits_rate=10_000, requests_rate=1000, lag=145_602, p99_s=12.5, wanted=21_365, in_sync=21_309, extra=1_212,
    segments=tuple(Segment(code, 12_000, 11_000, 1_000) for code in SEGMENTS),
)  # fmt: skip
KEYS = ("429", "5xx", "row errors", "slow", "kill -9", "pause", "quit")
SIZES = [(60, 24), (80, 24), (100, 30), (140, 40)]


def drawn(width: int, height: int, figures: Figures = FIGURES) -> list[str]:
    """What a terminal of this size would show: it cuts nothing off by itself, so more lines or columns are seen."""
    console = Console(width=width, height=height, file=StringIO(), record=True)
    console.print(render(figures, width, height), crop=False)
    return console.export_text().rstrip("\n").split("\n")


def folded(lines: list[str]) -> str:
    """The words alone, as if no line or frame parted them."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", " ".join(lines)).split())


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_nothing_is_cut_off(width: int, height: int) -> None:
    lines = drawn(width, height)
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    text = folded(lines)
    assert "…" not in text
    for figure in ("4,433", "5,602", "1,909", "198", "375.5", "9.6", "0.31 s", "1.87 s", "57", "1,309 of 1,365"):
        assert figure in text, figure
    for name in (*FIGURES.faults, "freshness p50", "freshness p99", "there too long", "lag, uncommitted", "in sync"):
        assert name in text, name
    for key in KEYS:
        assert key in text, key
    assert KILL in text


@pytest.mark.parametrize(("width", "height"), [*SIZES, (40, 24), (40, 50), (200, 60), (60, 40)])
def test_also_with_every_fault_on_and_addresses_to_copy(width: int, height: int) -> None:
    lines = drawn(width, height, FULL)
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    text = folded(lines)
    for key in KEYS:
        assert key in text, key
    for shown in ("in sync 1,309 of 1,365", "0.31 s", "1.87 s", "5xx on", "quit"):
        assert shown in text, shown
    whole = "".join(line.strip() for line in lines)
    for address in FULL.addresses:
        assert address.replace(" ", "") in whole.replace(" ", ""), address


@pytest.mark.parametrize(("width", "height"), [*SIZES, (60, 40), (80, 40), (120, 32), (200, 60)])
def test_large_figures_are_whole_too(width: int, height: int) -> None:
    text = folded(drawn(width, height, LARGE))
    assert "…" not in text
    for figure in ("34,433", "145,602 16,376", "121,909", "12,198", "21,309 of 21,365", "1,212", "over 10 s"):
        assert figure in text, figure


@pytest.mark.parametrize("width", [20, 34, 40, 55, 56, 79, 99, 100, 300])
@pytest.mark.parametrize("height", [1, 2, 3, 5, 8, 12, 16, 20, 30, 80])
@pytest.mark.parametrize("figures", [Figures(), FIGURES, FULL], ids=["empty", "usual", "full"])
def test_no_size_is_overrun_and_the_last_keys_stay(width: int, height: int, figures: Figures) -> None:
    lines = drawn(width, height, figures)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert "quit" in lines[-1]


@pytest.mark.parametrize(("width", "height"), [(140, 40), (100, 40), (80, 40), (60, 40)])
def test_room_is_used(width: int, height: int) -> None:
    text = "\n".join(drawn(width, height))
    for name in ("segments", "tier-silver", "each of the last seconds", "differing"):
        assert name in text, name


def test_40_columns_show_the_segments_where_the_lines_suffice() -> None:
    assert "tier-silver" in "\n".join(drawn(40, 50))
    assert "tier-silver" not in "\n".join(drawn(40, 24))


def test_40_columns_tell_the_kill_whole() -> None:
    assert KILL in folded(drawn(40, 24))


def test_more_lines_show_more_events() -> None:
    many = replace(FIGURES, events=tuple((float(second), f"event {second}.") for second in range(50)))
    shown = {height: sum(f"event {second}." in "\n".join(drawn(80, height, many)) for second in range(50))
             for height in (24, 40, 60)}  # fmt: skip
    assert 4 <= shown[24] < shown[40] < shown[60]
    assert "event 49." in "\n".join(drawn(80, 24, many))


def test_without_keys_none_are_offered() -> None:
    text = "\n".join(drawn(80, 24, replace(FIGURES, keys=False)))
    assert "kill -9 " in text  # it is counted still
    assert "quit" not in text
    assert "Ctrl-C ends it" in text


def test_the_line_says_the_same() -> None:
    assert "1309 of 1365 members in sync" in line(FIGURES)
    assert "p99 1.87 s" in line(FIGURES)
    assert "lag    57" in line(FIGURES)


def test_the_picture_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    draw(replace(FIGURES, keys=False), tmp_path / "view.svg")
    text = (tmp_path / "view.svg").read_text()
    assert "1,309" in text
    assert "quit" in text
    assert re.findall(r"url\((?!#)|@font-face|src=", text) == []


def test_faults_are_counted_by_kind() -> None:
    assert FIGURES.faults["5xx answers"] == 3
    assert FIGURES.faults["429 answers"] == 7


def test_a_quantile_lies_within_its_bucket() -> None:
    buckets = {0.1: 0.0, 0.5: 50.0, 1.0: 100.0, float("inf"): 100.0}
    assert quantile(buckets, 0.5) == pytest.approx(0.5)
    assert quantile(buckets, 0.99) == pytest.approx(0.99)
    assert quantile({}, 0.5) is None


def page(records: int, owned: int = 4, sent: int = 0) -> str:
    return (
        f'segstream_records_consumed_total{{op="c",topic="t"}} {records}.0\n'
        f"segstream_assigned_partitions {owned}.0\n"
        f'segstream_batch_members_count{{operation="add"}} {sent}.0\n'
    )


def test_totals_go_on_over_a_restart_of_the_consumer() -> None:
    readings = Readings()
    readings.take(page(100), 0.0, 0)
    readings.take("", 1.0, 0)
    assert not readings.answers
    readings.take(page(10), 2.0, 0)
    readings.take(page(30), 4.0, 0)
    assert readings.total("records") == 130
    assert readings.rate("records") == pytest.approx(30 / 4)
    readings.close()


def test_the_state_is_that_of_the_present_process() -> None:
    readings = Readings()
    states = []
    for text in (page(0, owned=0), page(9), page(9, sent=1), "", page(0, owned=0)):
        readings.take(text, 0.0, 0)
        states.append(readings.state)
    assert states == ["joining", "waiting", "running", "starting", "joining"]
    readings.close()


def test_nothing_is_older_than_the_run() -> None:
    readings = Readings()
    bucket = 'segstream_delivery_latency_seconds_bucket{{le="{}",origin="stream"}} {}.0\n'
    readings.take(page(0), 0.0, 0)
    readings.take(bucket.format("5.0", 0) + bucket.format("10.0", 9) + bucket.format("+Inf", 9), 6.0, 0)
    assert readings.freshness_s(0.99) == 6.0
    readings.close()
