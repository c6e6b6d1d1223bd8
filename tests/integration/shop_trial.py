"""A sandbox of retail.red, an embedded broker, and loops between them, in this process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import httpx

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


class Shop:
    """A source, a sandbox, and loops between them. `settings` may be changed before a loop begins."""

    def __init__(self, broker: EmbeddedBroker, folder: Path, **sandbox: Any) -> None:
        self.name = f"identity{next(NUMBERS)}"
        self.secret = folder / "secret"
        self.secret.write_text(CLIENT_SECRET)
        self.broker = broker
        self.producer = broker.producer()
        self.sandbox = Sandbox(SandboxConfig(**({"segments": ("gold",)} | sandbox)))
        self.sandbox.__enter__()
        self.http = httpx.Client(base_url=self.sandbox.url, trust_env=False)
        self.loops: list[Loop] = []
        self.apis: list[RetailRed] = []
        self.settings = self.aimed({
            "kafka": {"group.id": f"group-{self.name}"},
            "retail_red": {"merchant": "10006"},
            "start": "beginning",
            "tables": {self.topic("members"): {"segment": {"column": "segment"}, "member": {"email": "email"}}},
        })  # fmt: skip

    def aimed(self, settings: dict[str, Any]) -> dict[str, Any]:
        """These settings, with this broker and this sandbox instead of theirs, and with short waits."""
        group = {"group.id": settings["kafka"]["group.id"], "session.timeout.ms": 6000}
        return {
            **settings,
            "kafka": {**group, "bootstrap.servers": self.broker.address},
            "kafka_secret_files": {},
            "retail_red": {
                **settings["retail_red"],
                "client_id": CLIENT_ID, "client_secret_file": str(self.secret),
                "urls": dict.fromkeys(("auth", "segmentation", "customer"), self.sandbox.url),
                "api_timeout_s": 2, "settle_s": 0.1,
            },
            "batch": {"linger_s": 0.05, "idle_s": 0.02},
            "commit_interval_s": 0.05,
            "drain_s": 4,
            "transactions": False,
            "state": {"create_topics": False, "verify_topics": False},
            "identity": {**settings.get("identity", {}), "missing_retry_s": 1},
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
                {code: self.members(code) for code in self.sandbox.call(lambda app: list(app.shop.segments))},
            )
            for loop in self.loops:
                loop.once()

    def stop(self) -> None:
        for loop in self.loops:
            loop.stop()
        self.loops.clear()

    def members(self, code: str = "gold") -> set[str]:
        """The segment's members; nobody where there is no such segment."""
        return self.sandbox.call(
            lambda app: set(app.shop.segments[code].customers.ids) if code in app.shop.segments else set()
        )

    def pending(self, reason: str) -> int:
        """Rows that wait for this reason."""
        return sum(loop.engine.pending()[reason] for loop in self.loops)

    def named(self, code: str) -> str | None:
        """The segment's name at retail.red; None when there is none."""
        found = self.apis[-1].get_segment(code)
        return found.name if found is not None else None

    def status(self, code: str) -> str:
        return self.sandbox.call(lambda app: app.shop.segments[code].status)

    def close(self) -> None:
        for loop in self.loops:
            loop.close()
        for api in self.apis:
            api.close()
        self.http.close()
        self.sandbox.__exit__(None, None, None)
