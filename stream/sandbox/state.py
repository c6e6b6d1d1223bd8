"""What the shop holds: customers, segments and their members, and nothing about HTTP or faults."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

CUSTOMER, DEVICE = "customer", "device"
KEYS = ("emailAddress", "externalCustomerNumber", "internalCustomerNumber")  # looked up through an index


@dataclass(slots=True)
class Members:
    """The ids of one kind in one segment, with an order to page by that is kept up only when somebody pages."""

    ids: set[str] = field(default_factory=set)
    ordered: list[str] | None = None
    touched: set[str] = field(default_factory=set)  # changed since `ordered` was made

    def add(self, ids: set[str]) -> set[str]:
        """The ids that were new."""
        fresh = ids - self.ids
        self.ids |= fresh
        if self.ordered is not None:
            self.touched |= fresh
        return fresh

    def remove(self, ids: set[str]) -> set[str]:
        """The ids that were there."""
        present = ids & self.ids
        self.ids -= present
        if self.ordered is not None:
            self.touched |= present
        return present

    def order(self) -> list[str]:
        if self.ordered is None:
            self.ordered = sorted(self.ids)
        elif self.touched:
            self.ordered = [member for member in self.ordered if member not in self.touched]
            self.ordered += [member for member in self.touched if member in self.ids]
            self.ordered.sort()
        self.touched.clear()
        return self.ordered

    def behind(self, last: str | None) -> Iterator[str]:
        """The ids behind `last`, in order."""
        order = self.order()
        return islice(order, 0 if last is None else bisect_right(order, last), None)


@dataclass(slots=True)
class Segment:
    code: str
    name: str
    description: str = ""
    type: str = "fixed"
    status: str = "active"
    external_update_date: str | None = None
    rules: Any = None
    kinds: dict[str, Members] = field(default_factory=lambda: {CUSTOMER: Members(), DEVICE: Members()})

    @property
    def customers(self) -> Members:
        return self.kinds[CUSTOMER]

    def view(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "code": self.code,
            "name": self.name,
            "description": self.description,
            "type": self.type,
            "status": self.status,
            "memberCount": sum(len(members.ids) for members in self.kinds.values()),
            "rules": self.rules,
            "externalUpdateDate": self.external_update_date,
        }


class Shop:
    """`customers[id]` is the customer as the API shows it; `found_at_s` says when the index may find it."""

    def __init__(self) -> None:
        self.segments: dict[str, Segment] = {}
        self.customers: dict[str, dict[str, Any]] = {}
        self.indexes: dict[str, dict[Any, set[str]]] = {key: {} for key in KEYS}
        self.numbered = 0  # the highest internal number so far: one that was deleted is not given again
        self.lagging: dict[str, tuple[float, dict[str, Any] | None]] = {}  # id → until when, what the index shows

    def put_customer(self, customer: dict[str, Any], found_at_s: float = 0.0, now_s: float = 0.0) -> None:
        """Add or replace by id. The index shows what was before until `found_at_s`. Raises ValueError without id."""
        member = customer.get("id")
        if not isinstance(member, str) or not member:
            raise ValueError("a customer needs a string `id`")
        before = self.customers.get(member)
        if found_at_s > now_s:
            self.lagging[member] = (found_at_s, before)
        defaults = {"internalCustomerNumber": self.numbered + 1, "status": "active", "isAnonymous": False}
        self.customers[member] = {**defaults, **(before or {}), **customer}
        if isinstance(number := self.customers[member]["internalCustomerNumber"], int):
            self.numbered = max(self.numbered, number)
        self._index(member, self.customers[member])

    def drop_customer(self, member: str, found_at_s: float = 0.0, now_s: float = 0.0) -> bool:
        """Forget the customer wholly; the index may show it until `found_at_s`. False: there was none."""
        before = self.customers.pop(member, None)
        if before is not None and found_at_s > now_s:
            self.lagging[member] = (found_at_s, before)
        return before is not None

    def shown(self, member: str, now_s: float) -> dict[str, Any] | None:
        """The customer as the index knows it now."""
        late = self.lagging.get(member)
        if late is not None:
            if now_s < late[0]:
                return late[1]
            del self.lagging[member]
        return self.customers.get(member)

    def listed(self, now_s: float) -> list[dict[str, Any]]:
        known = dict.fromkeys([*self.customers, *self.lagging])
        return [customer for member in known if (customer := self.shown(member, now_s)) is not None]

    def _index(self, member: str, customer: dict[str, Any]) -> None:
        # Entries are never taken out: what is found through one is matched against the whole filter anyway.
        for key in KEYS:
            value = customer.get(key)
            if isinstance(value, (str, int)):
                self.indexes[key].setdefault(fold(value), set()).add(member)


def fold(value: object) -> object:
    return value.casefold() if isinstance(value, str) else value
