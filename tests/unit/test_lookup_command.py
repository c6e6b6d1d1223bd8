"""`segstream lookup` as a person meets it, against the sandbox in its variants."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from api_trial import Request, World, answer, granted, routes

from stream import cli, seek
from stream.sandbox import Sandbox, SandboxConfig
from stream.sandbox.config import CLIENT_SECRET

PEOPLE: list[dict[str, Any]] = [
    {"id": "r1", "emailAddress": "max@x.com", "externalCustomerNumber": "10"},
    {"id": "g1", "emailAddress": "max@x.com", "isAnonymous": True},
    {"id": "g2", "emailAddress": "guest@x.com", "isAnonymous": True},
    {"id": "r2", "emailAddress": "Eva@X.com", "externalCustomerNumber": "a@b"},
    {"id": "r3", "emailAddress": "two@x.com", "internalCustomerNumber": 77},
    {"id": "r4", "emailAddress": "two@x.com", "internalCustomerNumber": 78},
    {"id": "r5", "emailAddress": "gone@x.com", "status": "deleted"},
]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SEGSTREAM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(seek.time, "sleep", lambda _: None)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SandboxConfig()) as running:
        running.call(lambda app: [app.shop.put_customer(dict(person)) for person in PEOPLE] and None)
        yield running


class Told:
    def __init__(self, sandbox: Sandbox, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._sandbox = sandbox
        self._folder = folder
        self._capsys = capsys
        self.err = ""

    def __call__(self, *arguments: str, code: int = 0, **more: Any) -> str:
        secret = self._folder / "secret"
        secret.write_text(CLIENT_SECRET)
        url = more.pop("url", self._sandbox.url)
        tree = {
            "kafka": {"bootstrap.servers": "kafka:9092", "group.id": "g"},
            "retail_red": {
                "merchant": "10006",
                "client_id": more.pop("client", "sandbox"),
                "client_secret_file": str(secret),
                "urls": {"auth": url, "segmentation": url, "customer": url},
                **more.pop("retail_red", {}),
            },
            "tables": {"t": {"segment": {"constant": "s"}, "member": {"email": "mail"}}},
            "identity": more,
        }
        path = self._folder / "segstream.yaml"
        path.write_text(yaml.safe_dump(tree))
        assert cli.main(["lookup", "-c", str(path), *arguments]) == code
        out, self.err = self._capsys.readouterr()
        return out

    def whys(self, *arguments: str, **more: Any) -> list[str]:
        return [one["id"] or one["why"] for one in json.loads(self("--json", *arguments, **more))["values"]]


@pytest.fixture
def told(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    return Told(sandbox, tmp_path, capsys)


def test_a_line_for_each_value_and_why(told: Told) -> None:
    out = told("max@x.com", "guest@x.com", "two@x.com", "gone@x.com", "none@x.com", "10", "99")
    assert out.splitlines() == [
        "found     email max@x.com: r1 (registered)",
        "missing   email guest@x.com: (only guests have it)",
        "ambiguous email two@x.com: (2 registered customers share it, and identity.tie_break is none)",
        "          -> r3, r4",
        "missing   email gone@x.com: (its customer is deleted)",
        "missing   email none@x.com: (no customer has it)",
        "found     number 10: r1 (registered)",
        "missing   number 99: (no customer has it)",
    ]
    assert told.err == ""


def test_json(told: Told) -> None:
    assert json.loads(told("--json", "two@x.com", tie_break="lowest_internal_number")) == {
        "values": [
            {
                "value": "two@x.com",
                "by": "email",
                "result": "found",
                "id": "r3",
                "why": "registered",
                "text": "registered; one of 2, by identity.tie_break: lowest_internal_number",
                "sharing": ["r3", "r4"],
            }
        ]
    }


def test_what_a_value_is_can_be_forced(told: Told) -> None:
    assert told.whys("a@b") == ["nobody"]
    assert told.whys("--number", "a@b") == ["r2"]
    assert told.whys("--email", "10", "*", "", "max@x.com") == [
        "identity_email",
        "identity_fake",
        "identity_empty",
        "r1",
    ]
    assert "unusable  email 10: (the email column holds something without an @)" in told("--email", "10")
    with pytest.raises(SystemExit) as caught:
        told("--email", "--number", "a@b")
    assert caught.value.code == 2


def test_another_case(told: Told, sandbox: Sandbox) -> None:
    assert told.whys("Eva@X.com") == ["r2"]
    assert told.whys("EVA@x.com") == ["nobody"]
    sandbox.faults(email_case="insensitive")
    assert told.whys("EVA@x.com") == ["r2"]
    assert told.whys("EVA@x.com", emails="exact") == ["other_case"]
    assert "in another case, and identity.emails is exact" in told("EVA@x.com", emails="exact")


def test_a_filter_that_is_ignored_is_named_with_its_remedy(told: Told, sandbox: Sandbox) -> None:
    sandbox.faults(filters_ignored=True, filter_accepted=True)
    assert "set retail_red.filter_parameter: filter)" in told("none@x.com")
    assert told.whys("none@x.com", "guest@x.com", retail_red={"filter_parameter": "filter"}) == ["nobody", "guests"]


def test_guests_that_come_although_they_were_filtered(told: Told, sandbox: Sandbox) -> None:
    sandbox.faults(guests_filtered=False)
    assert told.whys("guest@x.com", "max@x.com") == ["guests", "r1"]


def test_somebody_whom_the_filter_hides_though_no_guest(told: Told, world: World) -> None:
    person = {"id": "1", "emailAddress": "a@x.com", "isAnonymous": False}

    def script(request: Request) -> bytes:
        if request.target == "/oauth/token":
            return granted("t")
        return answer(200, {"customers": [] if "isAnonymous" in request.target else [person]})

    world.client(script)
    assert told.whys("a@x.com", url=world.server.url) == ["filtered"]
    assert "missing   email a@x.com: (a customer has it whom isAnonymous: false" in told(
        "a@x.com", url=world.server.url
    )


def test_many_values_are_asked_for_in_requests_within_the_limits(told: Told, sandbox: Sandbox) -> None:
    values = [f"a{n}@x.com" for n in range(40)]
    sandbox.faults(filter_list_max=7)
    few = {"lookup_values_max": 7}
    assert told.whys(*values, "max@x.com", retail_red=few) == ["nobody"] * 40 + ["r1"]
    sandbox.faults(filter_list_max=1_000, url_bytes_max=600)
    short = {"lookup_url_bytes_max": 512}
    assert told.whys(*values, "max@x.com", retail_red=short) == ["nobody"] * 40 + ["r1"]
    told(*values, code=65)
    assert "segstream probe" in told.err


def test_the_same_value_twice_is_one(told: Told) -> None:
    assert told.whys("max@x.com", "max@x.com") == ["r1"]


def test_trouble_that_passes_is_waited_for_and_other_trouble_is_told(
    told: Told, sandbox: Sandbox, world: World
) -> None:
    sandbox.faults(throttle_share=1)
    told("max@x.com", code=69)
    assert told.err.startswith("segstream: the look-up failed: throttled, HTTP 429")
    assert sandbox.stats()["statuses"]["429"] == seek.TRIES
    sandbox.faults(throttle_share=0)
    world.client(routes([answer(503), answer(429), answer(200, {"customers": []})]))
    assert told.whys("10", url=world.server.url) == ["nobody"]
    told("max@x.com", code=77, client="nobody")
    assert "credentials" in told.err
    told("max@x.com", code=69, url="http://127.0.0.1:1")
    assert "max@x.com" not in told.err


def test_nothing_to_look_up_and_too_much(told: Told) -> None:
    with pytest.raises(SystemExit) as caught:
        told()
    assert caught.value.code == 2
    told(*map(str, range(seek.VALUES_MAX + 1)), code=2)


def test_a_terminal_gets_a_table(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    out = told("max@x.com", "two@x.com")
    assert "→ r4" in out
    assert "ambiguous" in out
