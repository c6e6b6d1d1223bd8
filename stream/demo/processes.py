"""The processes beside the demo's own: the sandbox with its public API, and the consumer with its log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

import httpx

from stream.demo.shop import SEGMENTS, TOPIC
from stream.errors import Unavailable

MERCHANT: Final = "10006"
SESSION_S: Final = 6  # the least that brokers allow by default
SESSION_EMBEDDED_S: Final = 4
API_TIMEOUT_S: Final = 3
SETTLE_S: Final = 1
LATE_S: Final = API_TIMEOUT_S + SETTLE_S
GROUP: Final = "demo"
TOKEN: Final = "/oauth/token"  # noqa: S105 - a path
ANSWER_DEADLINE_S: Final = 15.0


class Sandbox:
    """The sandbox in a process of its own, and its public API. Every call raises Unavailable when it does not answer."""

    def __init__(self, folder: Path, faults: tuple[str, ...]) -> None:
        (folder / "secret").write_text("sandbox-secret")
        arguments = ["--port", "0", "--merchant", MERCHANT, "--latency-ms", "20"]
        for code in SEGMENTS:
            arguments += ["--segment", code]
        for fault in faults:
            arguments += ["--fault", fault]
        log = folder / "sandbox.log"
        with log.open("w") as errors:
            self._process = _start("stream.sandbox", arguments, stdout=subprocess.PIPE, stderr=errors)
        try:
            self.url = self._address(log)
            self._client = httpx.Client(base_url=self.url, timeout=10, trust_env=False)
            self._log_in()
        except BaseException:
            _end(self._process)
            raise

    def _address(self, log: Path) -> str:
        """From its first line."""
        line = (self._process.stdout.readline() if self._process.stdout else b"").decode().strip()
        if "http://" not in line:
            raise Unavailable(f"the sandbox did not start: {_last_line(log)}")
        return "http://" + line.split("http://", 1)[1].split()[0].rstrip("/")

    def _log_in(self) -> None:
        credentials = {"grant_type": "client_credentials"}
        answer = self._ask("POST", TOKEN, data=credentials, auth=("sandbox", "sandbox-secret"))
        self._client.headers["authorization"] = f"Bearer {answer.json()['access_token']}"

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """An answer that is 2xx, for one that is none is asked for again: the faults are for everybody."""
        until_s = time.monotonic() + ANSWER_DEADLINE_S
        while True:
            try:
                answer = self._client.request(method, path, **more)
            except httpx.TransportError as error:
                if not _running(self._process) or time.monotonic() > until_s:
                    raise Unavailable(f"the sandbox does not answer: {error}") from error
            else:
                if answer.is_success:
                    return answer
                if time.monotonic() > until_s:
                    raise Unavailable(f"the sandbox answers {answer.status_code} to {method} {path}")
                if answer.status_code == httpx.codes.UNAUTHORIZED and path != TOKEN:
                    self._log_in()  # a token lives for an hour
            time.sleep(0.05)

    def members(self, code: str) -> set[str]:
        """A segment's members, by the public GET, page by page."""
        found: set[str] = set()
        after: str | None = None
        while True:
            query: dict[str, Any] = {"limit": 1000, **({"after": after} if after else {})}
            page = self._ask("GET", f"/v1/merchants/{MERCHANT}/segments/{code}/members", params=query).json()
            found.update(member["id"] for member in page["members"])
            after = page["meta"]["cursors"]["after"]
            if not after:
                return found

    def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("GET", "/_sandbox/stats").json()
        return found

    def rows_under_way(self) -> int:
        """Rows of requests that are not answered yet."""
        return int(self.stats()["in_flight_rows"]["open"])

    def present(self) -> dict[str, set[str]]:
        """The members of every segment, past its faults and its counts: for watching, not for the comparison."""
        return {code: set(self._ask("GET", f"/_sandbox/members/{code}").json()) for code in SEGMENTS}

    def all_members(self) -> dict[str, set[str]]:
        return {code: self.members(code) for code in SEGMENTS}

    def calm(self) -> None:
        """Switch every fault off but the delay of removals."""
        self.fault({"throttle_share": 0.0, "error_share": 0.0, "row_error_share": 0.0, "slow_share": 0.0})

    def fault(self, values: dict[str, Any]) -> None:
        self._ask("POST", "/_sandbox/faults", json=values)

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        self._client.close()
        _end(self._process)


def _start(
    module: str, arguments: Sequence[str], *, stdout: IO[Any] | int, stderr: IO[Any] | int
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "stream.demo.tied", module, *arguments],
        stdin=subprocess.PIPE,  # held open by this process alone: see tied
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,  # a Ctrl-C in the terminal is for the demo alone, which ends it in its time
    )


def _running(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is None


def _end(process: subprocess.Popen[bytes], patience_s: float = 5.0) -> int:
    """End it in its own way, by force after patience_s."""
    if _running(process):
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
    return _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> int:
    process.kill()
    code = process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    return code


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it says nothing"


def settings_text(broker: str, sandbox: str, secret: Path, *, embedded: bool = True) -> str:
    """The settings file of the demo's consumer: the shortest that works, plus what the embedded broker cannot do."""
    session_s = SESSION_EMBEDDED_S if embedded else SESSION_S
    return json.dumps(
        {
            "kafka": {"bootstrap.servers": broker, "group.id": GROUP, "session.timeout.ms": session_s * 1000,
                      "heartbeat.interval.ms": 1000, "topic.metadata.refresh.interval.ms": 1000},
            "transactions": not embedded,
            "state": {"create_topics": not embedded, "verify_topics": not embedded},
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
        self._from = self._told = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("a") as log:
            self._from = log.tell()
            settings = str(self._folder / "segstream.yaml")
            self._process = _start("stream", ["run", "-c", settings], stdout=log, stderr=log)

    @property
    def metrics_url(self) -> str:
        """Where the last started consumer serves its metrics, from its log; empty until it says so."""
        found = ""
        with self.log.open() as log:
            log.seek(self._from)
            for line in log:
                if '"metrics":' in line and line.endswith("\n"):
                    found = json.loads(line)["metrics"]
                    break
        return found

    def alarms(self) -> list[str]:
        """What its log says to a person since this was asked last."""
        found: list[str] = []
        with self.log.open() as log:
            log.seek(self._told)
            for line in log:
                if not line.endswith("\n"):
                    break
                self._told += len(line.encode())
                if '"alarm":' in line:
                    found.append(str(json.loads(line)["event"]))
        return found

    @property
    def pid(self) -> int:
        """0 before the first start."""
        return self._process.pid if self._process is not None else 0

    def check_alive(self) -> None:
        """Raises Unavailable with the end of its log when it ended by itself."""
        if self._process is None or not _running(self._process):
            raise Unavailable(f"the consumer ended by itself: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """Nothing of it is finished or flushed. May be called after its end."""
        if self._process is not None:
            _kill(self._process)

    def stop(self) -> int:
        """Ask it to finish, and return its exit code."""
        return _end(self._process, 30) if self._process is not None else 0
