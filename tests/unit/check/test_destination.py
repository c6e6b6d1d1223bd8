"""What `check` says of look-ups that a shop forbids, does not know, cuts short or answers with too little."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from api_trial import SECRET, Answer, Request, Server, answer, granted

from stream.check import destination
from stream.check.findings import Finding, Findings
from stream.settings import Settings

ANNA = "anna@example.com"


def settings(url: str, folder: Path, member: dict[str, str]) -> Settings:
    (folder / "secret").write_text(SECRET)
    return Settings.model_validate(
        {
            "kafka": {"bootstrap.servers": "127.0.0.1:9", "group.id": "g"},
            "retail_red": {
                "merchant": "10006",
                "client_id": "c",
                "client_secret_file": str(folder / "secret"),
                "urls": dict.fromkeys(("auth", "segmentation", "customer"), url),
                "api_timeout_s": 1,
            },
            "tables": {"t": {"segment": {"constant": "gold"}, "member": member}},
        }
    )


def look(
    folder: Path, customers: Answer | list[dict[str, Any]], *, sampled: bool = True, **member: str
) -> list[Finding]:
    """What is found of customers. A list: the customers whom the service has, by its filter."""

    def script(request: Request) -> Answer:
        if request.target == "/oauth/token":
            return granted("token-1")
        if "/customers" not in request.target:
            return answer(200, {"segments": []})
        if not isinstance(customers, list):
            return customers
        asked = parse_qs(urlsplit(request.target).query)["filters"][0]
        listed = [one for one in customers if one["emailAddress"] is None or one["emailAddress"] in asked]
        return answer(200, {"meta": {"totalItemCount": len(listed)}, "customers": listed})

    server, found = Server(script), Findings()
    try:
        made = settings(server.url, folder, member or {"email": "email"})
        destination.look(found, made, set(), set(), {"email": {ANNA: None}} if sampled else {})
    finally:
        server.close()
    assert "anna" not in str(found.lines)
    return [line for line in found.lines if line.what != "access"]


def only(found: list[Finding]) -> Finding:
    (line,) = found
    assert line.what == "customers by email"
    return line


def customer(**more: Any) -> dict[str, Any]:
    return {"id": "c-1", "emailAddress": ANNA, "isAnonymous": False, "status": "active"} | more


def test_whoever_is_found_is_counted(tmp_path: Path) -> None:
    assert only(look(tmp_path, [customer()]))[:1] == ("ok",)


@pytest.mark.parametrize(
    ("given", "code", "advice"),
    [
        (answer(403, {"message": f"{ANNA} is not for you"}), 77, "the right to read the customers of 10006"),
        (answer(401), 77, "the right to read the customers"),
        (answer(404), 78, "urls: customer"),
        (answer(503), 69, ""),
        (answer(429), 69, ""),
        (answer(400, {"message": f"no such filter as {ANNA}"}), 65, "probe"),
        (answer(414), 65, "probe"),
    ],
)
@pytest.mark.parametrize("sampled", [True, False])
def test_look_ups_that_fail(tmp_path: Path, given: Answer, code: int, advice: str, sampled: bool) -> None:  # noqa: FBT001 - a case
    line = only(look(tmp_path, given, sampled=sampled))
    assert (line.level, line.code) == ("fail", code)
    assert advice in line.advice


def test_one_who_is_everybody_s_answer_shows_that_the_filter_is_ignored(tmp_path: Path) -> None:
    everybody = answer(200, {"meta": {"totalItemCount": 1}, "customers": [customer()]})
    line = only(look(tmp_path, everybody))
    assert (line.level, line.code) == ("fail", 78)
    assert "filter_parameter: filter;" in line.advice


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"isAnonymous": None}, "who is a guest"),
        ({"id": "*"}, "not every page"),
    ],
)
def test_answers_that_do_not_tell(tmp_path: Path, given: dict[str, Any], text: str) -> None:
    line = only(look(tmp_path, [customer(**given)]))
    assert (line.level, line.code) == ("fail", 65)
    assert text in line.text


def test_a_page_that_lacks_some_does_not_tell(tmp_path: Path) -> None:
    short = answer(200, {"meta": {"totalItemCount": 5}, "customers": []})
    assert "not every page" in only(look(tmp_path, short)).text


@pytest.mark.parametrize(
    ("given", "why"), [({"isAnonymous": True}, "guests"), ({"status": "deleted"}, "deleted"), ({"id": "c-9"}, "")]
)
def test_guests_and_deleted_ones_are_missing(tmp_path: Path, given: dict[str, Any], why: str) -> None:
    line = only(look(tmp_path, [customer(**given)]))
    assert (line.level == "warn") is bool(why)
    assert why in line.text


def test_customers_who_are_named_by_id_are_not_looked_up(tmp_path: Path) -> None:
    assert look(tmp_path, answer(403), id="customer") == []


def test_each_kind_that_is_used_is_asked_for(tmp_path: Path) -> None:
    found = look(tmp_path, answer(403), number="no")
    assert [line.what for line in found] == ["customers by number"]
