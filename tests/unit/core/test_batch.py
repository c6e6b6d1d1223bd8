"""Lanes: what is due when, in which order, and that nothing is forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from stream.core.batch import Lanes
from stream.core.limits import Limits
from stream.core.rows import Standing
from stream.core.table import RowTable

LIMITS = Limits(members_max=3, linger_s=1.0, idle_s=0.25, backlog_linger_s=5.0)
TABLE = RowTable(sole=True, enqueue=lambda _: None, rest=lambda _: None, hold=lambda _: None)


def standing(segment: str, number: int) -> Standing:
    return Standing((segment, f"c{number}"), TABLE, 1, (), [])


def put(lanes: Lanes, segment: str, op: str, at_s: float, number: int = 0) -> None:
    lanes.put(lanes.segment(segment).lane("add" if op == "add" else "remove"), standing(segment, number), at_s)


def due(lanes: Lanes, now_s: float, *, behind: bool = False, pressed: bool = False) -> list[tuple[str, str]]:
    return [(lane.segment.code, lane.op) for lane in lanes.due(now_s, behind=behind, pressed=pressed)]


def test_idle_sends_early_and_linger_at_the_latest() -> None:
    lanes = Lanes(LIMITS)
    put(lanes, "gold", "add", 10.0)
    assert due(lanes, 10.2) == []
    assert due(lanes, 10.25) == [("gold", "add")]
    put(lanes, "gold", "add", 10.9, 1)
    assert due(lanes, 10.99) == []
    assert due(lanes, 11.0) == [("gold", "add")]
    assert lanes.next_due_s(behind=False) == 11.0


def test_a_full_lane_does_not_wait() -> None:
    lanes = Lanes(LIMITS)
    for number in range(3):
        put(lanes, "gold", "add", 10.0, number)
    assert due(lanes, 10.0) == [("gold", "add")]


def test_behind_full_requests_matter_more_than_fresh_ones() -> None:
    lanes = Lanes(LIMITS)
    put(lanes, "gold", "add", 10.0)
    assert due(lanes, 14.9, behind=True) == []
    assert due(lanes, 15.0, behind=True) == [("gold", "add")]


def test_under_pressure_everything_is_due_but_what_was_told_to_wait() -> None:
    lanes = Lanes(LIMITS)
    put(lanes, "gold", "add", 10.0)
    put(lanes, "vip", "remove", 10.0)
    lanes.segments["vip"].removes.not_before_s = 20.0
    assert due(lanes, 10.0, pressed=True) == [("gold", "add")]
    assert due(lanes, 19.9) == [("gold", "add")]
    assert due(lanes, 20.0) == [("gold", "add"), ("vip", "remove")]
    assert lanes.next_due_s(behind=False) == 10.25
    lanes.open.pop(lanes.segments["gold"].adds)
    assert lanes.next_due_s(behind=False) == 20.0


def test_a_lane_with_a_rest_goes_behind_the_others() -> None:
    lanes = Lanes(LIMITS)
    for number in range(4):
        put(lanes, "hot", "add", 10.0, number)
    put(lanes, "quiet", "add", 10.1)
    hot = lanes.segments["hot"].adds
    hot.queue.popleft()
    lanes.taken(hot, 10.5, behind=False)
    assert due(lanes, 10.5) == [("quiet", "add"), ("hot", "add")]
    assert hot.opened_s == 10.0
    lanes.taken(hot, 10.6, behind=True)
    assert hot.opened_s == 10.6


def test_a_segment_is_forgotten_when_nothing_about_it_is_open() -> None:
    lanes = Lanes(LIMITS)
    put(lanes, "gold", "add", 10.0)
    segment = lanes.segments["gold"]
    segment.adds.queue.clear()
    for name, busy in (("flights", 1), ("missing_attempts", 1), ("parked", {("gold", "c"): TABLE})):
        idle = getattr(segment, name)
        setattr(segment, name, busy)
        lanes.taken(segment.adds, 11.0, behind=False)
        assert "gold" in lanes.segments, name
        setattr(segment, name, idle)
    segment.removes.attempts = 1
    lanes.drop_idle(segment)
    assert "gold" in lanes.segments
    segment.removes.attempts = 0
    lanes.drop_idle(segment)
    assert not lanes.segments
    assert not lanes.open


PUTS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["add", "remove"]), st.floats(0, 2)), max_size=30
)


@given(PUTS, st.booleans())
def test_nothing_is_forgotten_and_no_lane_waits_past_its_linger(
    puts: list[tuple[str, str, float]],
    behind: bool,  # noqa: FBT001 - Hypothesis passes it
) -> None:
    lanes = Lanes(LIMITS)
    now_s = 0.0
    for number, (segment, op, passed_s) in enumerate(puts):
        now_s += passed_s
        put(lanes, segment, op, now_s, number)
    assert lanes.depth() == len(puts)
    linger_s = LIMITS.backlog_linger_s if behind else LIMITS.linger_s
    assert not puts or lanes.next_due_s(behind=behind) <= now_s + linger_s
    taken = 0
    for lane in lanes.due(now_s + linger_s, behind=behind, pressed=False):
        taken += len(lane.queue)
        lane.queue.clear()
        lanes.taken(lane, now_s + linger_s, behind=behind)
    assert taken == len(puts)
    assert (lanes.depth(), len(lanes.segments), lanes.next_due_s(behind=behind)) == (0, 0, float("inf"))


@given(PUTS, st.floats(0, 70))
def test_lanes_are_due_in_the_order_in_which_they_were_opened(puts: list[tuple[str, str, float]], now_s: float) -> None:
    lanes = Lanes(LIMITS)
    at_s = 0.0
    for number, (segment, op, passed_s) in enumerate(puts):
        at_s += passed_s
        put(lanes, segment, op, at_s, number)
    opened = [lane.opened_s for lane in lanes.due(now_s, behind=False, pressed=False)]
    assert opened == sorted(opened)
