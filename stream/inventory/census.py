"""Members by segment, counted from stored rows: a membership once, however many rows say it.

Only counts are kept of each segment, and 16 bytes of each membership, in a mapping that is given from outside.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Final

from stream.core.claims import REFERENCE
from stream.core.rows import PRESENT
from stream.core.rowstate import RowState

_WANTED, _TOLD, _REFUSED, _ENDED = 1, 2, 4, 8
"""What is known of a membership: some row says it, was told, or is refused; some row said it and its end is not confirmed."""


@dataclass(slots=True)
class Tally:
    """Of one segment. wanted: members that rows say. told: those that retail.red confirmed. refused: those it will not take.

    ending: those whose end is not confirmed. pending: rows that wait, by reason.
    """

    wanted: int = 0
    told: int = 0
    refused: int = 0
    ending: int = 0
    pending: Counter[str] = field(default_factory=Counter)


class Census:
    """code(segment): the code of a claim's segment now, "" where its reference does not tell.

    used: by segment of a reference, the codes that rows are members in, and how many rows.
    """

    def __init__(self, code: Callable[[str], str]) -> None:
        self._code: Final = code
        self.members: MutableMapping[bytes, bytes] = {}
        self.tallies: Final[dict[str, Tally]] = {}
        self.used: Final[dict[str, Counter[str]]] = {}
        self.nowhere: Final[Counter[str]] = Counter()
        """Rows that wait and whose segment is not known, by reason."""
        self.rows = 0

    def count(self, row: RowState) -> None:
        self.rows += 1
        refused = (row.pending or "").startswith("refused")
        if row.segment is not None and row.member is not None:
            told = _TOLD if row.told == PRESENT else _REFUSED if refused else 0
            self._note(row.segment, row.member, _WANTED | told)
            if row.claim is not None and row.claim.segment.startswith(REFERENCE):
                self.used.setdefault(row.claim.segment, Counter())[row.segment] += 1
        for segment, member, _ in row.others:
            self._note(segment, member, _ENDED)
        why = row.waits or (None if refused else row.pending)
        if why is None:
            return
        code = row.segment or (self._code(row.claim.segment) if row.claim is not None else "")
        if code:
            self._of(code).pending[why] += 1
        elif row.claim is not None:
            self.nowhere[why] += 1

    def _of(self, code: str) -> Tally:
        tally = self.tallies.get(code)
        if tally is None:
            tally = self.tallies[code] = Tally()
        return tally

    def _note(self, segment: str, member: str, flags: int) -> None:
        key = hashlib.blake2b(f"{segment}\n{member}".encode(), digest_size=16).digest()
        known = self.members.get(key)
        before = known[0] if known is not None else 0
        after = before | flags
        if after == before:
            return
        self.members[key] = bytes((after,))
        tally = self._of(segment)
        _add(tally, before, -1)
        _add(tally, after, 1)


def _add(tally: Tally, flags: int, by: int) -> None:
    if not flags & _WANTED:
        tally.ending += by if flags & _ENDED else 0
        return
    tally.wanted += by
    if flags & _TOLD:
        tally.told += by
    elif flags & _REFUSED:
        tally.refused += by
