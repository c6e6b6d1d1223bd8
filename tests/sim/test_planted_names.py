"""Bugs planted into what finds customers and segments: a simulator that does not find them proves nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stream.core import catalog, identity, resolver
from stream.core.catalog import Catalog, Task
from stream.core.commits import Commits
from stream.core.engine import Engine
from stream.core.model import Claim
from stream.core.resolver import AMBIGUOUS, MISSING, Resolver
from stream.core.resolving import Resolving
from stream.core.rows import Row
from tests.sim.run import play

Patch = pytest.MonkeyPatch
SEEDS_MAX = 200


def told_before_it_is_durable(patch: Patch) -> None:
    """Members are told as soon as they are found."""
    patch.setattr(Commits, "first", lambda _self, _row: None)


def removed_by_a_new_look_up(patch: Patch) -> None:
    """A row that ends removes whomever its identity means now, not the id that it told."""
    fold = Resolving.fold

    def wrong(self: Resolving, part: Any, key: bytes, claim: Claim | None, event: Any, *more: Any) -> bool:
        row = part.row_at(key)
        if claim is None and row is not None and row.claim is not None and row.says is not None:
            now = self.resolver.customer(row.claim.terms).id
            if now not in ("", row.says[1]) and event[0] > row.offset:
                part.working[key] = row
                part.table.standing(row.says).sayers -= 1
                row.told.pop(row.says, None)
                row.says = (row.says[0], now)
                part.table.standing(row.says).sayers += 1
        return fold(self, part, key, claim, event, *more)

    patch.setattr(Resolving, "fold", wrong)


def filter_believed(patch: Patch) -> None:
    """Whoever comes in an answer is taken for the one who was asked for."""
    found = identity._found

    def judge(outcome: Any, values: Iterable[str], rule: Any) -> Any:
        return {
            value: found(list(outcome.customers), other_case=False, whole=outcome.whole, unsure="", rule=rule)
            for value in values
        }

    patch.setattr(resolver, "judge", judge)


def guests_believed(patch: Patch) -> None:
    found = identity._found

    def wrong(customers: Any, **more: Any) -> Any:
        return found([type(c)(c.id, c.email, c.number, c.internal_number, c.status, False) for c in customers], **more)  # noqa: FBT003 - as the struct has it

    patch.setattr(identity, "_found", wrong)


def deleted_believed(patch: Patch) -> None:
    found = identity._found

    def wrong(customers: Any, **more: Any) -> Any:
        living = [type(c)(c.id, c.email, c.number, c.internal_number, "active", c.anonymous) for c in customers]
        return found(living, **more)

    patch.setattr(identity, "_found", wrong)


def the_first_of_several(patch: Patch) -> None:
    found = identity._found

    def wrong(customers: Any, **more: Any) -> Any:
        first = sorted((c for c in customers if c.anonymous is False and c.status != "deleted"), key=lambda c: c.id)
        return found(first[:1] or customers, **more)

    patch.setattr(identity, "_found", wrong)


def pages_believed_whole(patch: Patch) -> None:
    found = identity._found
    patch.setattr(
        identity, "_found", lambda customers, **more: found(customers, **(more | {"whole": True, "unsure": ""}))
    )


def missing_for_ever(patch: Patch) -> None:
    """Who was not found once is never looked for again."""
    patch.setattr(Resolver, "_delay_s", lambda _self, _age_ms: 1e6)


def any_case_is_the_same(patch: Patch) -> None:
    """Emails are compared without case though they are to be exact."""
    patch.setattr(identity.IdentityRule, "term", lambda _self, kind, value: f"{kind}:{value.strip().lower()}")


def next_identity_of_an_ambiguous_one(patch: Patch) -> None:
    """An ambiguous identity is passed over for the next."""
    customer = Resolver.customer

    def wrong(self: Resolver, terms: tuple[str, ...]) -> Any:
        found = customer(self, terms)
        plain, _ = self.expand(terms)
        return customer(self, tuple(plain[1:])) if found.why == AMBIGUOUS and len(plain) > 1 else found

    patch.setattr(Resolver, "customer", wrong)


def references_changed_ignored(patch: Patch) -> None:
    patch.setattr(Engine, "references_changed", lambda _self, _name, _keys: None)


def parents_not_waited_for(patch: Patch) -> None:
    """Rows act before the references were read."""
    patch.setattr(Engine, "references_ready", property(lambda _self: True, lambda _self, _value: None), raising=False)


def unknown_not_forgotten(patch: Patch) -> None:
    """An id that the members route does not know is found again in the cache."""
    patch.setattr(Resolver, "forget", lambda *_: None)


def the_gone_stay_elsewhere(patch: Patch) -> None:
    """Other rows of a customer who is gone are left as they are."""
    affected = Resolving._affected
    patch.setattr(
        Resolving,
        "_affected",
        lambda self, part, key, changed, _gone, void: affected(self, part, key, changed, set(), void),
    )


def via_not_compared(patch: Patch) -> None:
    """A reference that changed while nobody ran is not seen."""
    patch.setattr(Resolver, "via", lambda _self, _claim: None)


def kept_whatever_the_parent_says(patch: Patch) -> None:
    """A row that is written again keeps its customer though its parent changed."""
    fold = Resolving.fold

    def wrong(self: Resolving, part: Any, key: bytes, claim: Claim | None, *more: Any) -> bool:
        row = part.row_at(key)
        if row is not None and row.claim is not None and claim is not None and row.says is not None:
            part.working[key] = row
            row.via = self.resolver.via(claim)
        return fold(self, part, key, claim, *more)

    patch.setattr(Resolving, "fold", wrong)


def deleted_codes_created(patch: Patch) -> None:
    """Members that still name a deleted code have it created."""

    def wrong(self: Catalog, code: str, *, existed: bool) -> str:  # noqa: ARG001 - that is the bug
        self._owe(Task("exist", code, code, None))
        return ""

    patch.setattr(Catalog, "missing", wrong)


def moved_without_being_accepted(patch: Patch) -> None:
    """A changed code is taken as soon as it is read."""
    segment = Resolver.segment

    def wrong(self: Resolver, one: str) -> str:
        self._codes.pop(one, None)
        return segment(self, one)

    patch.setattr(Resolver, "segment", wrong)


def names_written_once(patch: Patch) -> None:
    """The name of a segment is written once: a changed one is not."""
    changed = Catalog.changed
    patch.setattr(Catalog, "changed", lambda self, keys: changed(self, [key for key in keys if key not in self._codes]))


def pending_rows_hold_their_offset(patch: Patch) -> None:
    """A row whose customer is not found stays in memory until they are, and nothing stores it meanwhile."""
    patch.setattr(Commits, "relieve", lambda _self, _parts, _now_s: None)
    wait = Resolving._wait

    def wrong(self: Resolving, row: Row, why: str | None, *, changed: bool) -> None:
        if why == MISSING and row.asking:
            row.pins += 1
        wait(self, row, why, changed=changed)

    patch.setattr(Resolving, "_wait", wrong)


def pending_rows_left_by_a_restart(patch: Patch) -> None:
    """A restored row that waits is not taken up again."""
    patch.setattr(Resolving, "restored", lambda _self, _row: None)


def failed_look_ups_not_repeated(patch: Patch) -> None:
    def wrong(self: Resolver, outcome: Any, lookup: Any, waits: Any, *more: Any) -> None:  # noqa: ARG001 - that is the bug
        for wait in waits.values():
            wait.why = resolver.LOOKUP_FAILED

    patch.setattr(Resolver, "_failed", wrong)


def failed_definitions_outlive_their_row(patch: Patch) -> None:
    """A definition that failed is repeated though the source ended the segment."""
    patch.setattr(catalog, "_MAKES", frozenset())


PLANTED: dict[Callable[[Patch], None], Iterable[str]] = {
    told_before_it_is_durable: ("all_names", "parents_crash"),
    removed_by_a_new_look_up: ("come_and_go",),
    filter_believed: ("look_ups", "by_list"),
    guests_believed: ("by_email",),
    deleted_believed: ("come_and_go",),
    the_first_of_several: ("by_list", "look_ups"),
    pages_believed_whole: ("look_ups", "by_list"),
    missing_for_ever: ("by_email",),
    any_case_is_the_same: ("by_email", "by_list"),
    next_identity_of_an_ambiguous_one: ("by_list",),
    references_changed_ignored: ("parents",),
    parents_not_waited_for: ("parents_crash",),
    unknown_not_forgotten: ("come_and_go",),
    the_gone_stay_elsewhere: ("come_and_go",),
    via_not_compared: ("parents_crash",),
    kept_whatever_the_parent_says: ("parents_crash", "parents"),
    deleted_codes_created: ("segments_late", "segments_crash"),
    moved_without_being_accepted: ("codes_change",),
    names_written_once: ("segments_late",),
    pending_rows_hold_their_offset: ("by_email",),
    pending_rows_left_by_a_restart: ("name_crashes",),
    failed_look_ups_not_repeated: ("look_ups",),
    failed_definitions_outlive_their_row: ("segments_back", "segments_crash"),
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(
    plant: Callable[[Patch], None], monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(monkeypatch)
    worlds = list(PLANTED[plant])
    for seed in range(SEEDS_MAX):
        result = play(seed, worlds[seed % len(worlds)])
        if result.law:
            assert result.law != "raised", str(result.violation)
            with capsys.disabled():
                print(f"\n{plant.__name__}: {result.law}, at seed {seed} of {result.world}", end="")  # noqa: T201  # how soon it is found
            return
    pytest.fail(f"{SEEDS_MAX} seeds of {worlds} do not find it")
