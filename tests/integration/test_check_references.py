"""`segstream check` where customers and segments are named by something else: references, look-ups, the table of segments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from check_trial import Bench, failed, of

from stream.check import Finding
from stream.demo.broker import EmbeddedBroker
from stream.edge.control import acceptance
from stream.sandbox.config import SandboxConfig
from stream.sandbox.server import Sandbox


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker()
    yield broker
    broker.close()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SandboxConfig(segments=("gold",))) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    # the embedded broker answers no administrative request: not knowing must not take long here
    monkeypatch.setattr("stream.edge.probe.ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr("stream.edge.probe.FIRST_CALL_TIMEOUT_S", 3.0)


class Shop(Bench):
    """Members by reference; eight customers of whom all are at retail.red; two segments, one of which is not."""

    def __init__(self, broker: EmbeddedBroker, sandbox: Sandbox, folder: Path, capsys: Any) -> None:
        super().__init__(broker, sandbox, folder, capsys)
        self.sandbox = sandbox
        self.customers = f"{self.topic}-customers"
        self.segments = f"{self.topic}-segments"
        self.table |= {
            "segment": {"reference": "segments", "by": "segment"},
            "member": {"reference": "customers", "by": "customer"},
        }
        self.settings["references"] = {
            "customers": {"topic": self.customers, "key": "id", "email": "email"},
            "segments": {"topic": self.segments, "key": "id", "code": "code"},
        }

    def fill(self) -> None:
        found = [{"id": f"c-{i}", "emailAddress": f"m{i}@example.com"} for i in range(1, 9)]
        httpx.post(
            f"{self.sandbox.url}/_sandbox/customers", json={"customers": found}, trust_env=False
        ).raise_for_status()
        for i in range(1, 9):
            self.row({"id": i}, {"id": i, "email": f"m{i}@example.com"}, topic=self.customers, partition=i % 4)
            self.row({"id": i}, {"id": i, "segment": 1 + i % 2, "customer": i}, partition=i % 4)
        for i, code in ((1, "gold"), (2, "silver")):
            self.row(
                {"id": i}, {"id": i, "code": code, "title": code, "active": True}, topic=self.segments, partition=i
            )

    def by_email(self) -> None:
        """Rows that hold the email themselves, in a key of segment and email."""
        self.table = {"segment": {"column": "segment"}, "member": {"email": "email"}}
        del self.settings["references"]
        for i in range(1, 9):
            key = {"segment": "gold", "email": f"m{i}@example.com"}
            self.row(key, key, partition=i % 4)


@pytest.fixture
def shop(broker: EmbeddedBroker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shop:
    return Shop(broker, sandbox, tmp_path, capsys)


def shown(found: list[Finding]) -> str:
    return json.dumps([line._asdict() for line in found])


def test_what_fits_together_ends_with_0_and_shows_no_identity(shop: Shop) -> None:
    shop.fill()
    code, found = shop.check()
    assert (code, failed(found)) == (0, [])
    assert of(found, "reference customers").text == "none of 8 rows identify nobody by email"
    assert of(found, "reference segments").text == "none of 2 rows hold no usable code in code"
    assert of(found, "points at customers").text == "8 different keys, all there"
    assert of(found, "rows").text == "membership 8; 8 memberships in 2 segments: gold, silver"
    assert of(found, "customers by email").text == "of 5 sampled, 5 are found"
    assert "1 of 2 do not exist: silver" in of(found, "segments", "warn").text
    assert of(found, "control").level == "ok"
    assert "example.com" not in shown(found)
    assert "c-1" not in shown(found)


def test_a_reference_that_is_not_there(shop: Shop) -> None:
    shop.fill()
    shop.settings["references"]["customers"]["topic"] = shop.customers + "s"
    code, found = shop.check()
    assert code == 65
    assert [(line.where, line.what) for line in found if line.level == "fail"] == [(shop.customers + "s", "topic")]


def test_a_column_that_a_reference_lacks(shop: Shop) -> None:
    shop.fill()
    shop.settings["references"]["customers"]["email"] = "mail"
    code, found = shop.check()
    assert (code, failed(found)) == (65, ["reference customers"])
    assert "column 'mail' is missing" in of(found, "reference customers").text


def test_a_key_that_no_row_has(shop: Shop) -> None:
    shop.fill()
    shop.settings["references"]["customers"]["key"] = "email"
    code, found = shop.check()
    # emails are keys, too: but nobody points at them
    assert (code, failed(found)) == (65, ["points at customers"])
    assert "none of 8" in of(found, "points at customers").text


def test_a_key_column_that_is_never_usable(shop: Shop) -> None:
    for i in range(4):
        shop.row({"id": i}, {"id": {"a": 1}, "email": "x@example.com"}, topic=shop.customers)
    code, found = shop.check()
    assert code == 65
    assert "no usable key" in of(found, "reference customers").text


def test_rows_without_identity_and_rows_that_point_at_nothing(shop: Shop) -> None:
    shop.fill()
    for i in range(9, 12):
        shop.row({"id": i}, {"id": i, "email": None}, topic=shop.customers)
        shop.row({"id": 90 + i}, {"id": 90 + i, "segment": 1, "customer": 900 + i})
    code, found = shop.check()
    assert code == 0
    assert of(found, "reference customers").text.startswith("3 of 11 rows (27 %) identify nobody by email")
    assert of(found, "points at customers").level == "warn"
    assert "3 of 11 different keys are not there" in of(found, "points at customers").text


def test_a_column_that_identifies_nobody_in_any_row(shop: Shop) -> None:
    for i in range(1, 4):
        shop.row({"id": i}, {"id": i, "email": f"no-email-{i}"}, topic=shop.customers)
    shop.row({"id": 1}, {"id": 1, "code": "a b"}, topic=shop.segments)
    shop.row({"id": 1}, {"id": 1, "segment": 1, "customer": 1})
    code, found = shop.check()
    assert (code, sorted(failed(found))) == (65, ["reference customers", "reference segments"])


def test_the_wrong_envelope_of_a_reference(shop: Shop) -> None:
    shop.fill()
    shop.settings["references"]["customers"]["envelope"] = "unwrapped"
    code, found = shop.check()
    assert code == 78
    assert of(found, "reference customers").advice == "settings: envelope: debezium"


def test_framed_values_of_a_reference_without_a_registry(shop: Shop) -> None:
    shop.fill()
    shop.send({"id": 1}, b"\0\0\0\0\x07binary", topic=shop.customers)
    code, found = shop.check()
    assert (code, failed(found)) == (78, ["reference customers"])
    assert "registry" in of(found, "reference customers").advice


def with_table(shop: Shop, **more: Any) -> None:
    shop.settings["segments"] = {"topic": shop.segments, "code": "code", "name": "title", **more}


def test_the_table_of_segments_is_no_membership_table(shop: Shop) -> None:
    shop.fill()
    with_table(shop)
    code, found = shop.check()
    assert (code, failed(found)) == (0, [])
    assert of(found, "table of segments").text == "none of 2 rows hold no usable code in code: left out"
    assert "1 of 2 do not exist: silver; `run` creates them" in of(found, "segments", "ok").text
    assert [line.where for line in found if line.what == "rows"] == [shop.topic]
    assert [line.where for line in found if line.what == "topic"].count(shop.segments) == 1
    # its offsets and its state are looked at as any table's
    assert {line.where for line in found if line.what == "offsets"} == {shop.topic, shop.segments}


def test_segments_that_the_table_does_not_count_are_not_created(shop: Shop) -> None:
    shop.fill()
    with_table(shop, present={"column": "active", "is": False})
    code, found = shop.check()
    assert code == 0
    assert "1 of 2 do not exist: silver; their rows wait" in of(found, "segments", "warn").text


def test_create_missing_creates_what_members_need(shop: Shop) -> None:
    shop.fill()
    shop.settings["segments"] = {"create_missing": True}
    code, found = shop.check()
    assert code == 0
    assert "silver; `run` creates them" in of(found, "segments", "ok").text


def test_a_code_in_rows_of_two_partitions_has_two_owners(shop: Shop) -> None:
    shop.fill()
    with_table(shop)
    shop.row({"id": 3}, {"id": 3, "code": "gold", "title": "Other", "active": True}, topic=shop.segments, partition=3)
    _, found = shop.check()
    (line,) = [line for line in found if (line.where, line.what) == (shop.segments, "owner")]
    assert line.level == "warn"
    assert "rows of gold are in 2 partitions" in line.text


def test_two_keys_of_one_code_where_several_instances_share(shop: Shop) -> None:
    shop.fill()
    shop.table |= {"partitioned_by": "segment"}
    shop.row({"id": 3}, {"id": 3, "code": "gold", "title": "Other", "active": True}, topic=shop.segments)
    shop.row({"segment": 1}, {"segment": 1, "customer": 1}, partition=1)
    _, found = shop.check()
    texts = [line.text for line in found if (line.where, line.what, line.level) == (shop.topic, "owner", "fail")]
    assert any("several rows of reference segments have the code gold" in text for text in texts)


def test_a_key_that_holds_an_email_is_not_to_be_shared(shop: Shop) -> None:
    shop.by_email()
    code, found = shop.check()
    assert code == 0
    assert "the key holds an email" in of(found, "owner").text
    assert "partitioned_by" not in of(found, "owner").advice


def test_customers_who_are_not_there_are_a_warning(shop: Shop) -> None:
    shop.by_email()
    code, found = shop.check()
    assert code == 0
    assert of(found, "customers by email").text.startswith("of 5 sampled, 0 are found, 5 are missing (nobody)")
    assert of(found, "customers by email").level == "warn"


def test_a_filter_that_is_ignored_is_a_failure_with_the_other_one(shop: Shop) -> None:
    shop.fill()
    shop.settings["retail_red"]["filter_parameter"] = "filter"
    code, found = shop.check()
    assert (code, failed(found)) == (78, ["customers by email"])
    assert "filter_parameter: filters" in of(found, "customers by email").advice


def test_without_a_sampled_identity_the_service_is_asked_all_the_same(shop: Shop) -> None:
    shop.by_email()
    shop.settings["tables"] = {"^nothing-.*": shop.table}
    code, found = shop.check()
    assert code == 0
    assert "no sampled row holds one" in of(found, "customers by email").text


def test_several_customers_of_one_email_are_a_warning(shop: Shop) -> None:
    shop.fill()
    twins = [{"id": f"twin-{i}", "emailAddress": "m1@example.com"} for i in range(2)]
    httpx.post(f"{shop.sandbox.url}/_sandbox/customers", json={"customers": twins}, trust_env=False).raise_for_status()
    _, found = shop.check()
    line = of(found, "customers by email")
    assert (line.level, "1 are shared" in line.text) == ("warn", True)


def test_a_control_topic_that_is_there(shop: Shop) -> None:
    shop.fill()
    key, value = acceptance("gold")
    shop.producer.produce(f"{shop.settings['kafka']['group.id']}-control", key=key, value=value)
    _, found = shop.check()
    assert of(found, "control").text == "is there, 4 partitions"
