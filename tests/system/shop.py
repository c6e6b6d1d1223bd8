# ruff: noqa: S310 - every URL is of a process that the test started
"""The two programs of this project under test, each in a process of its own: the sandbox and `segstream run`."""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import yaml
from source import Source
from stack.process import POLL_S, Server, StackError, free_ports
from stack.stack import Stack
from unequal import explained

REPO: Final = Path(__file__).resolve().parents[2]
READY_S: Final = 30
REQUEST_S: Final = 10
DRAIN_S: Final = 10
SECRET: Final = "a-secret-of-the-tests"  # noqa: S105 - it guards nothing
SHOWN_METRICS: Final = {
    "partitions": "assigned_partitions", "lag": "consumer_lag_records", "open_edits": "open_edits",
    "pending": "pending_rows", "rows": "rows", "records": "records_consumed_total", "letters": "dead_letters_total",
    "paused": "paused_partitions", "requests": "api_requests_total", "commits": "offset_commits_total",
    "rebalances": "rebalances_total",
}  # fmt: skip

Segments = dict[str, set[str]]

# quick enough for tests; relations as in production: time-outs below the drain, the drain below the poll's limit
QUICK: Final[dict[str, Any]] = {
    "kafka": {"session.timeout.ms": 3000, "heartbeat.interval.ms": 500, "topic.metadata.refresh.interval.ms": 2000},
    "retail_red": {"api_timeout_s": 2, "settle_s": 1, "retry_base_s": 0.05, "retry_cap_s": 1},
    "batch": {"linger_s": 0.1, "idle_s": 0.05},
    "commit_interval_s": 0.2,
    "drain_s": DRAIN_S,
    "start": "beginning",
    "log": {"format": "text", "level": "info"},
}


class Shop:
    """The simulated retail.red. Its state ends with its process, unless it is stopped in order and started again."""

    def __init__(self, folder: Path, segments: tuple[str, ...], *, faults: Mapping[str, Any] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.secret_file = folder / "secret"
        self.secret_file.write_text(SECRET)
        self._segments = segments
        self._faults = dict(faults or {})
        saved = folder / "state.jsonl"
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        argv = [
            sys.executable, "-m", "stream.sandbox", "--port", str(self.port), "--client-id", "tests",
            "--client-secret-file", self.secret_file, "--save", saved,
        ]  # fmt: skip
        for segment in segments:
            argv += ["--segment", segment]
        self.server = Server("sandbox", argv, folder, env=_environment())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    def start(self) -> Self:
        self.server.start()
        self.server.wait(self._answers, READY_S)
        if self._faults:
            self.set_faults(**self._faults)
        return self

    def members(self) -> Segments:
        """What it holds now; segments without members are left out."""
        found = {segment: set(self._get(f"/_sandbox/members/{segment}")) for segment in self._segments}
        return {segment: members for segment, members in found.items() if members}

    def stats(self) -> dict[str, Any]:
        return dict(self._get("/_sandbox/stats"))

    def history(self, segment: str, member: str) -> Any:
        query = urllib.parse.urlencode({"segment": segment, "member": member})
        return self._get(f"/_sandbox/history?{query}")["events"]

    def set_faults(self, **values: Any) -> None:
        """Change what goes wrong, while it runs; names as of `--list-faults`."""
        self._request("POST", "/_sandbox/faults", values)

    def end_faults(self) -> None:
        self._request("DELETE", "/_sandbox/faults")

    def _answers(self) -> bool:
        try:
            self._get("/_sandbox/stats")
        except StackError:
            return False
        return True

    def _get(self, path: str) -> Any:
        return self._request("GET", path)

    def _request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", method=method, data=data, headers=dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_S) as answer:
                text = answer.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            why = error.read().decode(errors="replace")
            raise StackError(f"the sandbox answered {method} {path} with {error.code}: {why}") from error
        except OSError as error:
            raise self.server.error(f"did not answer {method} {path} ({error})") from error


def settings(stack: Stack, shop: Shop, tables: Mapping[str, Any], group: str, **changes: Any) -> dict[str, Any]:
    """segstream's settings for the stack and the sandbox. changes: sections, merged over QUICK and the rest."""
    whole: dict[str, Any] = {
        "kafka": {"bootstrap.servers": stack.broker_address, "group.id": group},
        "registry": {"url": stack.registry_url} if stack.has("registry") else None,
        "retail_red": {
            "merchant": "10006",
            "client_id": "tests",
            "client_secret_file": str(shop.secret_file),
            "urls": dict.fromkeys(("auth", "segmentation", "customer"), shop.url),
        },
        "tables": dict(tables),
    }
    return _merged(_merged(whole, QUICK), changes)


class Instance:
    """One `segstream run`. Several of one group share its settings but for the port of their metrics."""

    def __init__(self, folder: Path, name: str, values: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (self.port,) = free_ports(1)
        self.file = folder / f"{name}.yaml"
        self.file.write_text(
            yaml.safe_dump(_merged(values, {"metrics": {"host": "127.0.0.1", "port": self.port}}), sort_keys=False)
        )
        argv = [sys.executable, "-m", "stream", "run", "-c", self.file]
        self.server = Server(name, argv, folder, env=_environment())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.server.stop(grace_s=DRAIN_S + 5)

    def start(self) -> Self:
        self.server.start()
        return self

    def await_ready(self, deadline_s: float = READY_S) -> Self:
        self.server.wait(lambda: self._get("/readyz") is not None, deadline_s, "be ready")
        return self

    def stop(self) -> None:
        """SIGTERM. Raises StackError unless it drained and ended with 0."""
        if not self.server.is_running():
            raise self.server.error(f"had ended before it was stopped, with {self.server.exit_code}")
        self.server.stop(grace_s=DRAIN_S + 5)
        if self.server.exit_code != 0:
            raise self.server.error(f"ended with {self.server.exit_code} when stopped")

    def kill(self) -> None:
        self.server.kill()

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels; 0 when there are none."""
        text = self._get("/metrics")
        if text is None:
            raise self.server.error("did not answer /metrics")
        total = 0.0
        for line in text.splitlines():
            sample = re.fullmatch(r"([a-z_:]+)(?:\{(.*)\})? (\S+)", line)
            if (
                sample
                and sample[1] == name
                and all(f'{key}="{value}"' in (sample[2] or "") for key, value in labels.items())
            ):
                total += float(sample[3])
        return total

    def state(self) -> str:
        """How it stands, in a line for people; asks a process that may have ended or may hang."""
        name = self.server.name
        if not self.server.is_running():
            return f"{name}: ended with {self.server.exit_code}"
        try:
            counts = {label: self.metric(f"segstream_{metric}") for label, metric in SHOWN_METRICS.items()}
        except StackError:
            return f"{name}: runs, and does not answer"
        oldest_s = (
            time.time() - self.metric("segstream_oldest_unacked_timestamp_seconds") if counts["partitions"] else 0
        )
        shown = " ".join(f"{label}={count:.0f}" for label, count in counts.items())
        ready = "ready" if self._get("/readyz") is not None else "NOT READY"
        return f"{name}: runs, {ready}, {shown} oldest_unacked_s={oldest_s:.1f}"

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=REQUEST_S) as answer:
                return str(answer.read().decode())
        except OSError:
            return None


def await_equal(
    shop: Shop,
    truth: Callable[[], Segments],
    deadline_s: float = 60,
    *,
    hold_s: float = 0.5,
    running: Instance | None = None,
    beside: Sequence[Instance] = (),
    source_state: Callable[[], str] | None = None,
) -> float:
    """Wait until the sandbox holds the truth and still does after hold_s; returns the seconds that it took.

    running: the instance that must go on. beside: others of its group, running or not, that may explain a failure.
    Raises AssertionError with the class of the failure and all that explains it, on the deadline or when running ends.
    """
    started = changed_at = time.monotonic()
    equal_at: float | None = None
    before: Segments | None = None
    while True:
        now = time.monotonic()
        wanted, found = truth(), shop.members()
        if found != before:
            before, changed_at = found, now
        if wanted != found:
            equal_at = None
        elif equal_at is None:
            equal_at = now
        elif now - equal_at >= hold_s:
            return equal_at - started
        ended = running is not None and not running.server.is_running()
        if now - started > deadline_s or ended:
            needed = [] if running is None else [running]
            raise AssertionError(
                explained(
                    shop, truth, [*needed, *beside], needed=needed,
                    waited_s=now - started, changed_s=changed_at - started, source_state=source_state,
                )
            )  # fmt: skip
        time.sleep(POLL_S)


def merged_truth(*sources: Source) -> Callable[[], Segments]:
    """The truth of several tables that feed the same segments: whoever any of them says is a member."""

    def truth() -> Segments:
        whole: Segments = {}
        for source in sources:
            for segment, members in source.truth().items():
                whole.setdefault(segment, set()).update(members)
        return whole

    return truth


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    whole = dict(base)
    for key, value in over.items():
        # tables are replaced whole: a mapping of one is no part of another's
        both = isinstance(value, Mapping) and isinstance(whole.get(key), Mapping) and key != "tables"
        whole[key] = _merged(whole[key], value) if both else value
    return whole


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": str(REPO), "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
