"""The live loop, an embedded broker and the sandbox: customers found by email and by reference, segments that come to exist."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from stream import wiring
from stream.demo.broker import EmbeddedBroker
from stream.edge.api import RetailRed
from stream.edge.health import Health
from stream.edge.metrics import Metrics
from stream.edge.senders import Destination, Lease
from stream.loop import Loop
from stream.sandbox import Sandbox, SandboxConfig
from stream.sandbox.config import CLIENT_ID, CLIENT_SECRET
from stream.settings import Settings

NUMBERS = count(1)


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker()
    yield broker
    broker.close()


class Shop:
    """A source of three tables, a sandbox, and loops between them. `settings` may be changed before a loop begins."""

    def __init__(self, broker: EmbeddedBroker, folder: Path) -> None:
        self.name = f"identity{next(NUMBERS)}"
        (folder / "secret").write_text(CLIENT_SECRET)
        self.producer = broker.producer()
        self.sandbox = Sandbox(SandboxConfig(segments=("gold",)))
        self.sandbox.__enter__()
        self.http = httpx.Client(base_url=self.sandbox.url, trust_env=False)
        self.loops: list[Loop] = []
        self.apis: list[RetailRed] = []
        self.settings: dict[str, Any] = {
            "kafka": {"bootstrap.servers": broker.address, "group.id": f"group-{self.name}", "session.timeout.ms": 6000},
            "retail_red": {
                "merchant": "10006", "client_id": CLIENT_ID, "client_secret_file": str(folder / "secret"),
                "urls": dict.fromkeys(("auth", "segmentation", "customer"), self.sandbox.url),
                "api_timeout_s": 2, "settle_s": 0.1,
            },
            "batch": {"linger_s": 0.05, "idle_s": 0.02},
            "commit_interval_s": 0.05,
            "drain_s": 4,
            "start": "beginning",
            "transactions": False,
            "state": {"create_topics": False},
            "identity": {"missing_retry_s": 1},
            "tables": {self.topic("members"): {"segment": {"column": "segment"}, "member": {"email": "email"}}},
        }  # fmt: skip

    def topic(self, table: str) -> str:
        return f"{self.name}.{table}"

    def write(self, table: str, key: Any, after: dict[str, Any] | None, op: str = "c") -> None:
        """A row of a table as Debezium writes it; after None deletes it."""
        value: dict[str, Any] = {"op": op if after else "d", "before": None if after else {"id": key},
                                 "after": {"id": key, **after} if after else None,
                                 "source": {"ts_ms": 1, "snapshot": "false"}}  # fmt: skip
        topic = self.topic(table)
        self.producer.produce(topic, key=json.dumps({"id": key}), value=json.dumps(value), partition=0)
        assert self.producer.flush(10) == 0

    def customer(self, name: str, email: str = "", number: str = "", **more: Any) -> None:
        one = {"id": name, "emailAddress": email or None, "externalCustomerNumber": number or None, **more}
        assert self.http.post("/_sandbox/customers", json={"customers": [one]}).status_code == 200

    def begin(self) -> Loop:
        settings = Settings.model_validate(self.settings)
        metrics = Metrics.fresh("0")

        def destination(lease: Lease) -> Destination:
            self.apis.append(RetailRed(wiring.api_config(settings), lease=lease.valid, observe=metrics.requested))
            return self.apis[-1]

        loop = Loop(settings, destination, metrics, Health(30.0))
        self.loops.append(loop)
        loop.begin()
        return loop

    def until(self, is_so: Callable[[], Any], patience_s: float = 20.0) -> None:
        deadline_s = time.monotonic() + patience_s
        while not is_so():
            assert time.monotonic() < deadline_s, (
                "it did not come to be",
                [dict(one.engine.pending()) for one in self.loops],
            )
            for loop in self.loops:
                loop.once()

    def stop(self) -> None:
        for loop in self.loops:
            loop.stop()
        self.loops.clear()

    def members(self, code: str = "gold") -> set[str]:
        return self.sandbox.members(code) if self.named(code) is not None else set()

    def named(self, code: str) -> str | None:
        """The segment's name at retail.red; None when there is none."""
        found = self.apis[-1].get_segment(code)
        return found.name if found is not None else None

    def close(self) -> None:
        for loop in self.loops:
            loop.close()
        for api in self.apis:
            api.close()
        self.http.close()
        self.sandbox.__exit__(None, None, None)


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
