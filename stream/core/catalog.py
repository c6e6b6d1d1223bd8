"""Which segments are to exist: what the table of segments says, and what members need.

Nothing of it is stored: every instance reads the whole table, retail.red itself holds what was told, and each definition
changes nothing when it is so already. Only the owner of a row's partition acts. A dynamic segment is never touched, and a code that
the source deleted is never created because members still name it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

from stream.core.mapping import SEGMENT_CODE, Condition, Refusal, code_part
from stream.core.model import Definition, DefinitionOutcome
from stream.core.verdict import VerdictPolicy

TEXT_MAX: Final = 1_000
CODES_MAX: Final = 1_000_000
REFUSED_RETRY_S: Final = 300.0
_MAKES: Final = frozenset({"exist", "define"})
SLOT_LOOK_S: Final = 0.02
"""How soon answers are looked for while definitions wait for a slot."""


@dataclass(frozen=True, slots=True)
class CatalogRule:
    """What a row of the table of segments says. name, description: columns, "" where there is none.

    on_delete: what becomes of the segment when its row is deleted or counts no more.
    """

    code: str
    name: str = ""
    description: str = ""
    present: tuple[Condition, ...] = ()
    on_delete: Literal["keep", "deactivate", "delete"] = "keep"

    def columns(self) -> tuple[str, ...]:
        """What is kept of a row, each column once, in this order."""
        names = (self.code, self.name, self.description, *(condition.column for condition in self.present))
        return tuple(dict.fromkeys(name for name in names if name))


class Rows(Protocol):
    """The table of segments, read whole (core/references.py)."""

    def get(self, key: str) -> Sequence[Any] | None: ...
    def deleted(self, key: str) -> bool: ...
    def partition(self, key: str) -> int: ...
    def every(self) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """Which segments are created. topic, rule, rows: of the table of segments, where there is one."""

    create_missing: bool = False
    topic: str = ""
    rule: CatalogRule | None = None
    rows: Rows | None = None


class Wanted(NamedTuple):
    """What a row says of its segment. present: whether it counts."""

    code: str
    name: str
    description: str | None
    present: bool


class Task(msgspec.Struct, eq=False):
    """A definition that is owed. flying: its number while it is asked for."""

    op: Literal["look", "exist", "define", "deactivate", "delete"]
    code: str
    name: str
    description: str | None
    flying: int = 0
    attempts: int = 0
    not_before_s: float = 0.0
    again: bool = False


class Catalog:
    """Definitions that are owed, one for a code at a time.

    created(code): a fixed segment of this code is there now. alarm(kind, text) is for people. lands_s: for how long a deletion
    may still take effect after its answer. slots: asked for at once.
    """

    def __init__(
        self,
        plan: Plan,
        policy: VerdictPolicy,
        tally: Counter[tuple[str, ...]],
        alarm: Callable[[str, str], None],
        created: Callable[[str], None],
        *,
        lands_s: float = 15.0,
        slots: int = 2,
    ) -> None:
        rule = plan.rule
        self.topic: Final = plan.topic
        self._rule: Final = rule
        self._rows: Final = plan.rows
        self._policy: Final = policy
        self._tally: Final = tally
        self._alarm: Final = alarm
        self._created: Final = created
        self._create_missing: Final = plan.create_missing
        self._lands_s: Final = lands_s
        self._deleted: Final[dict[str, float]] = {}
        self._slots: Final = slots
        self._places: Final = {name: i for i, name in enumerate(rule.columns())} if rule is not None else {}
        self._codes: Final[dict[str, str]] = {}
        self._keys: Final[dict[str, set[str]]] = {}
        self._accepted: Final[set[str]] = set()
        self._gone: Final[set[str]] = set()
        self._made: Final[set[str]] = set()
        self._needed: Final[set[str]] = set()
        self._tasks: Final[dict[str, Task]] = {}
        self._changed: deque[str] = deque()
        self._owned: set[int] = set()
        self._numbers = 0
        self._said: set[tuple[str, str]] = set()

    # ---- what the table says -------------------------------------------------------------------------------------

    def changed(self, keys: Iterable[str]) -> None:
        """These rows of the table appeared, changed or were deleted."""
        self._changed.extend(keys)

    def owned(self, partitions: set[int]) -> None:
        """The partitions of the table that are ours and may act: rows of new ones are looked at."""
        new = partitions - self._owned
        self._owned = partitions
        if new and self._rows is not None:
            self._changed.extend(key for key in self._rows.every() if self._rows.partition(key) in new)

    def accept(self, code: str) -> None:
        """The operator accepts this code for a row that had another, now or later."""
        self._accepted.add(code)
        for key, used in self._codes.items():
            wanted = self._wanted(key)
            if wanted is not None and wanted.code == code != used:
                self._changed.append(key)

    def withdraw(self, code: str) -> None:
        """It is not accepted any more: what was created stays."""
        self._accepted.discard(code)

    def _wanted(self, key: str) -> Wanted | None:
        rule, rows = self._rule, self._rows
        if rule is None or rows is None:
            return None
        row = rows.get(key)
        if row is None:
            return None
        code = code_part(row[self._places[rule.code]])
        if isinstance(code, Refusal) or SEGMENT_CODE.fullmatch(code) is None:
            self._say("segment_code", key, "a row of the table of segments holds no usable code: it is left out")
            return None
        name = row[self._places[rule.name]] if rule.name else None
        description = row[self._places[rule.description]] if rule.description else None
        present = not rows.deleted(key) and all(self._holds(row, condition) for condition in rule.present)
        return Wanted(
            code,
            str(name)[:TEXT_MAX] if name not in (None, "") else code,
            str(description)[:TEXT_MAX] if description is not None else None,
            present,
        )

    def says(self) -> tuple[dict[str, Wanted], set[str]]:
        """What the table says now, whatever was made of it: segments that are to exist, by code, and the codes that it ended."""
        named: dict[str, Wanted] = {}
        gone: set[str] = set()
        for key in self._rows.every() if self._rows is not None else ():
            wanted = self._wanted(key)
            if wanted is not None and wanted.present:
                named[wanted.code] = wanted
            elif wanted is not None:
                gone.add(wanted.code)
        return named, gone - named.keys()

    def _holds(self, row: Sequence[Any], condition: Condition) -> bool:
        value = row[self._places[condition.column]]
        # Python's True equals 1; a boolean column and a number are different things
        held = any(type(one) is type(value) and one == value for one in condition.values)
        return held is (condition.test == "in")

    def _look(self, key: str) -> None:
        wanted = self._wanted(key)
        if wanted is None:
            return
        used = self._codes.setdefault(key, wanted.code)
        if used != wanted.code and wanted.code in self._accepted:
            self._leave(key, used)
            used = self._codes[key] = wanted.code
        if used != wanted.code:
            self._say(
                "segment_code_changed",
                f"{key}={wanted.code}",
                f"the code of a segment changed from {used} to {wanted.code}: nothing is created or moved. To accept it: "
                f"segstream segments --accept {wanted.code}",
            )
            if wanted.present and used in self._needed and used not in self._made and self._owns(key):
                # its members stay in the old one, which was never made
                self._owe(Task("exist", used, wanted.name, None))
            return
        if wanted.present:
            self._keys.setdefault(used, set()).add(key)
            self._gone.discard(used)
        else:
            self._leave(key, used)
        if not self._owns(key):
            if wanted.present:
                self._spare(used, wanted)
            return
        if wanted.present:
            self._owe(Task("define", used, wanted.name, wanted.description))
        elif used in self._gone and self._rule is not None and self._rule.on_delete != "keep":
            self._owe(Task(self._rule.on_delete, used, wanted.name, None))

    def _owns(self, key: str) -> bool:
        return self._rows is not None and self._rows.partition(key) in self._owned

    def _spare(self, code: str, wanted: Wanted) -> None:
        """A row that is another's to act for wants this segment: we must not be the one who takes it away."""
        task = self._tasks.get(code)
        if task is None or task.op not in ("deactivate", "delete"):
            return
        if task.flying:
            self._owe(Task("define", code, wanted.name, wanted.description))
        else:
            del self._tasks[code]

    def _leave(self, key: str, code: str) -> None:
        """This row's segment is not wanted by it any more; gone when no other row wants it."""
        keys = self._keys.get(code)
        if keys is not None:
            keys.discard(key)
        if not keys:
            self._keys.pop(code, None)
            if len(self._gone) >= CODES_MAX:
                self._gone.clear()
            self._gone.add(code)

    # ---- what members need ---------------------------------------------------------------------------------------

    def missing(self, code: str, *, existed: bool) -> str:
        """retail.red has no such segment, and members wait for it. Returns what happens now, as one line.

        existed: it was there before: whoever deleted it meant it.
        """
        if code in self._gone:
            return "the source deleted it: its rows are pending and it is not created"
        if code in self._keys:
            self._needed.add(code)
            self._changed.extend(self._keys[code])
            return "the table of segments names it: it is created by the owner of that row, its rows follow"
        if existed:
            return "it was there before and was deleted at retail.red: its rows are pending; create it, they follow"
        if not self._create_missing:
            return "its rows are pending; create it, they follow (or set segments.create_missing: true)"
        self._owe(Task("exist", code, code, None))
        return "it is created"

    def look(self, code: str) -> None:
        """Whether this segment takes members is in doubt: look, unless something is to be asked about it anyhow."""
        if code not in self._tasks:
            self._owe(Task("look", code, code, None))

    def _owe(self, task: Task) -> None:
        known = self._tasks.get(task.code)
        if known is None:
            self._tasks[task.code] = task
        elif known.flying:
            if (known.op, known.name, known.description) != (task.op, task.name, task.description):
                task.flying, task.again = known.flying, True
                self._tasks[task.code] = task
        elif task.op != "exist" or known.op in ("exist", "look"):
            self._tasks[task.code] = task

    # ---- asking --------------------------------------------------------------------------------------------------

    def definitions(self, now_s: float) -> list[Definition]:
        """What is to be asked for now."""
        while self._changed:
            self._look(self._changed.popleft())
        room = self._slots - sum(1 for task in self._tasks.values() if task.flying)
        asks: list[Definition] = []
        ended = [t.code for t in self._tasks.values() if not t.flying and t.op in _MAKES and t.code in self._gone]
        for code in ended:
            del self._tasks[code]  # it was to be tried again, and the source ended the segment meanwhile
        for task in self._tasks.values():
            if len(asks) >= room:
                break
            if not task.flying and now_s >= self._not_before_s(task):
                self._numbers += 1
                task.flying, task.again = self._numbers, False
                active = task.op == "define" and self._rule is not None and self._rule.on_delete == "deactivate"
                asks.append(Definition(task.flying, task.op, task.code, task.name, task.description, active))
        return asks

    def _not_before_s(self, task: Task) -> float:
        """A segment that was deleted a moment ago is not made anew before the deletion can have landed."""
        return max(task.not_before_s, self._deleted.get(task.code, float("-inf")))

    def deleted(self, code: str) -> bool:
        """Whether the source ended this segment and retail.red is to have it no more: then it has no members either."""
        return code in self._gone and self._rule is not None and self._rule.on_delete == "delete"

    def settle(self, outcome: DefinitionOutcome, now_s: float, jitter: float) -> None:
        """An answer came."""
        asked = outcome.definition
        task = self._tasks.get(asked.code)
        if task is None or task.flying != asked.number:
            return
        task.flying = 0
        if asked.op == "delete" and outcome.reason != "absent":
            self._deleted[asked.code] = now_s + self._lands_s
            for code in [code for code, until_s in self._deleted.items() if until_s <= now_s]:
                del self._deleted[code]
        self._tally["segments_defined", outcome.reason if outcome.kind == "done" else outcome.kind] += 1
        if outcome.kind == "done":
            if not task.again:
                del self._tasks[asked.code]
            if asked.op in ("exist", "define"):
                self._made.add(asked.code)
                self._created(asked.code)
            elif outcome.reason == "there":
                self._created(asked.code)
            elif asked.op != "look":
                self._made.discard(asked.code)
        elif outcome.kind == "dynamic":
            del self._tasks[asked.code]
            self._say(
                "segment_dynamic",
                asked.code,
                f"segment {asked.code} is dynamic at retail.red: it is never touched, and its rows cannot be added; "
                "give the source another code",
            )
        elif outcome.kind == "refused":
            task.not_before_s = 0.0 if task.again else now_s + REFUSED_RETRY_S
            self._say(
                "segment_refused",
                asked.code,
                f"retail.red refuses segment {asked.code}: {outcome.message or outcome.reason}",
            )
        else:
            task.attempts += 1
            wait_s = self._policy.delay_s(task.attempts, jitter)
            if outcome.retry_after_s is not None:
                wait_s = max(wait_s, min(outcome.retry_after_s, self._policy.retry_after_cap_s))
            if outcome.reason in ("auth", "credentials", "forbidden"):
                wait_s = max(wait_s, self._policy.retry_cap_s)
                self._say(
                    "segment_auth", "", f"retail.red does not let this program define segments: {outcome.message}"
                )
            task.not_before_s = now_s + wait_s

    def _say(self, kind: str, what: str, text: str) -> None:
        if (kind, what) not in self._said:
            if len(self._said) >= CODES_MAX:
                self._said.clear()
            self._said.add((kind, what))
            self._alarm(kind, text)

    @property
    def open(self) -> int:
        """Definitions that are owed."""
        return len(self._tasks)

    def next_s(self, now_s: float) -> float:
        """When a definition becomes due by time alone; infinite when none does."""
        if self._changed:
            return now_s
        flying = sum(1 for task in self._tasks.values() if task.flying)
        next_s = min((self._not_before_s(t) for t in self._tasks.values() if not t.flying), default=float("inf"))
        # an answer frees a slot, and it cannot wake whoever waits for records
        return max(next_s, now_s + SLOT_LOOK_S) if flying >= self._slots else next_s
