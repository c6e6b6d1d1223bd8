"""What the live view shows, from the consumer's /metrics and the sandbox's counts."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import httpx

WINDOW_S: Final = 10.0
_SAMPLE: Final = re.compile(r"^(segstream_\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
Sample = tuple[str, dict[str, str], float]


class Segment(NamedTuple):
    """wanted: what the table says. extra: members that the table does not name (any more)."""

    code: str
    wanted: int
    in_sync: int
    extra: int


class Second(NamedTuple):
    """One second of the past. differing: memberships that are not as the table says, at its end."""

    changes: float
    edits: float
    lag: float
    differing: float


@dataclass
class Figures:
    """One moment. Rates are per second over the last WINDOW_S; freshness in seconds over the same, None: nothing."""

    passed_s: float = 0.0
    duration_s: float | None = None
    state: str = "starting"
    changes: int = 0
    records: float = 0
    edits: float = 0
    requests: float = 0
    changes_rate: float = 0
    records_rate: float = 0
    edits_rate: float = 0
    requests_rate: float = 0
    lag: int | None = None
    p50_s: float | None = None
    p99_s: float | None = None
    wanted: int = 0
    in_sync: int = 0
    extra: int = 0
    faults_on: tuple[str, ...] = ()
    faults: dict[str, int] = field(default_factory=lambda: fault_counts({}, 0))
    segments: tuple[Segment, ...] = ()
    seconds: tuple[Second, ...] = ()
    keys: bool = True
    addresses: tuple[str, ...] = ()
    events: tuple[tuple[float, str], ...] = ()

    @property
    def rows_per_request(self) -> float:
        return self.edits / self.requests if self.requests else 0.0


def samples(text: str) -> list[Sample]:
    """The segstream_ samples of a page of metrics."""
    return [(name, dict(_LABEL.findall(labels)), float(value)) for name, labels, value in _SAMPLE.findall(text)]


def quantile(buckets: dict[float, float], share: float) -> float | None:
    """The value below which this share of the observations lies, by straight lines within a bucket; None without any.

    buckets: upper edge in seconds to the cumulative count.
    """
    total = buckets.get(float("inf"), 0.0)
    if total <= 0:
        return None
    below_s, below = 0.0, 0.0
    for edge_s, count in sorted(buckets.items()):
        if count >= share * total:
            if edge_s == float("inf"):
                return below_s
            return below_s + (edge_s - below_s) * (share * total - below) / max(count - below, 1e-9)
        below_s, below = edge_s, count
    return below_s


def fault_counts(stats: dict[str, Any], kills: int) -> dict[str, int]:
    """What the faults did, by kind."""
    statuses = stats.get("statuses", {})
    return {
        "429 answers": statuses.get("429", 0),
        "5xx answers": sum(count for status, count in statuses.items() if status.startswith("5")),
        "cut connections": statuses.get("cut", 0),
        "rows refused once": stats.get("rows_refused", 0),
        "kill -9": kills,
        "sent within Retry-After": stats.get("requests_within_retry_after", 0),
        "overlapping operations": stats.get("overlaps", 0),
    }


class Readings:
    """Reads the consumer's page again and again. Totals go on over restarts, at which the consumer begins at 0."""

    def __init__(self) -> None:
        self._client: Final = httpx.Client(timeout=2, trust_env=False)
        self._last: dict[str, float] = {}
        self._before: dict[str, float] = {}
        self._seen: deque[tuple[float, dict[str, float]]] = deque()
        self.answers = False
        self._owns = False
        self.sends = False  # the present process has sent something

    def read(self, url: str, at_s: float, changes: int) -> None:
        """One look. A consumer that does not answer leaves the totals as they were."""
        text = ""
        if url:
            try:
                text = self._client.get(f"{url}/metrics").text
            except httpx.HTTPError:
                text = ""
        self.take(text, at_s, changes)

    def take(self, text: str, at_s: float, changes: int) -> None:
        found = samples(text)
        self.answers = bool(found)
        self._owns = any(name == "segstream_assigned_partitions" and value for name, _, value in found)
        self.sends = any(name == "segstream_batch_members_count" and value for name, _, value in found)
        if found:
            now = _totals(found)
            for name, value in self._last.items():
                if now.get(name, 0.0) < value:  # it was started again
                    self._before = {key: self.total(key) for key in {*self._last, *self._before}}
                    self._last = {}
                    break
            self._last = now
        totals = {name: self.total(name) for name in {*self._last, *self._before}}
        self._seen.append((at_s, totals | {"changes": float(changes)}))
        while len(self._seen) > 2 and at_s - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()

    @property
    def state(self) -> str:
        """Of the present process: starting, joining its group, waiting to be allowed to send, running."""
        if not self.answers:
            return "starting"
        return "running" if self.sends else "waiting" if self._owns else "joining"

    def total(self, name: str) -> float:
        return self._before.get(name, 0.0) + self._last.get(name, 0.0)

    def rate(self, name: str) -> float:
        """Per second over the window."""
        (from_s, first), (to_s, last) = self._seen[0], self._seen[-1]
        return (last.get(name, 0.0) - first.get(name, 0.0)) / (to_s - from_s) if to_s > from_s else 0.0

    def freshness_s(self, share: float) -> float | None:
        first, (now_s, last) = self._seen[0][1], self._seen[-1]
        found = quantile(
            {float(name[3:]): last[name] - first.get(name, 0.0) for name in last if name.startswith("le=")}, share
        )
        # within a bucket the place is a guess; nothing is older than the run
        return None if found is None else min(found, now_s)

    def fill(self, figures: Figures) -> None:
        for name in ("records", "edits", "requests"):
            setattr(figures, name, self.total(name))
            setattr(figures, f"{name}_rate", self.rate(name))
        figures.changes_rate = self.rate("changes")
        figures.p50_s, figures.p99_s = self.freshness_s(0.5), self.freshness_s(0.99)

    def close(self) -> None:
        self._client.close()


def _totals(found: list[Sample]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for name, labels, value in found:
        key = {
            "segstream_records_consumed_total": "records",
            "segstream_batch_members_sum": "edits",
            "segstream_batch_members_count": "requests",
        }.get(name)
        if name == "segstream_delivery_latency_seconds_bucket" and labels.get("origin") == "stream":
            key = f"le={float(labels['le'])}"
        if key is not None:
            totals[key] = totals.get(key, 0.0) + value
    return totals
