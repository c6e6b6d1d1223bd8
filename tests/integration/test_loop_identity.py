"""The live loop, an embedded broker and the sandbox: customers found by email and by reference, segments that come to exist."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from shop_trial import Shop

from stream.demo.broker import EmbeddedBroker


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker()
    yield broker
    broker.close()


@pytest.fixture
def shop(broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(broker, tmp_path)
    yield shop
    shop.close()


def test_members_are_found_by_email_guests_never_and_late_ones_later(shop: Shop) -> None:
    shop.customer("c-1", "max@example.com")
    shop.customer("g-1", "max@example.com", isAnonymous=True)
    shop.customer("g-2", "guest@example.com", isAnonymous=True)
    shop.write("members", 1, {"segment": "gold", "email": "Max@Example.com"})
    shop.write("members", 2, {"segment": "gold", "email": "guest@example.com"})
    shop.write("members", 3, {"segment": "gold", "email": "late@example.com"})
    loop = shop.begin()
    shop.until(lambda: shop.members() == {"c-1"} and loop.engine.pending()["customer_missing"] == 2)
    shop.customer("c-3", "late@example.com")
    shop.until(lambda: shop.members() == {"c-1", "c-3"})
    shop.write("members", 1, None)
    shop.until(lambda: shop.members() == {"c-3"})


def test_segments_and_customers_through_references_created_as_they_appear(shop: Shop) -> None:
    shop.settings["tables"] = {
        shop.topic("members"): {
            "segment": {"reference": "segments", "by": "segment_id"},
            "member": {"reference": "customers", "by": "customer_id"},
        }
    }
    shop.settings["references"] = {
        "segments": {"topic": shop.topic("segments"), "key": "id", "code": "code"},
        "customers": {"topic": shop.topic("customers"), "key": "id", "number": "number", "email": "email"},
    }
    shop.settings["segments"] = {
        "topic": shop.topic("segments"), "code": "code", "name": "title", "on_delete": "delete",
    }  # fmt: skip
    shop.customer("c-1", number="10001")
    shop.write("segments", 7, {"code": "vip", "title": "Very important"})
    shop.write("customers", 42, {"number": 10001, "email": None})
    shop.write("members", 1, {"segment_id": 7, "customer_id": 42})
    shop.write("members", 2, {"segment_id": 8, "customer_id": 43})
    loop = shop.begin()
    shop.until(lambda: shop.members("vip") == {"c-1"})
    assert shop.named("vip") == "Very important"
    assert loop.engine.pending()["segment_reference"] == 1
    shop.customer("c-2", "b@example.com")
    shop.write("customers", 43, {"number": None, "email": "b@example.com"})
    shop.write("segments", 8, {"code": "club", "title": "Club"})
    shop.until(lambda: shop.members("club") == {"c-2"})
    shop.write("segments", 7, {"code": "vip", "title": "VIP"}, "u")
    shop.until(lambda: shop.named("vip") == "VIP")
    shop.stop()
    shop.write("segments", 8, None)
    shop.write("members", 2, None)
    shop.begin()
    shop.until(lambda: shop.named("club") is None)
    assert shop.members("vip") == {"c-1"}


def test_a_missing_segment_is_created_when_that_is_wanted(shop: Shop) -> None:
    shop.settings["segments"] = {"create_missing": True}
    shop.customer("c-1", "max@example.com")
    shop.write("members", 1, {"segment": "new-one", "email": "max@example.com"})
    shop.begin()
    shop.until(lambda: shop.members("new-one") == {"c-1"})


@pytest.mark.parametrize("catalog", [False, True])
def test_a_dynamic_segment_gets_one_request_and_no_letter(shop: Shop, *, catalog: bool) -> None:
    shop.sandbox.call(lambda app: setattr(app.shop.segments["gold"], "type", "dynamic"))
    for number in range(20):
        shop.customer(f"c-{number}", f"m{number}@example.com")
        shop.write("members", number, {"segment": "gold", "email": f"m{number}@example.com"})
    if catalog:
        shop.settings["segments"] = {"topic": shop.topic("segments"), "code": "code", "name": "title"}
        shop.write("segments", 1, {"code": "gold", "title": "Gold"})
    loop = shop.begin()
    shop.until(lambda: loop.engine.pending()["segment_dynamic"] == 20)
    statuses = shop.sandbox.call(lambda app: {int(status): n for status, n in app.witness.stats()["statuses"].items()})
    assert statuses.get(400, 0) <= 2, statuses
    assert loop.engine.letters_open() == 0
    assert loop.report.totals["letters"] == 0
    shop.sandbox.call(lambda app: setattr(app.shop.segments["gold"], "type", "fixed"))
    shop.until(lambda: len(shop.members()) == 20)


@pytest.mark.parametrize("code", ["404", "400"])
def test_whoever_registers_anew_follows_whichever_way_the_one_before_is_refused(shop: Shop, code: str) -> None:
    shop.settings["identity"] = {"missing_retry_s": 1}
    shop.settings["segments"] = {"create_missing": True}
    assert shop.http.post("/_sandbox/faults", json={"unknown_customer": code}).status_code == 200
    shop.customer("c-old", "max@example.com")
    shop.write("members", 1, {"segment": "gold", "email": "max@example.com"})
    loop = shop.begin()
    shop.until(lambda: shop.members() == {"c-old"})
    shop.customer("c-old", "max@example.com", status="deleted")
    shop.customer("c-new", "max@example.com")
    shop.write("members", 2, {"segment": "silver", "email": "max@example.com"})
    shop.until(lambda: shop.members("silver") == {"c-new"} and "c-new" in shop.members())
    assert loop.report.totals["letters"] == 0
