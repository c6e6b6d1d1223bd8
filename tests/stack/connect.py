# ruff: noqa: S310 - the URLs are its own server's
"""Kafka Connect, one standalone worker, driven over its REST interface.

Its source offsets lie in a file that is written each offset_flush_interval_ms. Killed before, it repeats on its next
start every event since the last write: that is how the tests get Debezium's repeats.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from stack.kit import Kit
from stack.process import POLL_S, Server, StackError, free_ports

READY_S = 120
REQUEST_S = 30


class Connect:
    """Keeps its port, its connectors and its offsets over stop, kill and start."""

    def __init__(self, kit: Kit, folder: Path, broker_address: str) -> None:
        folder.mkdir(parents=True)
        (self.port,) = free_ports(1)
        self.offset_flush_interval_ms = 1000
        self._kit = kit
        self._folder = folder
        self._broker_address = broker_address
        self._connectors: dict[str, dict[str, str]] = {}
        self.server = Server(
            "connect",
            [
                kit.java, "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                "-Dorg.slf4j.simpleLogger.showDateTime=true",
                "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.clients=warn",
                "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config.AbstractConfig=warn",
                "-cp", f"{kit.kafka}/*", "org.apache.kafka.connect.cli.ConnectStandalone",
                folder / "worker.properties",
            ],
            folder,
        )  # fmt: skip

    def start(self) -> None:
        (self._folder / "worker.properties").write_text(f"""\
bootstrap.servers={self._broker_address}
listeners=http://127.0.0.1:{self.port}
plugin.path={self._kit.plugins}
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=false
value.converter.schemas.enable=false
offset.storage.file.filename={self._folder / "offsets"}
offset.flush.interval.ms={self.offset_flush_interval_ms}
offset.flush.timeout.ms=5000
task.shutdown.graceful.timeout.ms=5000
""")
        self.server.start()

    def wait(self) -> None:
        self.server.wait(self._answers, READY_S)
        for name, config in self._connectors.items():  # standalone workers forget them
            self._put(name, config)

    def put(self, name: str, config: dict[str, str]) -> None:
        """Create the connector or change its settings; wait until its task runs."""
        self._put(name, config)
        self._connectors[name] = config

    def delete(self, name: str) -> None:
        self._request("DELETE", f"/connectors/{name}")
        self._connectors.pop(name, None)

    def restart_task(self, name: str) -> None:
        self._request("POST", f"/connectors/{name}/restart?includeTasks=true")
        self._await_running(name)

    def status(self, name: str) -> dict[str, Any]:
        return self._request("GET", f"/connectors/{name}/status") or {}

    def wait_offset(self, name: str) -> None:
        """Wait until it wrote a place in the stream to its file: killed before, it takes its snapshot again."""
        self.server.wait(lambda: self._has_offset(name), READY_S, f"write an offset of {name}")

    def _has_offset(self, name: str) -> bool:
        try:
            written = (self._folder / "offsets").read_bytes()
        except FileNotFoundError:
            return False
        # Java's own form around two texts in JSON, the connector's partition and its offset
        _, found, rest = written.partition(f'["{name}",'.encode())
        offset = rest[rest.find(b'{"', rest.find(b"]")) :].split(b"}")[0]
        return bool(found) and b'"lsn"' in offset and b'"snapshot' not in offset

    def _put(self, name: str, config: dict[str, str]) -> None:
        self._request("PUT", f"/connectors/{name}/config", config)
        self._await_running(name)

    def _await_running(self, name: str) -> None:
        def runs() -> bool:
            try:
                status = self.status(name)
            except StackError:
                return False  # not there for a moment after it was made
            parts = [status.get("connector", {}), *status.get("tasks", [])]
            failed = [part["trace"] for part in parts if part.get("state") == "FAILED"]
            if failed:
                raise StackError(f"connector {name} failed:\n{failed[0][:4000]}")
            return len(parts) > 1 and all(part.get("state") == "RUNNING" for part in parts)

        self.server.wait(runs, READY_S, f"run the connector {name}")

    def _request(self, method: str, path: str, body: dict[str, str] | None = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        until = time.monotonic() + REQUEST_S
        while True:
            try:
                with urllib.request.urlopen(request, timeout=REQUEST_S) as answer:
                    text = answer.read()
                    return json.loads(text) if text else None
            except urllib.error.HTTPError as error:
                # 409: it is busy with an earlier change
                if error.code != 409 or time.monotonic() > until:
                    text = error.read().decode(errors="replace")[:4000]
                    raise StackError(f"connect answered {method} {path} with {error.code}: {text}") from error
            except OSError as error:
                raise self.server.error(f"did not answer {method} {path} ({error})") from error
            time.sleep(POLL_S)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/connectors", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
