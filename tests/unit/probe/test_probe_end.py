"""Nothing but the throw-away segment is written to, and it is gone at the end, whatever happens."""

import socket
from pathlib import Path
from typing import Any

import pytest
from probe_trial import CUSTOMERS, ask, by_name, fill, plan, quick, segments, settings, shop

from stream.edge.session import Session
from stream.errors import AuthError, Unavailable
from stream.sandbox import Sandbox, SandboxConfig
from stream.survey import Findings, survey
from stream.survey.throwaway import PREFIX, Throwaway


def run(sandbox: Sandbox, folder: Path, say: Any = lambda _: None) -> Findings:
    return survey(plan(settings(sandbox, folder)), say, quick)


def asked(sandbox: Sandbox, folder: Path) -> list[str]:
    """What is said before each question, in order."""
    said: list[str] = []
    run(sandbox, folder, said.append)
    return said


def test_no_other_segment_is_written_to(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asks: list[tuple[str, str, bytes]] = []
    real = Session.ask

    def noted(self: Session, operation: str, method: str, of: Any, path: str, body: bytes, **named: Any) -> Any:
        asks.append((method, path.partition("?")[0], body))
        return real(self, operation, method, of, path, body, **named)

    monkeypatch.setattr(Session, "ask", noted)
    chosen = plan(settings(sandbox, tmp_path))
    found = survey(chosen, wait=quick)
    own = f"/segments/{chosen.code}"
    assert chosen.code.startswith(PREFIX)
    assert found.requests == len(asks) < 300
    assert {path for method, path, _ in asks if method != "GET"} == {"/segments", own, f"{own}/members"}
    creations = [body for method, path, body in asks if method == "POST" and path == "/segments"]
    assert all(chosen.code.encode() in body and b"members" not in body for body in creations)
    assert not any(b"*" in body for _, _, body in asks)
    assert sandbox.members("vip") == set()


def test_a_segment_that_is_there_already_stays(sandbox: Sandbox, tmp_path: Path) -> None:
    chosen = plan(settings(sandbox, tmp_path))
    sandbox.call(lambda app: app.shop.segments.update({chosen.code: app.shop.segments["vip"]}))
    found = survey(chosen, wait=quick)
    assert (found.exit_code, found.lines, found.left) == (69, [], "")
    assert segments(sandbox) == {"vip", chosen.code}
    sandbox.call(lambda app: app.shop.segments.pop(chosen.code))


def test_a_code_of_another_segment_is_refused() -> None:
    with pytest.raises(ValueError, match="another code"):
        Throwaway(None, "vip")  # type: ignore[arg-type]  # it must not come so far


def test_an_interruption_at_any_question_leaves_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    places = asked(sandbox, tmp_path)
    assert len(places) > 20
    for place in places[:-1]:

        def stop(said: str, place: str = place) -> None:
            if said == place:
                raise KeyboardInterrupt

        found = run(sandbox, tmp_path, stop)
        assert (found.interrupted, found.exit_code, found.left) == (True, 130, "")
        assert segments(sandbox) == {"vip"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, AuthError("no")])
def test_an_interruption_in_any_request_leaves_nothing(
    error: Any, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Session.ask
    total = run(sandbox, tmp_path).requests
    sandbox.faults(removal_delay_s=0.01)
    for at in range(1, total - 4, 7):
        left = at

        def cut(self: Session, *args: Any, **named: Any) -> Any:
            nonlocal left
            answer = real(self, *args, **named)  # done at retail.red, unknown to us
            left -= 1
            if not left:
                raise error
            return answer

        monkeypatch.setattr(Session, "ask", cut)
        found = run(sandbox, tmp_path)
        assert found.left == ""
        assert found.interrupted == (error is KeyboardInterrupt)
        assert segments(sandbox) == {"vip"}


def test_a_segment_that_cannot_be_deleted_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    def broken(said: str) -> None:
        if said.startswith("deleting"):
            sandbox.faults(error_share=1)

    found = run(sandbox, tmp_path, broken)
    (left,) = segments(sandbox) - {"vip"}
    assert found.left == left
    assert found.exit_code == 75
    assert left in str(found.error)
    sandbox.call(lambda app: app.shop.segments.pop(left))


def test_a_deletion_that_runs_late_is_waited_for(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(removal_delay_s=[0.2, 0.3])
    found = run(sandbox, tmp_path)
    assert found.left == ""
    assert segments(sandbox) == {"vip"}


@pytest.mark.parametrize(
    "faults",
    [
        {"error_share": 0.03},
        {"error_after_share": 0.03},
        {"drop_before_share": 0.03},
        {"drop_after_share": 0.03},
        {"auth_error_share": 0.05},
        {"throttle_share": 0.1, "retry_after": "none"},
    ],
)
def test_trouble_that_passes_changes_no_finding(faults: dict[str, Any], sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(members_max=13, filter_list_max=37)
    # the token's first fetch aside: a failed one is held for a second, longer than this test waits
    found = by_name(run(sandbox, tmp_path, lambda said: sandbox.faults(**faults) if said == "customers" else None))
    assert segments(sandbox) == {"vip"}
    assert found["members in a request"].write == 13
    assert found["values in $in"].write == 37
    assert found["DELETE bodies"].found.startswith("arrive")


def test_nobody_is_there(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    found = survey(plan(settings(address, tmp_path)), wait=quick)
    assert isinstance(found.error, Unavailable)
    assert (found.exit_code, found.lines, found.left) == (69, [], "")


def test_a_wrong_secret(sandbox: Sandbox, tmp_path: Path) -> None:
    known = settings(sandbox, tmp_path)
    (tmp_path / "secret").write_text("wrong")
    found = survey(plan(known), wait=quick)
    assert isinstance(found.error, AuthError)
    assert (found.exit_code, found.lines) == (77, [])


def test_another_merchant(sandbox: Sandbox, tmp_path: Path) -> None:
    found = survey(plan(settings(sandbox, tmp_path, merchant="10007")), wait=quick)
    assert found.exit_code == 77


def test_what_stays_silent_ends_soon(sandbox: Sandbox, tmp_path: Path) -> None:
    def hang(said: str) -> None:
        if said == "guests":
            sandbox.faults(drop_before_share=1)
        elif said.startswith("deleting"):
            sandbox.faults(drop_before_share=0)

    found = run(sandbox, tmp_path, hang)
    unknown = [line for line in found.lines if line.level == "unknown"]
    assert len(unknown) >= 10
    assert all(
        "no answer" in line.found or "not asked" in line.found or "there is no" in line.found for line in unknown
    )
    assert found.requests < 120


# ---- how many customers ----------------------------------------------------------------------------------------------


def test_a_shop_without_customers(tmp_path: Path) -> None:
    with Sandbox(SandboxConfig(segments=("vip",))) as empty:
        found = ask(empty, tmp_path)
    assert found["filter parameter"].level == "unknown"
    assert found["duplicate segment"].found == "HTTP 409"
    assert found["members in a request"].level == "unknown"


@pytest.mark.parametrize("customers", [1, 2, 3])
def test_a_shop_with_few_customers(customers: int, tmp_path: Path) -> None:
    with Sandbox(SandboxConfig(segments=("vip",))) as small:
        fill(small, shop(customers, guests=0))
        found = ask(small, tmp_path)
    assert found["guests"].level == "unknown"
    assert found["filter parameter"].level == "fits"
    assert found["DELETE bodies"].level == ("note" if customers > 1 else "unknown")
    assert found["members in a request"].found.startswith(f"at least {customers}:")


def test_no_more_customers_are_put_in_than_allowed(sandbox: Sandbox, tmp_path: Path) -> None:
    held: set[int] = set()

    def look(_: str) -> None:
        held.update(sandbox.call(lambda app: [len(one.customers.ids) for one in app.shop.segments.values()]))

    survey(plan(settings(sandbox, tmp_path), members_max=6), look, quick)
    assert max(held) <= 6
    assert ask(sandbox, tmp_path, members_max=6)["members in a request"].found.startswith("at least 6:")


def test_bytes_are_not_taken_for_members(tmp_path: Path) -> None:
    with Sandbox(SandboxConfig(segments=("vip",), faults={"body_bytes_max": 5_000})) as narrow:
        fill(narrow, shop(300, guests=0))
        found = ask(narrow, tmp_path)
    assert found["body bytes"].level == "change"
    members = found["members in a request"]
    assert (members.level, members.write) == ("unknown", None)
    assert "with more the body would be too long" in members.found


def test_guests_are_never_put_in(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(guests_filtered=False)
    assert ask(sandbox, tmp_path)["members in a request"].found.startswith(f"at least {CUSTOMERS}:")


# ---- what is set -----------------------------------------------------------------------------------------------------


def test_removals_that_run_late_ask_for_a_longer_settling(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(removal_delay_s=[0.6, 0.8])
    found = ask(sandbox, tmp_path, wait_s=5, settle_s=0.5)["removal visible after"]
    assert found.level == "change"
    assert found.write == 2
    assert ask(sandbox, tmp_path, wait_s=5)["removal visible after"].level == "fits"


def test_removals_that_run_later_than_one_waits(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(removal_delay_s=[3, 3])
    found = survey(plan(settings(sandbox, tmp_path)))
    assert segments(sandbox) == {"vip"}
    named = by_name(found)
    assert named["DELETE bodies"].level == "fail"
    assert "or run later" in named["DELETE bodies"].found
    assert named["removal visible after"].level == "unknown"
    assert found.exit_code == 65


@pytest.mark.parametrize("value", [True, False])
def test_a_parameter_that_is_refused_is_taken_out(value: bool, sandbox: Sandbox, tmp_path: Path) -> None:  # noqa: FBT001 - parametrized
    sandbox.faults(background_known=False)
    found = ask(sandbox, tmp_path, run_in_background=value)["runInBackground=false"]
    assert (found.level, found.is_set, found.write) == ("change", value, None)


def test_members_that_are_refused_one_by_one_are_counted(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(row_refuse_share=0.3)
    text = ask(sandbox, tmp_path)["members in a request"].found
    assert f"of {CUSTOMERS} in an accepted addition" in text


def test_the_parameter_that_is_set_is_kept_where_both_work(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(filter_accepted=True)
    assert ask(sandbox, tmp_path, filter_parameter="filter")["filter parameter"].level == "fits"
    sandbox.faults(filter_accepted=False)
    assert ask(sandbox, tmp_path, filter_parameter="filter")["filter parameter"].write == "filters"
