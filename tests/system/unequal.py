"""The shop did not become equal: of which class that failure is, and what a person needs to see, the essentials last.

A run's output may be cut, so the first line names the class, and the last fifteen say what differs and how everybody stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from stack.process import POLL_S, StackError

if TYPE_CHECKING:
    from shop import Instance, Segments, Shop

SHOWN_MAX: Final = 5
SEGMENTS_SHOWN_MAX: Final = 6
EVENTS_SHOWN_MAX: Final = 6
LOG_LINES: Final = 10
LINE_CHARS_MAX: Final = 400
GRACE_S: Final = 15
"""After the deadline, to tell what is slow from what is wrong: metrics of lag are five seconds old at most."""
REST_S: Final = 7
"""An instance that neither lags nor sends for so long takes itself to be done."""


class Look:
    """What is seen of the instances at one moment."""

    def __init__(self, instances: Sequence[Instance]) -> None:
        self.running = [one for one in instances if one.server.is_running()]
        self.states = [one.state() for one in instances]
        self.waits = [found for one in self.running if (found := _waits(one))]
        self.at_rest = bool(self.running) and not self.waits


def _waits(instance: Instance) -> str:
    """What an instance has still to do; empty when it takes itself to be done."""
    try:
        counts = {name: instance.metric(f"segstream_{name}") for name in ("consumer_lag_records", "open_edits")}
        if not instance.metric("segstream_assigned_partitions"):
            return "owns no partition"
    except StackError:
        return "does not answer"
    return ", ".join(f"{name}={count:.0f}" for name, count in counts.items() if count)


def explained(
    shop: Shop,
    truth: Callable[[], Segments],
    instances: Sequence[Instance],
    *,
    needed: Sequence[Instance],
    waited_s: float,
    changed_s: float,
    source_state: Callable[[], str] | None,
) -> str:
    """The whole text. needed: those of the instances that must run; changed_s: when the shop changed for the last time."""
    look, ended, equal_s = _watched(shop, truth, instances, needed)
    wanted, found = truth(), shop.members()
    source = source_state() if source_state else ""
    lines = [f"the shop is not equal after {waited_s:.0f} s: {_class(look, ended, equal_s, source)}"]
    for instance in instances:
        lines += [f"the end of the log of {instance.server.name}:", *_cut(instance.server.tail(LOG_LINES))]
    lines += histories(shop, wanted, found)
    requests = shop.stats()
    lines += [
        f"the class: {lines[0]}",
        *(differences(wanted, found) or ["  nothing differs by now"]),
        f"the shop changed last after {changed_s:.1f} s; {requests['statuses']} in flight {requests['in_flight_rows']}",
        *look.states,
        *([f"the source: {source}"] if source else []),
    ]
    return "\n".join(lines)


def _watched(
    shop: Shop, truth: Callable[[], Segments], instances: Sequence[Instance], needed: Sequence[Instance]
) -> tuple[Look, list[Instance], float | None]:
    """How they stand after a while more, who of the needed has ended, and how long it took to become equal after all."""
    started_s = time.monotonic()
    look, rest_since_s = Look(instances), started_s
    while (passed_s := time.monotonic() - started_s) < GRACE_S:
        ended = [one for one in needed if not one.server.is_running()]
        if ended:
            return look, ended, None
        if truth() == shop.members():
            return look, [], passed_s
        look = Look(instances)
        if not look.at_rest:
            rest_since_s = time.monotonic()
        elif time.monotonic() - rest_since_s >= REST_S:
            break
        time.sleep(POLL_S)
    return look, [], None


def _class(look: Look, ended: list[Instance], equal_s: float | None, source: str) -> str:
    if ended:
        return "AN INSTANCE ENDED, " + "; ".join(f"{one.server.name} with {one.server.exit_code}" for one in ended)
    if equal_s is not None:
        return f"TOO SLOW, it was equal {equal_s:.1f} s later"
    if "FAILED" in source or "behind" in source:
        return f"THE SOURCE did not bring everything to Kafka: {source}"
    if look.waits:
        return f"STILL AT WORK OR STUCK: {'; '.join(look.waits)}"
    if not look.running:
        return "NOBODY RUNS"
    return "WRONG, everything read is done, nothing is under way, and it differs"


def differences(wanted: Segments, found: Segments) -> list[str]:
    """A line for each segment that differs: what is missing and what is too much."""
    lines = []
    for segment in sorted(wanted.keys() | found.keys()):
        missing = sorted(wanted.get(segment, set()) - found.get(segment, set()))
        extra = sorted(found.get(segment, set()) - wanted.get(segment, set()))
        if missing or extra:
            lines.append(
                f"  {segment}: {len(missing)} missing {missing[:SHOWN_MAX]}, {len(extra)} too many {extra[:SHOWN_MAX]}"
            )
    if len(lines) > SEGMENTS_SHOWN_MAX:
        lines[SEGMENTS_SHOWN_MAX:] = [f"  and {len(lines) - SEGMENTS_SHOWN_MAX} segments more"]
    return lines


def histories(shop: Shop, wanted: Segments, found: Segments) -> list[str]:
    """What was done to one member that is missing and one that is too many, segment by segment."""
    lines = []
    for segment in sorted(wanted.keys() | found.keys())[:SEGMENTS_SHOWN_MAX]:
        missing = sorted(wanted.get(segment, set()) - found.get(segment, set()))
        extra = sorted(found.get(segment, set()) - wanted.get(segment, set()))
        for member in missing[:1] + extra[:1]:
            events = [f"{event['at_s']} {event['op']} {event['what']}" for event in shop.history(segment, member)]
            lines.append(f"  what was done to {member} in {segment}: {events[-EVENTS_SHOWN_MAX:]}")
    return lines


def _cut(text: str) -> list[str]:
    return [f"  {line[:LINE_CHARS_MAX]}" for line in text.splitlines()]
