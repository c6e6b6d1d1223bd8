"""A changed segment code, accepted through the control topic: while it runs, and after a restart; embedded broker and sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from shop_trial import Shop

from stream.core.model import Definition
from stream.demo.broker import EmbeddedBroker
from stream.edge.control import acceptance, control_topic, write


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker()
    yield broker
    broker.close()


@pytest.fixture
def shop(broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    # a control topic that is made while it runs is found when topics are looked at next
    monkeypatch.setattr("stream.watch.INTERVAL_S", 0.2)
    shop = Shop(broker, tmp_path)
    shop.settings["tables"] = {
        shop.topic("members"): {"segment": {"reference": "segments", "by": "segment"}, "member": {"email": "email"}}
    }
    shop.settings["references"] = {"segments": {"topic": shop.topic("segments"), "key": "id", "code": "code"}}
    for number in (1, 2):
        shop.customer(f"c-{number}", f"m{number}@example.com")
        shop.write("members", number, {"segment": 7, "email": f"m{number}@example.com"})
    shop.write("segments", 7, {"code": "gold", "title": "Golden"})
    yield shop
    shop.close()


def accept(shop: Shop, code: str, *, value: bool = True) -> None:
    key, data = acceptance(code)
    write(shop.settings["kafka"], control_topic(shop.settings["kafka"]["group.id"]), key, data if value else None)


def named(shop: Shop) -> None:
    """The table of segments is in use, too."""
    shop.settings["segments"] = {"topic": shop.topic("segments"), "code": "code", "name": "title"}


@pytest.mark.parametrize("table", [True, False])
def test_accepted_while_it_runs(shop: Shop, table: bool) -> None:  # noqa: FBT001 - a case
    if table:
        named(shop)
    loop = shop.begin()
    shop.until(lambda: shop.members("gold") == {"c-1", "c-2"})
    assert loop.beside.why() == ""
    if not table:
        assert shop.apis[-1].define(Definition(0, "exist", "golden", "golden")).kind == "done"
    shop.write("segments", 7, {"code": "golden", "title": "More golden"}, "u")
    shop.customer("c-3", "m3@example.com")
    shop.write("members", 3, {"segment": 7, "email": "m3@example.com"})
    shop.until(lambda: shop.members("gold") == {"c-1", "c-2", "c-3"})
    assert shop.members("golden") == set()
    accept(shop, "golden")
    shop.until(lambda: shop.members("golden") == {"c-1", "c-2", "c-3"} and not shop.members("gold"))
    if table:
        assert shop.named("golden") == "More golden"
    assert shop.named("gold") is not None


@pytest.mark.parametrize("clean", [True, False])
def test_accepted_before_it_starts_again(shop: Shop, clean: bool) -> None:  # noqa: FBT001 - a case
    named(shop)
    shop.begin()
    shop.until(lambda: shop.members("gold") == {"c-1", "c-2"})
    if clean:
        shop.stop()
    else:
        for loop in shop.loops:
            loop.close()
        shop.loops.clear()
    shop.write("segments", 7, {"code": "golden", "title": "More golden"}, "u")
    accept(shop, "golden")
    shop.begin()
    shop.until(lambda: shop.members("golden") == {"c-1", "c-2"} and not shop.members("gold"))


def test_what_is_taken_back_moves_nothing(shop: Shop) -> None:
    named(shop)
    accept(shop, "golden")
    accept(shop, "golden", value=False)
    loop = shop.begin()
    shop.until(lambda: shop.members("gold") == {"c-1", "c-2"})
    shop.write("segments", 7, {"code": "golden", "title": "More golden"}, "u")
    shop.until(lambda: loop.engine.tally["alarms", "segment_code_changed"] or shop.named("gold") is None)
    shop.write("members", 1, None)
    shop.until(lambda: shop.members("gold") == {"c-2"})
    assert shop.members("golden") == set()
