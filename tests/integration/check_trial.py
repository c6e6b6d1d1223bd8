"""`segstream check` as a command over a settings file, with an embedded broker and the sandbox."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from stream import cli
from stream.check import Finding
from stream.demo.broker import EmbeddedBroker
from stream.sandbox.config import CLIENT_SECRET
from stream.sandbox.server import Sandbox

SOURCE = {"connector": "postgresql", "ts_ms": 1_795_000_000_000, "snapshot": "false", "sequence": '["1","1"]'}
NUMBERS = count(1)


class Bench:
    """One topic of its own, a settings file, and the command."""

    def __init__(
        self, broker: EmbeddedBroker, sandbox: Sandbox, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.broker = broker
        self.folder = folder
        self.capsys = capsys
        self.topic = f"shop{next(NUMBERS)}.public.segment_members"
        (folder / "secret").write_text(CLIENT_SECRET)
        self.producer = broker.producer()
        self.table: dict[str, Any] = {"segment": {"column": "segment"}, "member": {"id": "customer"}}
        self.settings: dict[str, Any] = {
            "kafka": {"bootstrap.servers": broker.address, "group.id": f"group{next(NUMBERS)}"},
            "retail_red": {
                "merchant": "10006",
                "client_id": "sandbox",
                "client_secret_file": str(folder / "secret"),
                "urls": dict.fromkeys(("auth", "segmentation", "customer"), sandbox.url),
                "api_timeout_s": 3,
            },
            "transactions": False,
            "state": {"create_topics": False, "verify_topics": False},
            "start": "beginning",
        }

    def send(self, key: Any, value: Any, partition: int = 0, topic: str = "") -> None:
        key_bytes = None if key is None else json.dumps(key).encode()
        data = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
        self.producer.produce(topic or self.topic, key=key_bytes, value=data, partition=partition)

    def row(
        self, key: Any, after: Any, *, op: str = "c", before: Any = None, partition: int = 0, topic: str = ""
    ) -> None:
        self.send(key, {"op": op, "before": before, "after": after, "source": SOURCE}, partition, topic)

    def some_rows(self) -> None:
        for i in range(1, 9):
            self.row({"id": i}, {"id": i, "segment": "gold", "customer": f"c-{i}"}, partition=i % 4)

    def check(self) -> tuple[int, list[Finding]]:
        assert self.producer.flush(10) == 0
        self.settings.setdefault("tables", {self.topic: self.table})
        (self.folder / "settings.yaml").write_text(json.dumps(self.settings))
        code = cli.main(["check", "-c", str(self.folder / "settings.yaml"), "--json"])
        out = json.loads(self.capsys.readouterr().out)
        assert out["exit_code"] == code
        return code, [Finding(**line) for line in out["findings"]]


def of(found: list[Finding], what: str, level: str | None = None) -> Finding:
    """The one finding of this kind."""
    (one,) = [line for line in found if line.what == what and level in (None, line.level)]
    return one


def failed(found: list[Finding]) -> list[str]:
    return [line.what for line in found if line.level == "fail"]
