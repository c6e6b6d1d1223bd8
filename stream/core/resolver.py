"""From what the source knows of a customer or segment to retail.red's: references, look-ups, their answers and repetitions.

A *term* names a customer: `email:max@example.com`, `number:10001`, `id:c-1`, `ref:customers:42`. What the reference holds is
expanded; emails and numbers are looked up, many in one question. Whoever is not found waits: its rows are durable, and the question
is repeated when a quarter of the row's age has passed again, so slower and slower, at a rate of its own.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, cast

import msgspec

from stream.core.claims import CODE, REFERENCE, term
from stream.core.identity import Found, IdentityRule, judge, url_bytes
from stream.core.limits import LookupLimits
from stream.core.mapping import SEGMENT_CODE, Refusal, code_part
from stream.core.model import Claim, IdentityKind, Lookup, LookupOutcome
from stream.core.rows import RowRef
from stream.core.verdict import VerdictPolicy

# why a claim is not resolved: the reasons of pending rows
LOOKUP: Final = "lookup"
LOOKUP_FAILED: Final = "lookup_failed"
MISSING: Final = "customer_missing"
UNKNOWN: Final = "customer_unknown"
AMBIGUOUS: Final = "customer_ambiguous"
UNCERTAIN: Final = "customer_uncertain"
NO_CUSTOMER_ROW: Final = "customer_reference"
NO_SEGMENT_ROW: Final = "segment_reference"
OTHER_OWNER: Final = "segment_owner"

UNANSWERED: Final = frozenset({LOOKUP, LOOKUP_FAILED})
WHY: Final = {"missing": MISSING, "ambiguous": AMBIGUOUS, "uncertain": UNCERTAIN}

FRESH, ASKED, RESTING, DUE = range(4)

RETRY_AGE_SHARE: Final = 4
"""A customer who was not found is looked for again when a quarter of the row's age has passed."""

REFS_LIST_MAX: Final = 16
REFUSED_REMEMBERED_MAX: Final = 100_000
DENIED_MAX: Final = 100_000
"""Identities that nobody has, remembered for a moment beside the rows that wait for them."""

SLOT_LOOK_S: Final = 0.005
"""How soon answers are looked for while questions wait for a slot."""

_TOO_LONG: Final = frozenset({413, 414, 431})
_UNFIT: Final = frozenset({400, 422})
"""The question is refused: for one of its values, or for their number. Its halves tell which."""

RAISE_AFTER: Final = 50
"""So many full questions must be answered before they become longer again."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference as the resolver sees it. get(key): the values kept of its row, None when there is none.

    kinds: what each value is: `code` first where it has one, then id, number, email in order of preference.
    """

    get: Callable[[str], tuple[Any, ...] | None]
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identities:
    """How customers and segments are found: what the operator set, by name of each reference."""

    rule: IdentityRule = field(default_factory=IdentityRule)
    references: Mapping[str, Reference] = field(default_factory=dict)
    limits: LookupLimits = field(default_factory=LookupLimits)


class Resolved(NamedTuple):
    """id is "" where the customer is not known, then why says why."""

    id: str
    why: str


class Wait(msgspec.Struct, gc=False):
    """The rows that wait for one term, and where its question is.

    value: as the source has it. due_s: of a resting one. answered: in this life.
    """

    value: str
    refs: list[RowRef] | dict[RowRef, None]
    state: int = RESTING
    why: str = LOOKUP
    due_s: int = 0
    answered: bool = False


def _compact(refs: list[RowRef]) -> list[RowRef] | dict[RowRef, None]:
    """Nearly always one row; but thousands may wait for one segment, and a list of so many is slow to search."""
    return refs if len(refs) <= REFS_LIST_MAX else dict.fromkeys(refs)


class Halves(msgspec.Struct):
    """A question that was refused, asked again as two. left: not answered yet; size: values in the longer; refused: one was."""

    left: int = 2
    size: int = 0
    refused: bool = False


class Resolver:
    """Answers, waits and questions; it knows rows by their place alone.

    tally counts by (metric, label…); alarm(kind, text) is for people.
    """

    def __init__(
        self,
        identities: Identities,
        policy: VerdictPolicy,
        tally: Counter[tuple[str, ...]],
        alarm: Callable[[str, str], None],
    ) -> None:
        self.rule: Final = identities.rule
        self._references: Final = identities.references
        self._limits: Final = identities.limits
        self._policy: Final = policy
        self._tally: Final = tally
        self._alarm: Final = alarm
        self._waits: dict[str, Wait] = {}
        self._found: dict[str, tuple[str, str, float]] = {}
        self._denied: dict[str, tuple[str, str, float]] = {}
        self._shown: dict[str, int] = {}
        self._fresh: dict[IdentityKind, dict[str, None]] = {"email": {}, "number": {}}
        self._due: deque[str] = deque()
        self._wheel: dict[int, list[str]] = {}
        self._wheel_s = -1
        self._flights: dict[int, tuple[Lookup, list[str]]] = {}
        self._numbers = 0
        self._values_max = identities.limits.values_max
        self._full_answers = 0
        self._parts: deque[tuple[IdentityKind, list[str], Halves]] = deque()
        self._halves: dict[int, Halves] = {}
        self._not_before_s = float("-inf")
        self._retry_s = float("-inf")
        self._failures = 0
        self._now_s = 0.0
        self._wall_ms = 0
        self._codes: dict[str, str] = {}
        self._accepted: set[str] = set()
        self._said: set[str] = set()
        self._refused: set[str] = set()

    def tick(self, now_s: float, wall_ms: int) -> None:
        """The time of what follows."""
        self._now_s, self._wall_ms = now_s, wall_ms

    @property
    def fresh(self) -> int:
        """Identities that were never asked for."""
        return sum(map(len, self._fresh.values())) + sum(len(places) for _, places, _ in self._parts)

    def waiting(self) -> int:
        """Terms that rows wait for."""
        return len(self._waits)

    # ---- what is known -------------------------------------------------------------------------------------------

    def segment(self, segment: str) -> str:
        """The code of a claim's segment; "" while its reference does not tell.

        A code in use is kept when it changes there, until the new one is accepted.
        """
        if segment.startswith(CODE):
            return segment[len(CODE) :]
        name, key = segment[len(REFERENCE) :].split(":", 1)
        row = self._references[name].get(key)
        used = self._codes.get(segment, "")
        raw = code_part(row[0]) if row is not None else ""
        if isinstance(raw, Refusal) or (raw and SEGMENT_CODE.fullmatch(raw) is None):
            if segment not in self._said:
                self._said.add(segment)
                self._alarm("segment_code", f"reference {name}, key {key}: it holds no usable segment code")
            return used
        if raw in self._accepted and raw != used:
            self._codes[segment] = used = raw
        if used and raw and raw != used and f"{segment}={raw}" not in self._said:
            self._said.add(f"{segment}={raw}")
            self._alarm(
                "segment_code_changed",
                f"reference {name}, key {key}: the code changed from {used} to {raw}; its members stay in {used}. To move "
                f"them: segstream segments --accept {raw}",
            )
        if raw and not used:
            self._codes[segment] = raw
        return used or raw

    def uses(self, segment: str, code: str) -> None:
        """A stored row was resolved to this code: it is in use, whatever the reference says now, unless that is accepted."""
        if segment.startswith(REFERENCE):
            self._codes.setdefault(segment, code)

    def accept(self, code: str) -> list[str]:
        """The operator accepts that a segment has this code, now or later. Returns the segments whose code that changes now."""
        self._accepted.add(code)
        moved: list[str] = []
        for segment, used in self._codes.items():
            name, key = segment[len(REFERENCE) :].split(":", 1)
            row = self._references[name].get(key)
            if used != code and row is not None and code_part(row[0]) == code:
                self._codes[segment] = code
                moved.append(segment)
        return moved

    def withdraw(self, code: str) -> None:
        """It is not accepted any more: what moved stays, and nothing else moves there."""
        self._accepted.discard(code)

    def expand(self, terms: Iterable[str]) -> tuple[list[str], bool]:
        """Emails, numbers and ids, in order of preference, and whether some reference does not have its row."""
        plain: list[str] = []
        absent = False
        for one in terms:
            if not one.startswith(REFERENCE):
                plain.append(one)
                continue
            name, key = one[len(REFERENCE) :].split(":", 1)
            reference = self._references[name]
            row = reference.get(key)
            if row is None:
                absent = True
                continue
            plain.extend(
                found
                for kind, value in zip(reference.kinds, row, strict=True)
                if kind != "code" and not isinstance(found := term(kind, value), Refusal)
            )
        return plain, absent

    def via(self, claim: Claim) -> str | None:
        """A short hash of what the claim's references hold of the customer now; None where it has none."""
        if not any(one.startswith(REFERENCE) for one in claim.terms):
            return None
        plain, _ = self.expand(claim.terms)
        return hashlib.blake2b("\n".join(plain).encode(), digest_size=6).hexdigest()

    def customer(self, terms: tuple[str, ...]) -> Resolved:
        """Whom these terms mean, by what is known now. A term that was never asked for leaves LOOKUP as the reason."""
        plain, absent = self.expand(terms)
        why = NO_CUSTOMER_ROW if absent or not plain else MISSING
        for one in plain:
            kind, value = one.split(":", 1)
            if kind == "id":
                return Resolved(value, "")
            place = self.rule.term(kind, value)
            known = self._known(place)
            if known is not None and known[2] > self._now_s:
                if known[0]:
                    self._tally["lookups", "cached"] += 1
                    return Resolved(known[0], "")
                said = known[1]
            else:
                wait = self._waits.get(place)
                # while the service does not answer nothing waits for it in memory
                said = wait.why if wait is not None else LOOKUP_FAILED if self._failures else LOOKUP
                if said == MISSING and wait is not None and not wait.answered:
                    # a row of an earlier life waited for it: that does not let the next identity count
                    return Resolved("", MISSING)
            if said != MISSING:
                return Resolved("", said)
        return Resolved("", why)

    def answered(self, terms: Iterable[str]) -> bool:
        """Whether each of these was answered in this life: what a row waited for before is no answer."""
        for one in self.expand(terms)[0]:
            kind, value = one.split(":", 1)
            place = self.rule.term(kind, value)
            wait = self._waits.get(place)
            if kind != "id" and self._known(place) is None and (wait is None or not wait.answered):
                return False
        return True

    def soon(self, terms: Iterable[str]) -> None:
        """Something is owed about these, and they rest since before this life: they are asked for as soon as the rate allows."""
        for one in self.expand(terms)[0]:
            place = self.rule.term(*one.split(":", 1))
            wait = self._waits.get(place)
            if wait is not None and wait.state == RESTING and not wait.answered:
                wait.state = DUE
                self._due.appendleft(place)

    # ---- waiting -------------------------------------------------------------------------------------------------

    def enlist(self, ref: RowRef, claim: Claim, *, rests: str = "", wall_ms: int = 0, at_ms: int = 0) -> None:
        """This row waits for whatever of the claim is not known. rests: it did so before this life, for this reason."""
        terms, _ = self.expand(claim.terms)
        for one in (claim.segment, *claim.terms):
            if one.startswith(REFERENCE):
                self._add(one, "", ref)
        asked = False
        for one in terms:
            kind, value = one.split(":", 1)
            if kind == "id":
                return
            place = self.rule.term(kind, value)
            known = self._known(place)
            if known is not None and known[2] > self._now_s and not rests:
                if known[0]:
                    return
                wait = self._add(place, value, ref)
                if wait.state == RESTING and not wait.due_s:
                    self._rest(place, wait, known[1], known[2] - self._now_s)
                asked = asked or known[1] != MISSING
                continue
            waits = self._waits.get(place)
            new, joins = waits is None, waits is not None and ref not in waits.refs
            wait = self._add(place, value, ref)
            if not new:
                asked = asked or wait.why != MISSING or not wait.answered
                # what was answered long ago, for another row, is no answer for this one
                if not rests and wait.state == RESTING and (joins or not wait.answered):
                    wait.state = DUE
                    self._due.append(place)
            elif rests:
                # spread over what its age allows, so that a restart asks no more than going on would have
                delay_s = self._delay_s(wall_ms - at_ms)
                self._rest(place, wait, rests, delay_s * (int.from_bytes(ref[1][:2], "big") + 1) / 65_536)
            elif not asked:
                asked = True
                wait.state, wait.why = FRESH, LOOKUP_FAILED if self._failures else LOOKUP
                self._fresh[cast("IdentityKind", kind)][place] = None
            else:
                # it is asked for only when the preferred one is not found
                del self._waits[place]

    def _add(self, place: str, value: str, ref: RowRef) -> Wait:
        wait = self._waits.get(place)
        if wait is None:
            wait = self._waits[place] = Wait(value, [ref])
        elif isinstance(wait.refs, dict):
            wait.refs[ref] = None
        elif ref not in wait.refs:
            wait.refs.append(ref)
            wait.refs = _compact(wait.refs)
        return wait

    def leave(self, ref: RowRef, claim: Claim) -> None:
        """This row does not wait for the claim's references any more: thousands may point to one, and none would ever go."""
        for one in (claim.segment, *claim.terms):
            wait = self._waits.get(one) if one.startswith(REFERENCE) else None
            if wait is None or ref not in wait.refs:
                continue
            if isinstance(wait.refs, dict):
                del wait.refs[ref]
            else:
                wait.refs.remove(ref)
            if not wait.refs:
                del self._waits[one]

    def _delay_s(self, age_ms: float) -> float:
        limits = self._limits
        return min(limits.retry_cap_s, max(limits.retry_s, age_ms / 1000 / RETRY_AGE_SHARE))

    def _rest(self, place: str, wait: Wait, why: str, delay_s: float) -> None:
        wait.state, wait.why = RESTING, why
        wait.due_s = int(self._now_s + delay_s) + 1
        self._wheel.setdefault(wait.due_s, []).append(place)
        if self._wheel_s < 0:
            self._wheel_s = int(self._now_s)

    def refused_before(self, customer: str) -> bool:
        """Whether the members route refused this id, and it was looked for anew since."""
        return customer in self._refused

    def forget(self, claim: Claim, why: str, customer: str, at_ms: int, wall_ms: int) -> None:
        """This id was found for these terms, and the members route does not know it: they are looked up again, after a while.

        The first time soon, as an index may lag; whoever is found and refused again waits for as long as a missing one.
        """
        delay_s = self._limits.retry_s if customer not in self._refused else self._delay_s(wall_ms - at_ms)
        if len(self._refused) >= REFUSED_REMEMBERED_MAX:
            self._refused.clear()
        self._refused.add(customer)
        for one in self.expand(claim.terms)[0]:
            kind, value = one.split(":", 1)
            if kind != "id":
                self._remember(self.rule.term(kind, value), "", why, delay_s)

    def hurry(self, name: str, keys: Iterable[str]) -> list[RowRef]:
        """These rows of a reference changed: whom it names now is looked up at once; returns the rows that waited for them."""
        refs: dict[tuple[int, bytes], RowRef] = {}
        for key in keys:
            place = f"{REFERENCE}{name}:{key}"
            wait = self._waits.pop(place, None)
            if wait is not None:
                refs.update({(id(ref[0]), ref[1]): ref for ref in wait.refs})
            for one in self.expand((place,))[0]:
                kind, value = one.split(":", 1)
                term_place = self.rule.term(kind, value)
                # the source may be ahead of retail.red: somebody new is looked for as somebody new, however old the row is
                while len(self._shown) >= DENIED_MAX:
                    del self._shown[next(iter(self._shown))]
                self._shown[term_place] = self._wall_ms
                found = self._waits.get(term_place)
                if found is not None and found.state == RESTING:
                    found.state = DUE
                    self._due.appendleft(term_place)
        return list(refs.values())

    # ---- asking --------------------------------------------------------------------------------------------------

    def lookups(self, now_s: float, interested: Callable[[RowRef], int]) -> list[Lookup]:
        """The questions to ask now. interested(ref): the Kafka time (ms) of a row that still waits, 0 for one that does not."""
        self._now_s = now_s
        self._turn_wheel(now_s)
        asks: list[Lookup] = []
        if now_s < self._not_before_s:
            return asks
        while self._parts and len(self._flights) < self._limits.slots:
            part_kind, part, halves = self._parts.popleft()
            places = dict.fromkeys(part)
            asks.append(self._ask(part_kind, places))
            self._halves[asks[-1].number] = halves
            halves.size = max(halves.size, len(asks[-1].values))
            self._fresh[part_kind].update(places)  # what did not fit: the limit was lowered meanwhile
        for kind, fresh in self._fresh.items():
            while fresh and len(self._flights) < self._limits.slots:
                asks.append(self._ask(kind, fresh))
        if self._due and now_s >= self._retry_s and len(self._flights) < self._limits.slots:
            again = self._again(interested)
            if again:
                kind = cast("IdentityKind", next(iter(again)).split(":", 1)[0])
                asks.append(self._ask(kind, again))
                self._due.extend(again)
                self._retry_s = max(self._retry_s, now_s - 1.0) + 1.0 / self._limits.retries_per_s
        return asks

    def _turn_wheel(self, now_s: float) -> None:
        if self._wheel_s < 0:
            return
        while self._wheel_s < int(now_s):
            self._wheel_s += 1
            for place in self._wheel.pop(self._wheel_s, ()):
                wait = self._waits.get(place)
                if wait is not None and wait.state == RESTING and wait.due_s == self._wheel_s:
                    wait.state = DUE
                    self._due.append(place)

    def _again(self, interested: Callable[[RowRef], int]) -> dict[str, None]:
        """The next that are due, of one kind, without those that nobody waits for any more."""
        places: dict[str, None] = {}
        kind = ""
        while self._due and len(places) < self._values_max:
            place = self._due[0]
            wait = self._waits.get(place)
            if wait is None or wait.state != DUE:
                self._due.popleft()
                continue
            if kind and not place.startswith(kind):
                break
            self._due.popleft()
            wait.refs = _compact([ref for ref in wait.refs if interested(ref)])
            if not wait.refs:
                del self._waits[place]
                continue
            kind = kind or place[: place.index(":") + 1]
            places[place] = None
        return places

    def _ask(self, kind: IdentityKind, places: dict[str, None]) -> Lookup:
        """One question, as long as the limits allow; what it takes leaves `places`."""
        values: dict[str, None] = {}
        taken: list[str] = []
        room_bytes = self._limits.url_bytes_max
        for place in places:
            wait = self._waits.get(place)
            if wait is None:
                taken.append(place)
                continue
            asked = self.rule.asked(kind, wait.value)
            room_bytes -= sum(map(url_bytes, asked))
            if values and (room_bytes < 0 or len(values) + len(asked) > self._values_max):
                break
            values.update(dict.fromkeys(asked))
            taken.append(place)
            wait.state = ASKED
        for place in taken:
            del places[place]
        self._numbers += 1
        lookup = Lookup(self._numbers, kind, tuple(values))
        self._flights[lookup.number] = (lookup, [place for place in taken if place in self._waits])
        return lookup

    # ---- answers -------------------------------------------------------------------------------------------------

    def settle(
        self, outcome: LookupOutcome, now_s: float, wall_ms: int, jitter: float, interested: Callable[[RowRef], int]
    ) -> list[RowRef]:
        """An answer came. Returns the rows to be resolved again."""
        self._now_s, self._wall_ms = now_s, wall_ms
        flight = self._flights.pop(outcome.lookup.number, None)
        if flight is None:
            return []
        lookup, places = flight
        halves = self._halves.pop(lookup.number, None)
        waits = {place: wait for place in places if (wait := self._waits.get(place)) is not None}
        refs: dict[tuple[int, bytes], RowRef] = {}
        for wait in waits.values():
            refs.update({(id(ref[0]), ref[1]): ref for ref in wait.refs})
        if outcome.kind != "answered":
            if halves is not None:
                halves.refused = True
            self._failed(outcome, lookup, waits, now_s, jitter)
            return list(refs.values())
        self._failures = 0
        self._passed(lookup, halves)
        found = judge(outcome, [wait.value for wait in waits.values()], self.rule)
        for place, wait in waits.items():
            self._take(place, wait, found[wait.value], wall_ms, interested)
        return list(refs.values())

    def _passed(self, lookup: Lookup, halves: Halves | None) -> None:
        """A question was taken: if it was the second half of a refused one, that one was too long; questions grow again."""
        if halves is not None:
            halves.left -= 1
            if not halves.left and not halves.refused:
                self._shorten(halves.size, "a list of more values, and takes its halves")
        elif self._values_max < self._limits.values_max and len(lookup.values) >= self._values_max:
            self._full_answers += 1
            if self._full_answers >= RAISE_AFTER:
                self._full_answers = 0
                self._values_max = min(self._limits.values_max, 2 * self._values_max)

    def _shorten(self, most: int, what: str) -> None:
        self._values_max = max(1, min(self._values_max, most))
        self._full_answers = 0
        self._alarm(
            "lookup_too_long",
            f"the customer service refuses {what}: {self._values_max} from now on; set retail_red.lookup_values_max",
        )

    def _take(self, place: str, wait: Wait, found: Found, wall_ms: int, interested: Callable[[RowRef], int]) -> None:
        self._tally["lookups", found.kind] += 1
        if found.kind == "found":
            del self._waits[place]
            self._shown.pop(place, None)
            self._remember(place, found.id, "", self._limits.found_ttl_s)
            return
        why = WHY[found.kind]
        wait.answered = True
        if found.kind == "uncertain":
            self._alarm("lookup_uncertain", f"the customer service's answer does not tell who is meant: {found.why}")
        if found.kind == "missing":
            self._remember(place, "", MISSING, self._limits.missing_ttl_s)
        newest_ms = max(map(interested, wait.refs), default=0)
        if newest_ms:
            newest_ms = max(newest_ms, self._shown.get(place, 0))
        self._rest(place, wait, why, self._delay_s(wall_ms - newest_ms) if newest_ms else self._limits.retry_s)

    def _known(self, place: str) -> tuple[str, str, float] | None:
        """The last answer, perhaps too old: the id or "", why not, and until when it is believed."""
        return self._found.get(place) or self._denied.get(place)

    def _remember(self, place: str, customer: str, why: str, ttl_s: float) -> None:
        # apart: those who are never found are asked for again and again, and must not push out who was found
        self._found.pop(place, None)
        self._denied.pop(place, None)
        kept, most = (self._found, self._limits.cache_max) if customer else (self._denied, DENIED_MAX)
        while len(kept) >= most:
            del kept[next(iter(kept))]
        kept[place] = (customer, why, self._now_s + ttl_s)

    def _failed(
        self, outcome: LookupOutcome, lookup: Lookup, waits: dict[str, Wait], now_s: float, jitter: float
    ) -> None:
        self._tally["lookups", "failed"] += 1
        fresh = self._fresh[lookup.kind]
        for wait in waits.values():
            wait.state, wait.why = FRESH, LOOKUP_FAILED
        if outcome.status in _TOO_LONG and len(waits) > 1:
            self._shorten(len(lookup.values) // 2, f"a list of {len(lookup.values)} values (HTTP {outcome.status})")
        elif outcome.status in _UNFIT and len(waits) > 1:
            places, halves = list(waits), Halves()
            middle = (len(places) + 1) // 2
            for part in (places[:middle], places[middle:]):
                self._parts.append((lookup.kind, part, halves))
            return
        elif outcome.status in _TOO_LONG | _UNFIT:
            # a value that is refused alone: its row waits, and nobody else's
            if f"refused {outcome.status}" not in self._said:
                self._said.add(f"refused {outcome.status}")
                self._alarm(
                    "lookup_refused",
                    f"the customer service refuses a look-up of a single value (HTTP {outcome.status}): {outcome.reason}; "
                    "its rows wait as customer_uncertain, and so will others like it",
                )
            for place, wait in waits.items():
                wait.answered = True  # or its rows would ask again at once
                self._rest(place, wait, UNCERTAIN, self._limits.retry_cap_s)
            return
        else:
            self._failures += 1
            wait_s = self._policy.delay_s(self._failures, jitter)
            if outcome.retry_after_s is not None:
                wait_s = max(wait_s, min(outcome.retry_after_s, self._policy.retry_after_cap_s))
            elif outcome.status == 429:
                wait_s = max(wait_s, self._policy.backoff_s(self._failures) / 2)
            if outcome.kind == "failed" and outcome.reason in ("auth", "credentials"):
                wait_s = max(wait_s, self._policy.retry_cap_s)
                self._alarm(
                    "lookup_auth", f"the customer service refuses this program: {outcome.message or outcome.reason}"
                )
            self._not_before_s = max(self._not_before_s, now_s + wait_s)
        self._fresh[lookup.kind] = {**dict.fromkeys(waits), **fresh}

    def next_s(self) -> float:
        """When a question becomes due by time alone; infinite when none does."""
        next_s = float("inf")
        if self._parts or any(self._fresh.values()):
            next_s = self._not_before_s
            if len(self._flights) >= self._limits.slots:
                # an answer frees a slot, and it cannot wake whoever waits for records
                next_s = max(next_s, self._now_s + SLOT_LOOK_S)
        elif self._due and len(self._flights) < self._limits.slots:
            next_s = max(self._not_before_s, self._retry_s)
        if self._wheel:
            next_s = min(next_s, self._now_s + 1.0)
        return next_s
