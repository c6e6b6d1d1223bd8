"""Decoded records of one partition, folded into the row table in the order of their offsets.

Nothing is skipped because of its source position. While a partition's streamed position lies below the highest it has seen (a
connector that restarted sends a window again), its table is closed: the window is folded and not shown.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from stream.core.decode.rowkey import row_key
from stream.core.mapping import NOTHING, Partly, Refusal, RowMapping
from stream.core.model import Change, Claim, Decoded, Halt, Membership, Skip, Tombstone, Truncate, Unreadable
from stream.core.owners import Owners, TableSpec
from stream.core.resolving import Resolving
from stream.core.rows import Event, Part
from stream.core.rowstate import ROW_KEY_BYTES
from stream.core.table import MovedRowError

REPEAT_TAIL_S: Final = 1.0
"""How long a repeat is held after it reached the highest position: several rows may share that position."""


class Folder:
    """Folds; owns nothing. Rows that name the customer or the segment by something else go through `resolving`.

    bury(holder_part, offset, reason, detail, origin) asks for a letter; alarm(kind, text) is for people.
    """

    def __init__(
        self,
        tally: Counter[tuple[str, ...]],
        bury: Callable[[Part, int, str, str, object], None],
        alarm: Callable[[str, str], None],
        hash_secret: bytes,
        owners: Owners,
        resolving: Resolving,
    ) -> None:
        self._tally = tally
        self._bury = bury
        self._alarm = alarm
        self._secret = hash_secret
        self._owners: Final = owners
        self._resolving: Final = resolving

    def feed(
        self,
        part: Part,
        spec: TableSpec,
        items: Sequence[Decoded],
        offsets: Sequence[int],
        timestamps_ms: Sequence[int],
        sizes: Sequence[int],
        origins: Sequence[object],
        now_s: float,
    ) -> str | None:
        """Fold these records and advance the ledger. Returns why the topic must stop; then the records before are folded."""
        mapping = spec.mapping
        fold: Callable[..., bool] = self._resolving.fold if mapping.rule.claims else part.table.fold
        secret = self._secret
        blake2b = hashlib.blake2b
        claimed = mapping.rule.partitioned_by != "none"
        full = mapping.rule.replica_identity == "full"
        owner = self._owners.of(spec, part.tp)
        owners = self._owners.known
        mark = part.mark
        comma = mark.find(",") if mark is not None else -1
        ops: dict[str, int] = {}
        done = 0
        newest_ms = 0
        why: str | None = None
        for item, offset, at_ms, size, origin in zip(items, offsets, timestamps_ms, sizes, origins, strict=True):
            kind = type(item)
            says: Membership | Claim | None = None
            if kind is Change:
                op = item.op  # type: ignore[union-attr]
                ops[op] = ops.get(op, 0) + 1
                key = item.key  # type: ignore[union-attr]
                position = item.position  # type: ignore[union-attr]
                if key is None:
                    why = "the records have no key: the table needs a primary key (or message.key.columns)"
                    break
                after = item.after if op != "d" else None  # type: ignore[union-attr]
                if claimed:
                    why = mapping.key_breaks_claim(key, after) or None
                    if why:
                        break
                if position is not None and position != mark:
                    # numbers of as many digits compare as text does, where the comma stands at the same place
                    if (
                        mark is not None
                        and comma > 2
                        and len(position) == len(mark)
                        and position[comma] == ","
                        and position[1] == '"' == mark[1]
                        and position > mark
                    ):
                        mark = position
                        part.repeat_since_s = -1.0
                    else:
                        mark = self._order(part, mark, position, now_s)
                        comma = mark.find(",") if mark is not None else -1
                elif position is not None and part.repeat_since_s >= 0:
                    part.repeat_end_s = now_s + REPEAT_TAIL_S
                ts_ms = item.ts_ms  # type: ignore[union-attr]
                if not newest_ms:
                    newest_ms = ts_ms
                event: Event = (offset, at_ms, -ts_ms if item.snapshot else ts_ms, size, origin)  # type: ignore[union-attr]
                row = blake2b(row_key(key), digest_size=ROW_KEY_BYTES, key=secret).digest()
                if op == "d":
                    if not fold(part, row, None, event):
                        self._delete_unseen(part, mapping, item, row, event, fold)
                else:
                    said = mapping.says(item)  # type: ignore[arg-type]
                    if type(said) is tuple:
                        says = said
                        if owners.get(said[0]) != owner:
                            why = self._owners.claim(said[0], owner) or None
                            if why:
                                break
                    elif type(said) is Claim:
                        says = said
                    elif said is not None:
                        says = self._unusable(part, row, said, event)
                    was = None
                    if full and op == "u" and row not in part.working and row not in part.rows:
                        was = mapping.certain(None, item.before)  # type: ignore[union-attr]
                        was = was if was != NOTHING else None
                    try:
                        fold(part, row, says, event, was)
                    except MovedRowError as error:
                        why = str(error)
                        break
            elif kind is Tombstone:
                ops["tombstone"] = ops.get("tombstone", 0) + 1
                key = item.key  # type: ignore[union-attr]
                if key is None:
                    self._tally["skipped", "keyless_tombstone"] += 1
                else:
                    row = blake2b(row_key(key), digest_size=ROW_KEY_BYTES, key=secret).digest()
                    event = (offset, at_ms, at_ms, size, origin)
                    if not fold(part, row, None, event):
                        # a transform that routes by the row cannot route a tombstone: one that was never seen proves nothing
                        was = mapping.certain(key, None) if mapping.rule.partitioned_by != "segment" else None
                        if was is None or was == NOTHING:
                            self._tally["skipped", "tombstone_unseen"] += 1
                        else:
                            fold(part, row, None, event, was)
            elif kind is Skip:
                self._tally["skipped", item.reason] += 1  # type: ignore[union-attr]
            elif kind is Halt:
                why = item.detail  # type: ignore[union-attr]
                break
            else:
                self._bad(part, item, offset, origin)
            done += 1
        part.mark = mark
        if done:
            part.ledger.advance(offsets[done - 1] + 1, now_s, newest_ms)
        for op, count in ops.items():
            self._tally["consumed", part.tp.topic, op] += count
        return why

    def _delete_unseen(
        self, part: Part, mapping: RowMapping, change: Any, row: bytes, event: Event, fold: Callable[..., bool]
    ) -> None:
        """A delete of a row that is not in the table: its identity is believed only where it is certain."""
        was = mapping.certain(change.key, change.before)
        if was == NOTHING:
            self._tally["skipped", "delete_unseen"] += 1
        elif was is not None:
            fold(part, row, None, event, was)
        elif event[0] < part.fold_to:
            # the first fold: what was deleted before the start was never told by us
            self._tally["skipped", "delete_unseen"] += 1
        else:
            self._bury(
                part,
                event[0],
                "delete_unseen",
                "the row was never seen and the event does not say for certain "
                "whom it held: the table needs REPLICA IDENTITY FULL (and replica_identity: full here)",
                event[4],
            )

    def _unusable(self, part: Part, row: bytes, said: Refusal | Partly, event: Event) -> Membership | Claim | None:
        if type(said) is Partly:
            known = part.row_at(row)
            old: Any = (known.says if known.claim is None else known.claim) if known is not None else None
            if said.present is None and old is None and known is not None:
                return None
            segment, member = known_parts(old)
            segment = said.segment if said.segment is not None else segment
            member = said.member if said.member is not None else member
            if segment is not None and member is not None:
                return Claim(segment, member) if type(member) is tuple else (segment, member)
            said = Refusal(
                "unavailable_value", "an unchanged value is not in the event, and the row was not seen before"
            )
        assert isinstance(said, Refusal)  # noqa: S101  # the only other type
        # read again after a crash, too: that its row is durable does not mean that its letter was acknowledged
        self._bury(part, event[0], said.reason, said.detail, event[4])
        return None

    def _bad(self, part: Part, item: Any, offset: int, origin: object) -> None:
        if isinstance(item, Truncate):
            self._tally["consumed", part.tp.topic, "t"] += 1
            self._alarm(
                "truncate",
                f"{part.tp.topic}: TRUNCATE at offset {offset} was recorded, not executed: the segments "
                "still hold the table's members; compare, then rebuild",
            )
            self._bury(part, offset, "truncate", "TRUNCATE is never executed live", origin)
        elif isinstance(item, Unreadable):
            self._bury(part, offset, item.reason, item.detail, origin)

    def _order(self, part: Part, mark: str | None, position: str, now_s: float) -> str | None:
        """The slow path of comparing positions: sets or ends the hold, returns the highest position seen."""
        order = compare(position, mark) if mark is not None else 1
        if order < 0:
            if part.repeat_since_s < 0:
                part.repeat_since_s = now_s
                self._tally["repeats", part.tp.topic] += 1
            part.repeat_end_s = -1.0
            return mark
        if order == 0:
            part.repeat_end_s = now_s + REPEAT_TAIL_S
            return mark
        part.repeat_since_s = -1.0
        return position


def known_parts(old: Membership | Claim | None) -> tuple[Any, Any]:
    """The segment and the member of what a row said; None and None when it said nothing."""
    if old is None:
        return None, None
    return (old.segment, old.terms) if isinstance(old, Claim) else old


_sequence = msgspec.json.Decoder(list[str | None]).decode


def compare(position: str, mark: str) -> int:
    """Below 0 when `position` (PostgreSQL's source.sequence) lies before `mark`, 0 when equal, else above 0.

    `[lastCommitLsn, lsn]` as integers; when either commit position is null, the lsn alone. What cannot be read counts as after.
    """
    try:
        a, b = _sequence(position), _sequence(mark)
        if len(a) != 2 or len(b) != 2 or a[1] is None or b[1] is None:
            return 1
        if a[0] is None or b[0] is None:
            return int(a[1]) - int(b[1])
        return (int(a[0]) - int(b[0])) or (int(a[1]) - int(b[1]))
    except (ValueError, msgspec.MsgspecError):
        return 1
