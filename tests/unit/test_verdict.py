"""What outcomes come to: nothing is counted as success by default."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core.model import Call, ItemError, Op, Outcome
from stream.core.verdict import Verdict, VerdictPolicy, judge

POLICY = VerdictPolicy(retry_base_s=0.2, retry_cap_s=30.0, retry_after_cap_s=300.0)
REFUSED = {"unknown_customer", "invalid", "forbidden", "conflict", "too_large", "gone", "rejected", "unclear"}
RETRIED = {"item_throttled", "item_error", "unclear"}
REASONS = {
    "ok", "items", "refused", "unreachable", "unanswered", "throttled", "server_error", "auth", "forbidden",
    "segment_missing", "timeout", "too_early", "conflict", "invalid", "too_large", "unexpected_status", "credentials",
    "token", "lease", "closed", "unsent", "unnamed_errors",
}  # fmt: skip


def error(code: str | None = "400", index: int | None = None, entity_id: str | None = None) -> ItemError:
    return ItemError(code=code, index=index, entity_id=entity_id, message="whatever m1 the server says")


def outcome(
    status: int = 201,
    *errors: ItemError,
    op: Op = "add",
    members: tuple[str, ...] = ("m0", "m1", "m2"),
    kind: str = "answered",
    after_s: float | None = None,
    code: str = "",
) -> Outcome:
    call = Call(7, op, "vip", members)
    return Outcome(call, kind, status, errors, after_s, code, "", 100.0, 0.1)  # type: ignore[arg-type]


def verdict(of: Outcome, attempt: int = 0, jitter: float = 0.5) -> Verdict:
    return judge(of, POLICY, attempt, jitter)


@pytest.mark.parametrize(
    ("status", "op", "settles_later"),
    [(200, "remove", False), (201, "add", False), (204, "add", False), (202, "remove", True), (202, "add", True)],
)
def test_a_2xx_without_errors_is_done(status: int, op: Op, settles_later: bool) -> None:  # noqa: FBT001 - a table's column
    assert verdict(outcome(status, op=op)) == Verdict("done", "ok", settles_later=settles_later)


@pytest.mark.parametrize(
    ("op", "code", "refused", "retried"),
    [
        ("add", "409", None, None),
        ("add", "Conflict", None, None),
        ("add", "ALREADY_EXISTS", None, None),
        ("remove", "404", None, None),
        ("remove", "NotFound", None, None),
        ("remove", "410", None, None),
        ("add", "404", "unknown_customer", None),
        ("add", "NotFound", "unknown_customer", None),
        ("add", "410", "gone", None),
        ("add", "400", "invalid", None),
        ("add", "SCHEMA_VALIDATION_FAILED", "invalid", None),
        ("add", "403", "forbidden", None),
        ("remove", "409", "conflict", None),
        ("add", "413", "too_large", None),
        ("add", "418", "rejected", None),
        ("add", "429", None, "item_throttled"),
        ("add", "408", None, "item_error"),
        ("remove", "500", None, "item_error"),
        ("add", "InternalServerError", None, "item_error"),
        ("add", "200", None, "unclear"),
        ("add", "E_WHAT", None, "unclear"),
        ("add", None, None, "unclear"),
        ("add", "٤٠٩", None, "unclear"),
    ],
)
def test_items_are_judged_by_their_code(op: Op, code: str | None, refused: str | None, retried: str | None) -> None:
    got = verdict(outcome(201, error(code, index=1), op=op))
    assert got.kind == "done"
    assert got.refused_members == ({"m1": refused} if refused else {})
    assert got.retry_members == ({"m1": retried} if retried else {})


def test_an_unclear_item_is_refused_after_some_attempts() -> None:
    assert verdict(outcome(201, error(None, index=0)), attempt=2).retry_members == {"m0": "unclear"}
    assert verdict(outcome(201, error(None, index=0)), attempt=3).refused_members == {"m0": "unclear"}


def test_an_item_of_5xx_may_land_late_and_one_of_429_may_not() -> None:
    assert verdict(outcome(201, error("503", index=0))).may_land_late
    assert not verdict(outcome(201, error("429", index=0))).may_land_late


def test_the_id_wins_over_the_index_if_the_call_has_it() -> None:
    assert verdict(outcome(201, error("400", 0, "m2"))).refused_members == {"m2": "invalid"}
    assert verdict(outcome(201, error("400", 0, "stranger"))).refused_members == {"m0": "invalid"}


@pytest.mark.parametrize(("index", "entity_id"), [(None, None), (3, None), (-1, None), (99, "stranger"), (None, "M1")])
def test_an_error_that_names_nobody_splits_the_call(index: int | None, entity_id: str | None) -> None:
    assert verdict(outcome(201, error("400", index, entity_id), error("404", 1))).kind == "split"
    alone = verdict(outcome(201, error("400", index, entity_id), members=("m0",)))
    assert (alone.kind, alone.refused_members) == ("done", {"m0": "invalid"})


def test_an_error_that_names_nobody_but_means_done_is_done() -> None:
    assert verdict(outcome(201, error("409"))) == Verdict("done", "ok")


def test_the_worst_of_several_errors_of_one_member_counts() -> None:
    got = verdict(outcome(201, error("409", 1), error("500", 1), error("404", 1), error("404", 1)))
    assert (got.refused_members, got.retry_members) == ({"m1": "unknown_customer"}, {})


def test_an_item_404_of_the_segment_itself_is_a_missing_segment() -> None:
    assert verdict(outcome(201, error("404", 0, "vip"))).kind == "segment_missing"


@pytest.mark.parametrize(("status", "label"), [(400, "invalid"), (422, "invalid"), (413, "too_large")])
def test_a_refused_request_is_halved_until_one_is_alone(status: int, label: str) -> None:
    assert verdict(outcome(status)).kind == "split"
    alone = verdict(outcome(status, members=("m0",)))
    assert (alone.kind, alone.refused_members) == ("done", {"m0": label})


def test_a_whole_409_of_an_add_hides_members_who_are_there() -> None:
    assert verdict(outcome(409)).kind == "split"
    assert verdict(outcome(409, members=("m0",))) == Verdict("done", "ok")
    assert verdict(outcome(409, op="remove", members=("m0",))).reason == "unexpected_status"


@pytest.mark.parametrize(
    ("status", "kind", "reason", "late", "alarm"),
    [
        (301, "retry", "unexpected_status", False, True),
        (307, "retry", "unexpected_status", False, True),
        (401, "auth", "auth", False, True),
        (403, "auth", "forbidden", False, True),
        (404, "segment_missing", "segment_missing", False, False),
        (405, "retry", "unexpected_status", False, True),
        (408, "retry", "timeout", True, False),
        (425, "retry", "too_early", False, False),
        (429, "throttled", "throttled", False, False),
        (500, "retry", "server_error", True, False),
        (502, "retry", "server_error", True, False),
        (504, "retry", "server_error", True, False),
    ],
)
def test_whole_answers(status: int, kind: str, reason: str, late: bool, alarm: bool) -> None:  # noqa: FBT001 - columns
    got = verdict(outcome(status, error("409", 0)))
    assert (got.kind, got.reason, got.may_land_late, got.alarm) == (kind, reason, late, alarm)


def test_transport() -> None:
    assert verdict(outcome(0, kind="refused", code="connect")) == Verdict("retry", "unreachable", 0.1)
    assert verdict(outcome(0, kind="unknown", code="timeout")) == Verdict(
        "retry", "unanswered", 0.1, may_land_late=True
    )
    assert verdict(outcome(0, kind="unsent", code="lease")) == Verdict("unsent", "lease", 0.1)
    assert verdict(outcome(0, kind="unsent", code="credentials")).kind == "auth"
    token = verdict(outcome(0, kind="unsent", code="token", after_s=9.0))
    assert (token.kind, token.delay_s) == ("throttled", 9.0)


def test_retry_after_is_a_floor_and_capped() -> None:
    assert verdict(outcome(429, after_s=12.0)).delay_s == 12.0
    assert verdict(outcome(429, after_s=1e9)).delay_s == 300.0
    assert verdict(outcome(429, after_s=0.0), jitter=0.0).delay_s == 0.1
    assert verdict(outcome(503, after_s=7.0)) == Verdict("throttled", "server_error", 7.0, may_land_late=True)


def test_full_jitter_grows_up_to_its_cap() -> None:
    ceilings = [POLICY.delay_s(attempt, 1.0) for attempt in (0, 1, 2, 10, 10_000)]
    assert ceilings == [0.2, 0.4, 0.8, 30.0, 30.0]
    assert POLICY.delay_s(3, 0.0) == 0.0


item_errors = st.builds(
    ItemError,
    code=st.none()
    | st.sampled_from(["400", "404", "409", "410", "429", "500", "200", "NotFound", "x"])
    | st.text(max_size=4),
    index=st.none() | st.integers(-3, 12),
    entity_id=st.none() | st.sampled_from(["m0", "m1", "m5", "m9", "vip", "stranger"]),
    message=st.text(max_size=5),
)
outcomes = st.builds(
    lambda kind, status, errors, size, op, after_s, code: outcome(
        status, *errors, op=op, members=tuple(f"m{n}" for n in range(size)), kind=kind, after_s=after_s, code=code
    ),
    st.sampled_from(["answered", "answered", "answered", "refused", "unknown", "unsent"]),
    st.sampled_from([200, 201, 202, 204, 207]) | st.integers(100, 599),
    st.lists(item_errors, max_size=6),
    st.integers(1, 8),
    st.sampled_from(["add", "remove"]),
    st.none() | st.floats(0, 1e12),
    st.sampled_from(["", "lease", "closed", "token", "credentials", "timeout"]),
)


@given(outcomes, st.integers(0, 50), st.floats(0, 1, exclude_max=True))
def test_every_member_ends_in_exactly_one_fate(of: Outcome, attempt: int, jitter: float) -> None:
    got = judge(of, POLICY, attempt, jitter)
    members = set(of.call.members)
    retry, refused = set(got.retry_members), set(got.refused_members)
    assert retry | refused <= members
    assert not retry & refused
    assert got.kind == "done" or not (retry or refused), "another kind sends all again"
    assert got.kind != "split" or len(members) > 1, "a call of one cannot be halved"
    assert 0 <= got.delay_s <= POLICY.retry_after_cap_s
    assert got.reason in REASONS
    assert set(got.refused_members.values()) <= REFUSED
    assert set(got.retry_members.values()) <= RETRIED
    if got.kind == "done" and not 200 <= of.status < 300:
        assert len(members) == 1
        assert of.kind == "answered"
        assert refused == members or (of.status == 409 and of.call.op == "add")


@given(outcomes)
def test_a_member_named_in_an_error_is_done_by_the_stated_rule_only(of: Outcome) -> None:
    got = verdict(of)
    if of.kind != "answered" or not 200 <= of.status < 300 or got.kind != "done":
        return
    harmless = {"409"} if of.call.op == "add" else {"404", "410", "NotFound"}
    open_members = set(got.retry_members) | set(got.refused_members)
    for item in of.errors:
        if item.code in harmless:
            continue
        named = item.entity_id if item.entity_id in of.call.members else None
        if named is None and item.index is not None and 0 <= item.index < len(of.call.members):
            named = of.call.members[item.index]
        assert named is not None or len(of.call.members) == 1, "an error that names nobody was taken for success"
        assert (named or of.call.members[0]) in open_members


@given(outcomes.filter(lambda of: of.kind == "unknown" or of.status >= 500))
def test_what_may_have_been_applied_may_land_late(of: Outcome) -> None:
    if of.kind in {"unknown", "answered"}:
        assert verdict(of).may_land_late
