"""The processes beside the demo's own: the sandbox with its public API, and the consumer with its log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import httpx

from stream.demo.shop import SEGMENTS, TOPIC
from stream.errors import Unavailable

MERCHANT: Final = "10006"
SESSION_S: Final = 6
API_TIMEOUT_S: Final = 3
SETTLE_S: Final = 1
LATE_S: Final = API_TIMEOUT_S + SETTLE_S


class Sandbox:
    """The sandbox in a process of its own, and its public API."""

    def __init__(self, folder: Path, faults: tuple[str, ...]) -> None:
        (folder / "secret").write_text("sandbox-secret")
        command = [sys.executable, "-m", "stream.sandbox", "--port", "0", "--merchant", MERCHANT, "--latency-ms", "20"]
        for code in SEGMENTS:
            command += ["--segment", code]
        for fault in faults:
            command += ["--fault", fault]
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C in the terminal is for the demo alone, which ends it in its time
        )
        line = (self._process.stdout.readline() if self._process.stdout else "").strip()
        if "http://" not in line:
            raise Unavailable("the sandbox did not start")
        self.url = "http://" + line.split("http://", 1)[1].split()[0].rstrip("/")
        self._client = httpx.Client(base_url=self.url, timeout=10, trust_env=False)
        answer = self._client.post(
            "/oauth/token", data={"grant_type": "client_credentials"}, auth=("sandbox", "sandbox-secret")
        )
        answer.raise_for_status()
        self._client.headers["authorization"] = f"Bearer {answer.json()['access_token']}"

    def members(self, code: str) -> set[str]:
        """A segment's members, by the public GET, page by page."""
        found: set[str] = set()
        after: str | None = None
        while True:
            query: dict[str, Any] = {"limit": 1000, **({"after": after} if after else {})}
            answer = self._client.get(f"/v1/merchants/{MERCHANT}/segments/{code}/members", params=query)
            if answer.status_code != 200:
                time.sleep(0.05)  # the faults are for everybody
                continue
            page = answer.json()
            found.update(member["id"] for member in page["members"])
            after = page["meta"]["cursors"]["after"]
            if not after:
                return found

    def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.get("/_sandbox/stats").json()
        return found

    def present(self) -> dict[str, set[str]]:
        """The members of every segment, past its faults and its counts: for watching, not for the comparison."""
        return {code: set(self._client.get(f"/_sandbox/members/{code}").json()) for code in SEGMENTS}

    def all_members(self) -> dict[str, set[str]]:
        return {code: self.members(code) for code in SEGMENTS}

    def calm(self) -> None:
        """Switch every fault off but the delay of removals."""
        self.fault({"throttle_share": 0.0, "error_share": 0.0, "row_error_share": 0.0, "slow_share": 0.0})

    def fault(self, values: dict[str, Any]) -> None:
        self._client.post("/_sandbox/faults", json=values).raise_for_status()

    def close(self) -> None:
        self._client.close()
        _end(self._process)


def _end(process: subprocess.Popen[Any], patience_s: float = 15.0) -> int:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def settings_text(broker: str, sandbox: str, secret: Path, *, embedded: bool = True) -> str:
    """The settings file of the demo's consumer: the shortest that works, plus what the embedded broker cannot do."""
    return json.dumps(
        {
            "kafka": {"bootstrap.servers": broker, "group.id": "demo", "session.timeout.ms": SESSION_S * 1000,
                      "heartbeat.interval.ms": 1000, "topic.metadata.refresh.interval.ms": 1000},
            "transactions": not embedded,
            "state": {"create_topics": not embedded},
            "retail_red": {
                "merchant": MERCHANT, "client_id": "sandbox", "client_secret_file": str(secret),
                "urls": {"auth": sandbox, "segmentation": sandbox, "customer": sandbox},
                "api_timeout_s": API_TIMEOUT_S, "settle_s": SETTLE_S,
            },
            "start": "beginning",
            "drain_s": 10,
            "tables": {TOPIC: {"segment": {"column": "segment_code"}, "member": {"id": "customer_id"}}},
            "metrics": {"host": "127.0.0.1", "port": 0},
        },
        indent=2,
    )  # fmt: skip


class Consumer:
    """`segstream run` in a process of its own, its log in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.log = folder / "consumer.log"
        self._from = 0
        self._process: subprocess.Popen[Any] | None = None

    def start(self) -> None:
        with self.log.open("a") as log:
            self._from = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "stream", "run", "-c", str(self._folder / "segstream.yaml")],
                stderr=log, stdout=log, start_new_session=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip

    @property
    def metrics_url(self) -> str:
        """Where the last started consumer serves its metrics, from its log; empty until it says so."""
        found = ""
        with self.log.open() as log:
            log.seek(self._from)
            for line in log:
                if '"metrics":' in line:
                    found = json.loads(line)["metrics"]
                    break
        return found

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        return _end(self._process, 30) if self._process is not None else 0
