"""What an outcome means: done, again, or refused, member by member. Nothing here is counted as success by default.

A 2xx says that the request was read; `errors[]` inside says which members it was not done for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from stream.core.model import ItemError, Op, Outcome

Kind = Literal["done", "retry", "split", "segment_missing", "auth", "throttled", "unsent"]

RefusedReason = Literal[
    "unknown_customer", "invalid", "forbidden", "conflict", "too_large", "gone", "rejected", "unclear"
]
"""Why one member will not be had. unclear: an error without a code that says anything, after some repetitions."""

ALARMS: Final = frozenset({"auth", "credentials", "forbidden", "unexpected_status"})
"""Reasons of whole calls that no waiting mends: a person must look."""

UNCLEAR_ATTEMPTS: Final = 3
"""How often an item error whose code says nothing is tried again before its member is refused."""

_DOUBLINGS_MAX: Final = 30
_RETRY: Final = frozenset({408, 425, 429})
_REFUSALS: Final[dict[int, RefusedReason]] = {
    400: "invalid",
    401: "forbidden",
    403: "forbidden",
    409: "conflict",
    410: "gone",
    413: "too_large",
    422: "invalid",
}
_NAMED: Final = {
    "alreadyexists": 409,
    "badrequest": 400,
    "conflict": 409,
    "duplicate": 409,
    "forbidden": 403,
    "internalservererror": 500,
    "notfound": 404,
    "schemavalidationfailed": 400,
    "serviceunavailable": 503,
    "toomanyrequests": 429,
    "unauthorized": 401,
    "validationfailed": 400,
}
"""Codes as words, compared without case, blanks, `_` and `-`."""


@dataclass(frozen=True, slots=True)
class VerdictPolicy:
    """retry_base_s doubles with each failure up to retry_cap_s; a Retry-After is believed up to retry_after_cap_s."""

    retry_base_s: float = 0.2
    retry_cap_s: float = 30.0
    retry_after_cap_s: float = 300.0

    def delay_s(self, attempt: int, jitter: float) -> float:
        """Full jitter: anything up to the back-off after `attempt` failures, so that retries spread out."""
        return jitter * self.backoff_s(attempt)

    def backoff_s(self, attempt: int) -> float:
        """Return the ceiling of the delay: exponential and capped."""
        return min(self.retry_cap_s, self.retry_base_s * 2.0 ** min(max(attempt, 0), _DOUBLINGS_MAX))


class Verdict(NamedTuple):
    """What a call came to: `kind` as a whole, and the members that are exceptions.

    kind done: every member but those in retry_members and refused_members is settled; delay_s is of the retried ones.
    Any other kind: none is, and the whole call is to be made again (split: in halves) after delay_s.
    settles_later: accepted, but applied in the background (202).
    may_land_late: what is not done may still be applied by this call, even after its repetition.
    reason, and the members' reasons: short fixed labels, never a server's words.
    """

    kind: Kind
    reason: str
    delay_s: float = 0.0
    settles_later: bool = False
    may_land_late: bool = False
    retry_members: dict[str, str] = {}  # noqa: RUF012 - never written to: most calls have no exceptions
    refused_members: dict[str, str] = {}  # noqa: RUF012 - as above

    @property
    def alarm(self) -> bool:
        """Whether a person must look."""
        return self.reason in ALARMS


def judge(outcome: Outcome, policy: VerdictPolicy, attempt: int, jitter: float) -> Verdict:
    """Judge one outcome. attempt: failed attempts before this one, 0 for the first; jitter: in [0, 1)."""
    delay_s = policy.delay_s(attempt, jitter)
    if outcome.kind == "unsent":
        return _unsent(outcome, policy, delay_s, jitter)
    if outcome.kind == "refused":
        return Verdict("retry", "unreachable", delay_s)
    if outcome.kind == "unknown":
        return Verdict("retry", "unanswered", delay_s, may_land_late=True)
    status = outcome.status
    if 200 <= status < 300:
        return _items(outcome, delay_s, attempt)
    if outcome.retry_after_s is not None:
        # full jitter may come out near nothing; the server's word is a floor, and its cap protects from nonsense
        delay_s = max(delay_s, min(outcome.retry_after_s, policy.retry_after_cap_s))
    if status == 429:
        # Without Retry-After at least half of the back-off: all slots share the limit that was hit.
        floor_s = policy.backoff_s(attempt) / 2
        return Verdict("throttled", "throttled", max(delay_s, floor_s))
    if status >= 500:
        # Whoever answered, perhaps a gateway: the service behind it may still be at work.
        throttled = status == 503 and outcome.retry_after_s is not None
        return Verdict("throttled" if throttled else "retry", "server_error", delay_s, may_land_late=True)
    if status in {401, 403}:
        return Verdict("auth", "auth" if status == 401 else "forbidden", max(delay_s, _slow_s(policy, jitter)))
    if status == 404:
        return Verdict("segment_missing", "segment_missing", delay_s)
    if status in {408, 425}:
        return Verdict("retry", "timeout" if status == 408 else "too_early", delay_s, may_land_late=status == 408)
    return _whole_refusal(outcome, policy, delay_s, jitter)


def _whole_refusal(outcome: Outcome, policy: VerdictPolicy, delay_s: float, jitter: float) -> Verdict:
    """The whole request was refused, though perhaps for one member's sake: halve it until that one stands alone."""
    status, call = outcome.status, outcome.call
    alone = len(call.members) == 1
    if status == 409 and call.op == "add":
        # A server that refuses what is there already: alone it is done; among others it hides them.
        return Verdict("done", "ok") if alone else Verdict("split", "conflict", delay_s)
    if status in {400, 413, 422}:
        label = _REFUSALS[status]
        if alone:
            return Verdict("done", "refused", refused_members={call.members[0]: label})
        return Verdict("split", label, delay_s)
    # 3xx is never followed, and no other 4xx is known here: a person must look, and meanwhile nothing is given up.
    return Verdict("retry", "unexpected_status", max(delay_s, _slow_s(policy, jitter)))


def _slow_s(policy: VerdictPolicy, jitter: float) -> float:
    return policy.retry_cap_s * (1.0 + jitter) / 2


def _unsent(outcome: Outcome, policy: VerdictPolicy, delay_s: float, jitter: float) -> Verdict:
    if outcome.code == "credentials":
        return Verdict("auth", "credentials", max(delay_s, _slow_s(policy, jitter)))
    if outcome.code == "token":
        wait_s = min(outcome.retry_after_s or 0.0, policy.retry_after_cap_s)
        return Verdict("throttled", "token", max(delay_s, wait_s))
    return Verdict("unsent", outcome.code if outcome.code in {"lease", "closed"} else "unsent", delay_s)


def _items(outcome: Outcome, delay_s: float, attempt: int) -> Verdict:
    """A 2xx, judged item by item."""
    call = outcome.call
    later = outcome.status == 202
    if not outcome.errors:
        return Verdict("done", "ok", settles_later=later)
    retry: dict[str, str] = {}
    refused: dict[str, str] = {}
    known = frozenset(call.members)
    may_land_late = nobody = False
    for error in outcome.errors:
        code = _number(error.code)
        if code == 404 and error.entity_id == call.segment and call.segment not in known:
            return Verdict("segment_missing", "segment_missing", delay_s)
        fate, label = _fate(call.op, code, attempt)
        if fate == "done":
            continue  # whoever it names
        member = _named(error, call.members, known)
        if member is None:
            nobody = True
        elif fate == "refused":
            refused[member] = label
        else:
            retry[member] = label
            may_land_late |= code is not None and code >= 500
    if nobody:
        # Somebody was not done, and who is unknown: all are sent again, in halves, until an error has only one to mean.
        return Verdict("split", "unnamed_errors", delay_s, settles_later=later, may_land_late=True)
    if not (retry or refused):
        return Verdict("done", "ok", settles_later=later)
    for member in refused:
        retry.pop(member, None)
    return Verdict("done", "items", delay_s, later, may_land_late, retry, refused)


def _named(error: ItemError, members: tuple[str, ...], known: frozenset[str]) -> str | None:
    """Whom an error means: by its id, if the call has it; else by its index; in a call of one, that one."""
    if error.entity_id is not None and error.entity_id in known:
        return error.entity_id
    if len(members) == 1:
        return members[0]
    if error.index is not None and 0 <= error.index < len(members):
        return members[error.index]
    return None


def _number(code: str | None) -> int | None:
    """Return an error's code as an HTTP status, None when it says nothing."""
    if code is None:
        return None
    if len(code) == 3 and code.isascii() and code.isdigit():
        return int(code)
    return _NAMED.get(code.lower().replace("_", "").replace("-", "").replace(" ", ""))


def _fate(op: Op, code: int | None, attempt: int) -> tuple[Literal["done", "retry", "refused"], str]:
    if op == "add" and code == 409:
        return "done", "done"
    if op == "remove" and code in {404, 410}:
        return "done", "done"
    if code is not None and (code in _RETRY or 500 <= code < 600):
        return "retry", "item_throttled" if code == 429 else "item_error"
    if op == "add" and code == 404:
        return "refused", "unknown_customer"
    if code is not None and 400 <= code < 500:
        return "refused", _REFUSALS.get(code, "rejected")
    return ("retry", "unclear") if attempt < UNCLEAR_ATTEMPTS else ("refused", "unclear")
