"""Look-ups and definitions against the simulated retail.red, in each of its variants, judged as the core judges them."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stream.core.identity import Found, IdentityRule, judge
from stream.core.model import Definition, Lookup
from stream.edge.api import ApiConfig, RetailRed
from stream.edge.token import Credentials
from stream.sandbox import Sandbox, SandboxConfig
from stream.sandbox.config import CLIENT_SECRET
from stream.sandbox.faults import FAULTS

PEOPLE: list[dict[str, Any]] = [
    {"id": "r1", "emailAddress": "max@x.com", "externalCustomerNumber": "10"},
    {"id": "g1", "emailAddress": "max@x.com", "isAnonymous": True},
    {"id": "g2", "emailAddress": "guest@x.com", "isAnonymous": True},
    {"id": "r2", "emailAddress": "Eva@X.com", "externalCustomerNumber": "11"},
    {"id": "r3", "emailAddress": "two@x.com", "internalCustomerNumber": 77},
    {"id": "r4", "emailAddress": "two@x.com", "internalCustomerNumber": 78},
    {"id": "r5", "emailAddress": "gone@x.com", "status": "deleted"},
]

Start = Callable[..., RetailRed]


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(SandboxConfig(segments=("vip",))) as sandbox:
        put(sandbox, PEOPLE)
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    """With nothing switched, whatever the test before it switched."""
    shared.faults(**{name: fault.default for name, fault in FAULTS.items()})
    return shared


@pytest.fixture
def client(sandbox: Sandbox, tmp_path: Path) -> Iterator[Start]:
    made: list[RetailRed] = []

    def start(**more: Any) -> RetailRed:
        secret = tmp_path / "secret"
        secret.write_text(CLIENT_SECRET)
        urls = dict.fromkeys(("auth_url", "segmentation_url", "customer_url"), sandbox.url)
        credentials = Credentials(client_id="sandbox", client_secret_file=secret)
        made.append(RetailRed(ApiConfig(merchant="10006", credentials=credentials, **urls, **more)))
        return made[-1]

    yield start
    for one in made:
        one.close()


def put(sandbox: Sandbox, people: list[dict[str, Any]], lag_s: float = 0.0) -> None:
    def run(app: Any) -> None:
        for person in people:
            app.shop.put_customer(dict(person), app.now_s() + lag_s, app.now_s())

    sandbox.call(run)


def found(api: RetailRed, *values: str, kind: Any = "email", **rule: Any) -> dict[str, Found]:
    own = IdentityRule(**rule)
    asked = tuple(dict.fromkeys(one for value in values for one in own.asked(kind, value)))
    outcome = api.lookup(Lookup(1, kind, asked))
    assert outcome.kind == "answered", outcome
    return judge(outcome, values, own)


def whys(api: RetailRed, *values: str, **more: Any) -> list[str]:
    return [one.id or one.why for one in found(api, *values, **more).values()]


def test_who_is_found_and_why_not(client: Start) -> None:
    api = client()
    values = ("max@x.com", "guest@x.com", "eva@x.com", "two@x.com", "gone@x.com", "none@x.com")
    # a server that compares with case does not find Eva, and leaves guests out
    assert whys(api, *values) == ["r1", "nobody", "nobody", "several", "deleted", "nobody"]
    assert whys(api, "Eva@X.com", "MAX@X.COM") == ["r2", "r1"]
    assert whys(api, "10", "11", "12", kind="number") == ["r1", "r2", "nobody"]
    assert whys(api, "two@x.com", tie_break="highest_internal_number") == ["r4"]


def test_emails_without_regard_to_case(client: Start, sandbox: Sandbox) -> None:
    sandbox.faults(email_case="insensitive")
    assert whys(client(), "eva@x.com", "EVA@x.com") == ["r2", "r2"]
    assert whys(client(), "eva@x.com", emails="exact") == ["other_case"]
    assert whys(client(), "Eva@X.com", emails="exact") == ["r2"]


def test_guests_that_come_although_they_were_filtered(client: Start, sandbox: Sandbox) -> None:
    sandbox.faults(guests_filtered=False)
    assert whys(client(), "max@x.com", "guest@x.com") == ["r1", "guests"]


def test_guests_when_they_are_wanted(client: Start) -> None:
    outcome = client().lookup(Lookup(1, "email", ("guest@x.com",)), guests=True)
    assert [(c.id, c.anonymous) for c in outcome.customers] == [("g2", True)]


def test_a_server_that_ignores_the_filter_is_not_believed(client: Start, sandbox: Sandbox) -> None:
    api = client()
    sandbox.faults(filters_ignored=True)
    assert found(api, "none@x.com")["none@x.com"] == ("uncertain", "", 0, "filter_ignored")
    sandbox.faults(filters_ignored=True, filter_accepted=True)
    assert whys(client(filter_parameter="filter"), "max@x.com", "none@x.com") == ["r1", "nobody"]


def test_a_lagging_index_makes_somebody_missing_for_a_while(client: Start, sandbox: Sandbox) -> None:
    api = client()
    put(sandbox, [{"id": "new", "emailAddress": "new@x.com"}], lag_s=1.0)
    assert whys(api, "new@x.com") == ["nobody"]
    end_s = time.monotonic() + 10
    while whys(api, "new@x.com") != ["new"]:
        assert time.monotonic() < end_s
        time.sleep(0.05)


@pytest.mark.parametrize("total", [True, False])
def test_more_than_a_page(client: Start, sandbox: Sandbox, total: bool) -> None:  # noqa: FBT001 - of the test's table
    put(sandbox, [{"id": f"m{n}", "emailAddress": "many@x.com"} for n in range(2_500)])
    sandbox.faults(total_count=total)
    outcome = client().lookup(Lookup(1, "email", ("many@x.com",)))
    assert (len({c.id for c in outcome.customers}), outcome.whole) == (2_500, True)


def test_lists_and_addresses_that_are_too_long(client: Start, sandbox: Sandbox) -> None:
    values = tuple(f"a{n}@x.com" for n in range(20))
    for fault, status in (({"filter_list_max": 10}, 400), ({"url_bytes_max": 300}, 414)):
        sandbox.faults(**fault)
        outcome = client().lookup(Lookup(1, "email", values))
        assert (outcome.kind, outcome.reason, outcome.status) == ("failed", "refused", status)


def test_throttled(client: Start, sandbox: Sandbox) -> None:
    api = client()
    api.lookup(Lookup(1, "email", ("a@x.com",)))
    sandbox.faults(throttle_share=1, retry_after_s=3)
    outcome = api.lookup(Lookup(1, "email", ("a@x.com",)))
    assert (outcome.kind, outcome.reason, outcome.status, outcome.retry_after_s) == ("failed", "throttled", 429, 3)


# ---- segments ------------------------------------------------------------------------------------------------------


def shown(sandbox: Sandbox, code: str) -> dict[str, Any] | None:
    return sandbox.call(lambda app: app.shop.segments[code].view() if code in app.shop.segments else None)


def define(api: RetailRed, op: Any, code: str, name: str = "Name", description: str | None = None) -> str:
    outcome = api.define(Definition(1, op, code, name, description))
    return outcome.reason if outcome.kind == "done" else outcome.kind


def test_the_life_of_a_segment(client: Start, sandbox: Sandbox) -> None:
    api = client()
    assert define(api, "exist", "life", "life") == "created"
    assert define(api, "exist", "life", "other") == "unchanged"
    assert define(api, "define", "life", "Life", "all of it") == "updated"
    assert define(api, "define", "life", "Life", "all of it") == "unchanged"
    segment = shown(sandbox, "life")
    assert segment is not None
    assert (segment["name"], segment["description"], segment["type"]) == ("Life", "all of it", "fixed")
    assert define(api, "deactivate", "life") == "deactivated"
    assert define(api, "deactivate", "life") == "unchanged"
    assert define(api, "delete", "life") == "deleted"
    assert define(api, "delete", "life") == "absent"
    assert shown(sandbox, "life") is None


def test_a_dynamic_segment_is_left_alone(client: Start, sandbox: Sandbox) -> None:
    def make(app: Any) -> None:
        segment = app.shop.segments["dyn"] = type(app.shop.segments["vip"])("dyn", "Dynamic")
        segment.type = "dynamic"

    sandbox.call(make)
    for op in ("exist", "define", "deactivate", "delete"):
        assert define(client(), op, "dyn") == "dynamic"
    assert (shown(sandbox, "dyn") or {})["name"] == "Dynamic"


@pytest.mark.parametrize("form", ["409", "item"])
def test_two_that_create_one_at_once(client: Start, sandbox: Sandbox, form: str) -> None:
    api = client()
    sandbox.faults(duplicate_segment=form, latency_s=0.05)
    for n in range(3):
        with ThreadPoolExecutor(4) as pool:
            said = sorted(pool.map(define, [api] * 4, ["define"] * 4, [f"race-{form}-{n}"] * 4))
        assert said == ["created", "unchanged", "unchanged", "unchanged"]


def test_an_accepted_creation_whose_answer_was_lost(client: Start, sandbox: Sandbox) -> None:
    api = client()
    define(api, "exist", "vip")
    sandbox.faults(error_after_share=1)
    assert define(api, "exist", "lost") == "failed"
    sandbox.faults(error_after_share=0)
    assert define(api, "exist", "lost") in ("created", "unchanged")
