"""The plain numbers the core works within. The loop fills them from the settings; relations are checked there and here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound and wait of the engine; times in seconds of the monotonic clock that the caller passes in.

    members_max, body_bytes_max: of one request. slots: requests in flight at once.
    linger_s: a batch is sent at this age; idle_s: or when nothing joined it for so long.
    backlog_linger_s: the age while the consumer is behind, when full requests matter more than fresh ones.
    api_timeout_s: after it an unanswered request counts as unknown; settle_s: how late a 202 or an unknown may still land.
    window_records_max, window_bytes_max: undurable rows held; at the limit partitions pause.
    window_age_s: what stays undurable for so long is stored as it is, so that it never pins the group's offsets.
    standings_max: memberships being worked on at once, durable ones waiting for a retry included.
    """

    members_max: int = 500
    body_bytes_max: int = 262_144
    slots: int = 8
    linger_s: float = 0.5
    idle_s: float = 0.1
    backlog_linger_s: float = 5.0
    api_timeout_s: float = 10.0
    settle_s: float = 5.0
    window_records_max: int = 500_000
    window_bytes_max: int = 268_435_456
    window_age_s: float = 60.0
    standings_max: int = 1_000_000
    commit_interval_s: float = 0.5
    repeat_hold_s: float = 60.0
    forget_after_s: float = 604_800.0
    missing_retry_s: float = 5.0
    missing_retry_cap_s: float = 300.0
    letters_open_max: int = 10_000

    def __post_init__(self) -> None:
        if not 0 <= self.idle_s <= self.linger_s <= self.backlog_linger_s:
            raise ValueError("idle_s <= linger_s <= backlog_linger_s must hold")
        if min(self.members_max, self.slots, self.window_records_max, self.standings_max) < 1:
            raise ValueError("members_max, slots, window_records_max and standings_max must be at least 1")

    @property
    def unclean_wait_s(self) -> float:
        """How long nothing is sent for a partition whose last owner left no clean mark: all it sent has landed by then."""
        return self.api_timeout_s + self.settle_s


@dataclass(frozen=True, slots=True)
class LookupLimits:
    """Bounds and waits of look-ups; times in seconds.

    values_max, url_bytes_max: of one question's list. slots: questions in flight at once. found_ttl_s, missing_ttl_s: how long
    an answer is believed without asking again, cache_max of them. retry_s, retry_cap_s: between these is the time until somebody
    who was not found is looked for again. retries_per_s: such questions a second, at most.
    """

    values_max: int = 100
    url_bytes_max: int = 4_000
    slots: int = 2
    found_ttl_s: float = 3_600.0
    missing_ttl_s: float = 30.0
    cache_max: int = 500_000
    retry_s: float = 30.0
    retry_cap_s: float = 21_600.0
    retries_per_s: float = 1.0

    def __post_init__(self) -> None:
        if min(self.values_max, self.slots, self.cache_max) < 1 or self.retries_per_s <= 0:
            raise ValueError("values_max, slots and cache_max must be at least 1, retries_per_s above 0")
        if not 0 < self.retry_s <= self.retry_cap_s or self.missing_ttl_s > self.retry_s:
            raise ValueError("missing_ttl_s <= retry_s <= retry_cap_s must hold")
