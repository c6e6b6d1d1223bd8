"""What may go wrong, and what nobody knows about the real one: values that change while it runs.

`FAULTS` names each with its default, kind and meaning: the flags, POST /_sandbox/faults and the docs come from it.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass
from typing import NamedTuple

Value = bool | float | str | list[float] | list[str]


class Fault(NamedTuple):
    default: Value
    meaning: str
    choices: tuple[str, ...] = ()


FAULTS: dict[str, Fault] = {
    # time
    "latency_s": Fault(0.0, "every answer takes this long"),
    "slow_share": Fault(0.0, "share of requests that take slow_s more"),
    "slow_s": Fault(2.0, "see slow_share"),
    "hang_share": Fault(0.0, "share of requests never applied and never answered"),
    "hang_s": Fault(60.0, "a request without an answer is cut off after this"),
    "late_share": Fault(0.0, "share of member requests never answered that are applied after late_s"),
    "late_s": Fault([0.5, 5.0], "range of the delay with which a late request lands"),
    "drop_before_share": Fault(0.0, "share of requests whose connection is cut before anything is done"),
    "drop_after_share": Fault(0.0, "share of requests whose connection is cut after they were applied"),
    # whole requests
    "error_share": Fault(0.0, "share of requests answered error_status without being applied"),
    "error_after_share": Fault(0.0, "share of requests answered error_status after being applied"),
    "error_status": Fault(503.0, "the 5xx of error_share, error_after_share and bursts"),
    "burst_every_s": Fault(0.0, "every so many seconds a burst of error_status begins; 0: never"),
    "burst_s": Fault(1.0, "how long a burst lasts"),
    "throttle_share": Fault(0.0, "share of requests answered 429"),
    "token_throttle_share": Fault(0.0, "share of requests for a token answered 429"),
    "requests_per_s_max": Fault(0.0, "requests above this rate are answered 429; 0: no limit"),
    "retry_after": Fault("seconds", "what a 429 says", ("seconds", "date", "absurd", "none")),
    "retry_after_s": Fault(1.0, "the seconds that it says"),
    "auth_error_share": Fault(0.0, "share of requests answered 401 although the token is good"),
    "other_merchant": Fault("403", "the answer to another merchant's path", ("403", "404")),
    # rows
    "row_error_share": Fault(0.0, "share of rows that fail this once, inside a 2xx"),
    "row_error_code": Fault("500", "the code of such a row's error"),
    "row_refuse_share": Fault(0.0, "share of member ids that fail for ever, inside a 2xx"),
    "row_refuse_code": Fault("400", "the code of such a row's error"),
    "row_error_names": Fault(
        "both", "how a row error names its row", ("both", "index", "id", "none", "wrong_index", "out_of_range")
    ),
    "row_error_codes": Fault("string", "codes in errors[] as", ("string", "number")),
    "row_error_text": Fault("reason", "the text in errors[] as", ("reason", "message")),
    "row_error_twice": Fault(default=False, meaning="every row error is listed twice"),
    "poison_ids": Fault(list[str](), "member ids with which a whole request is answered poison_status"),
    "poison_status": Fault(400.0, "see poison_ids"),
    # removals
    "removal_delay_s": Fault([0.0, 0.0], "range of the delay with which a removal answered 202 runs"),
    "removal_status": Fault("202", "the answer to a removal", ("202", "200", "204")),
    "background_honoured": Fault(default=True, meaning="runInBackground=false removes at once and answers 200"),
    "background_known": Fault(default=True, meaning="runInBackground is a known parameter; false: answered 400"),
    "delete_body": Fault(
        "kept",
        "the body of a DELETE; stripped: 400, 202 and nothing, or all members removed",
        ("kept", "400", "202", "all"),
    ),
    # limits
    "members_max": Fault(10_000.0, "members a request may carry"),
    "removal_members_max": Fault(10_000.0, "members a removal may carry, where that is less"),
    "members_max_status": Fault("413", "the answer to more", ("400", "413", "422")),
    "body_bytes_max": Fault(1_048_576.0, "bytes a body may have; more is answered 413"),
    "url_bytes_max": Fault(16_384.0, "bytes a URL may have; more is answered 414"),
    "filter_list_max": Fault(1_000.0, "values that $in and $nin may have"),
    "page_limit_max": Fault(1_000.0, "the highest limit of a list"),
    "index_window_max": Fault(10_000.0, "the highest offset+limit of a list; 0: no limit"),
    # what nobody knows
    "present_add": Fault("ok", "adding a present member", ("ok", "409")),
    "absent_remove": Fault("ok", "removing an absent member", ("ok", "404")),
    "unknown_customer": Fault("ok", "adding an id that is no customer", ("ok", "404", "400")),
    "duplicate_rows": Fault("ok", "one id twice in a body", ("ok", "item", "400")),
    "duplicate_segment": Fault("409", "creating a segment that exists; item: 201 with errors[0]", ("409", "item")),
    "members_body": Fault("wrapped", "the body of member routes", ("wrapped", "bare", "both")),
    "members_paging": Fault("cursors", "how GET members pages", ("cursors", "cursor", "offset")),
    "members_customer": Fault(default=False, meaning="GET members carries the customer in each member"),
    "total_count": Fault(default=True, meaning="lists carry meta.totalItemCount"),
    "filters_ignored": Fault(default=False, meaning="the parameter `filters` is ignored"),
    "guests_filtered": Fault(default=True, meaning="isAnonymous may be filtered by; false: it is ignored"),
    "filter_accepted": Fault(default=False, meaning="the guide's parameter `filter` works as `filters` does"),
    "email_case": Fault("sensitive", "equality of emailAddress", ("sensitive", "insensitive")),
    "index_lag_s": Fault(0.0, "a changed customer is found only after this"),
    "deleted_customer": Fault("status", "a deleted customer stays with a status, or is gone", ("status", "gone")),
    "error_form": Fault("observed", "the body of a 400", ("observed", "documented", "plain", "empty", "text")),
    "unauthorized_form": Fault("plain", "the body of a 401", ("plain", "empty", "text")),
    "success_body": Fault("errors", "the body of a 2xx without errors", ("errors", "absent", "empty", "text")),
    "rate_headers": Fault(
        "none", "every answer states a rate limit in these headers", ("none", "x-ratelimit", "ratelimit")
    ),
    # tokens
    "token_expires_s": Fault(3_600.0, "how long a token is good"),
    "grants": Fault("both", "the grants that work", ("both", "password", "client_credentials")),
}


@dataclass(slots=True)
class Fate:
    """What will become of one request. `end`: answer, drop_before, drop_after, hang, late, error, error_after."""

    end: str
    delay_s: float


class Faults:
    """The present values. One seeded stream of chance for each fault, so that one switched on shifts no other."""

    def __init__(self, seed: int, values: dict[str, object]) -> None:
        self.seed = seed
        self.values: dict[str, Value] = {name: fault.default for name, fault in FAULTS.items()}
        self.streams: dict[str, random.Random] = {}
        self.change(values)

    def change(self, values: dict[str, object]) -> None:
        """All or none of `values`. Raises ValueError with the name and what it allows."""
        self.values |= {name: _checked(name, value) for name, value in values.items()}
        self.latency_s = self.number("latency_s")
        self.rowwise = any(self.number(name) > 0 for name in ("row_error_share", "row_refuse_share")) or any(
            self.word(name) != "ok" for name in ("present_add", "absent_remove", "unknown_customer", "duplicate_rows")
        )
        self.poison = frozenset(self.words("poison_ids"))
        self.chances = [name for name in _ENDS if self.number(_ENDS[name]) > 0]

    def number(self, name: str) -> float:
        value = self.values[name]
        assert isinstance(value, (int, float))  # noqa: S101 - _checked keeps the default's kind
        return value

    def word(self, name: str) -> str:
        return str(self.values[name])

    def on(self, name: str) -> bool:
        return bool(self.values[name])

    def words(self, name: str) -> list[str]:
        value = self.values[name]
        return [str(part) for part in value] if isinstance(value, list) else []

    def stream(self, name: str) -> random.Random:
        if name not in self.streams:
            self.streams[name] = random.Random(f"{self.seed}:{name}")  # noqa: S311 - chance that repeats is the point
        return self.streams[name]

    def hits(self, name: str) -> bool:
        """Whether the fault with this share strikes now."""
        share = self.number(name)
        return share > 0 and self.stream(name).random() < share

    def within(self, name: str) -> float:
        """A number from the range of that name."""
        value = self.values[name]
        assert isinstance(value, list)  # noqa: S101 - _checked keeps the default's kind
        low, high = float(value[0]), float(value[1])
        return low if low == high else self.stream(name).uniform(low, high)

    def cursed(self, name: str, member: str) -> bool:
        """Whether this id is among the share that fails for ever: a matter of seed and id, not of time."""
        share = self.number(name)
        return share > 0 and zlib.crc32(f"{self.seed}:{member}".encode()) / 2**32 < share

    def fate(self, at_s: float) -> Fate:
        """What becomes of the request that arrived `at_s` after the start."""
        delay_s = self.latency_s
        every_s = self.number("burst_every_s")
        if every_s > 0 and at_s >= every_s and at_s % every_s < self.number("burst_s"):
            return Fate("error", delay_s)
        if not self.chances:
            return Fate("answer", delay_s)
        struck = [name for name in self.chances if self.hits(_ENDS[name])]  # each draws, so that streams stay apart
        if "slow" in struck:
            delay_s += self.number("slow_s")
        end = next((name for name in struck if name != "slow"), "answer")
        return Fate(end, delay_s)


_ENDS = {
    "slow": "slow_share",
    "throttle": "throttle_share",
    "unauthorized": "auth_error_share",
    "hang": "hang_share",
    "late": "late_share",
    "drop_before": "drop_before_share",
    "drop_after": "drop_after_share",
    "error": "error_share",
    "error_after": "error_after_share",
}


def _checked(name: str, value: object) -> Value:
    fault = FAULTS.get(name)
    if fault is None:
        raise ValueError(f"{name}: no such fault; there are {', '.join(sorted(FAULTS))}")
    default = fault.default
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        raise ValueError(f"{name}: {value!r} is not true or false")
    if isinstance(default, float):
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9:
            if name.endswith("_share") and value > 1:
                raise ValueError(f"{name}: {value!r} is not a share from 0 to 1")
            return float(value)
        raise ValueError(f"{name}: {value!r} is not a number of 0 or more")
    if isinstance(default, str):
        word = str(value)
        if fault.choices and word not in fault.choices:
            raise ValueError(f"{name}: {value!r} is none of {', '.join(fault.choices)}")
        return word
    return _checked_list(name, value, default)


def _checked_list(name: str, value: object, default: list[float] | list[str]) -> Value:
    if not default:
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            return [str(part) for part in value]
        raise ValueError(f"{name}: {value!r} is not a list of strings")
    parts = value if isinstance(value, list) else [value, value]
    numbers = [float(part) for part in parts if isinstance(part, (int, float)) and not isinstance(part, bool)]
    if len(parts) != 2 or len(numbers) != 2 or not 0 <= numbers[0] <= numbers[1] < 1e9:
        raise ValueError(f"{name}: {value!r} is not a range [low, high] of seconds")
    return numbers
