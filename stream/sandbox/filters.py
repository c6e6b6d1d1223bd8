"""The filters of list routes: JSON with $in, $or and their kin, compiled into one test."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEPTH_MAX = 10


class FilterError(ValueError):
    """A filter that the service would refuse."""


def parse(text: str) -> dict[str, Any]:
    """Raises FilterError when it is no JSON object."""
    try:
        value = msgspec.json.decode(text.encode())
    except msgspec.DecodeError as error:
        raise FilterError(f"filters is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise FilterError("filters is not an object")
    return value


class Filter:
    """`fields`: names that may be filtered by; one ending in `.` allows everything below it."""

    def __init__(
        self, tree: dict[str, Any], fields: tuple[str, ...], list_max: int, folded: frozenset[str] = frozenset()
    ) -> None:
        self.fields = fields
        self.list_max = list_max
        self.folded = folded  # fields compared without regard to case
        self.matches = self._object(tree, 0)

    def _object(self, tree: object, depth: int) -> Callable[[Mapping[str, Any]], bool]:
        if depth > DEPTH_MAX:
            raise FilterError("filters is nested too deeply")
        if not isinstance(tree, dict):
            raise FilterError("a condition is not an object")
        tests = []
        for key, value in tree.items():
            if key in {"$and", "$or"}:
                if not isinstance(value, list) or not value:
                    raise FilterError(f"{key} needs a list")
                parts = [self._object(part, depth + 1) for part in value]
                tests.append(_all(parts) if key == "$and" else _any(parts))
            elif key.startswith("$"):
                raise FilterError(f"{key} is no logic operator")
            else:
                tests.append(self._field(key, value))
        return _all(tests)

    def _field(self, name: str, value: object) -> Callable[[Mapping[str, Any]], bool]:
        if not any(name == known or (known.endswith(".") and name.startswith(known)) for known in self.fields):
            raise FilterError(f"{name} cannot be filtered by")
        conditions = value if isinstance(value, dict) else {"$eq": value}
        return _all([self._condition(name, sign, wanted) for sign, wanted in conditions.items()])

    def _condition(self, name: str, sign: str, wanted: Any) -> Callable[[Mapping[str, Any]], bool]:
        fold = _fold if name in self.folded else _same
        path = name.split(".")

        def values(item: Mapping[str, Any]) -> list[Any]:
            return [fold(value) for value in _values(item, path)]

        if sign in {"$exists", "$nExists"}:
            there = bool(wanted) == (sign == "$exists")
            return lambda item: bool([value for value in values(item) if value is not None]) == there
        if sign in {"$in", "$nin"}:
            if not isinstance(wanted, list) or not all(_plain(part) for part in wanted):
                raise FilterError(f"{sign} needs a list of plain values")
            if len(wanted) > self.list_max:
                raise FilterError(f"{sign} has more than {self.list_max} values")
            among = {_typed(fold(part)) for part in wanted}
            if sign == "$in":
                return lambda item: any(_typed(value) in among for value in values(item) if _plain(value))
            return lambda item: all(_typed(value) not in among for value in values(item) if _plain(value))
        if not _plain(wanted):
            raise FilterError(f"{sign} needs a plain value")
        other = fold(wanted)
        if sign == "$eq":
            return lambda item: (
                any(_typed(value) == _typed(other) for value in values(item) if _plain(value))
                or (other is None and not values(item))
            )
        if sign == "$ne":
            return lambda item: all(_typed(value) != _typed(other) for value in values(item) if _plain(value))
        if sign in {"$ct", "$nct"}:
            return lambda item: any(str(other) in str(value) for value in values(item)) == (sign == "$ct")
        compare = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}.get(sign)
        if compare is None:
            raise FilterError(f"{sign} is no operator")
        return lambda item: any(compare(value, other) for value in values(item) if _comparable(value, other))


def narrowed(tree: dict[str, Any], keys: tuple[str, ...]) -> tuple[str, list[Any]] | None:
    """A field that an index knows and the values it must have, so that not every customer is looked at."""
    for key in keys:
        value = tree.get(key)
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            return key, [value]
        if isinstance(value, dict):
            if isinstance(value.get("$in"), list):
                return key, value["$in"]
            if isinstance(value.get("$eq"), (str, int)):
                return key, [value["$eq"]]
    for part in tree["$and"] if isinstance(tree.get("$and"), list) else []:
        if isinstance(part, dict) and (found := narrowed(part, keys)):
            return found
    return None


def _all(tests: list[Callable[[Mapping[str, Any]], bool]]) -> Callable[[Mapping[str, Any]], bool]:
    return tests[0] if len(tests) == 1 else lambda item: all(test(item) for test in tests)


def _any(tests: list[Callable[[Mapping[str, Any]], bool]]) -> Callable[[Mapping[str, Any]], bool]:
    return lambda item: any(test(item) for test in tests)


def _values(item: Any, path: list[str]) -> list[Any]:
    """Every value at the path; lists on the way are looked into."""
    if isinstance(item, list):
        return [value for part in item for value in _values(part, path)]
    if not path:
        return [item]
    if not isinstance(item, dict) or path[0] not in item:
        return []
    return _values(item[path[0]], path[1:])


def _same(value: Any) -> Any:
    return value


def _fold(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def _plain(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float))


def _typed(value: Any) -> tuple[bool, Any]:
    """True is not 1 in JSON."""
    return isinstance(value, bool), value


def _comparable(value: object, other: object) -> bool:
    numbers = (int, float)
    return (isinstance(value, str) and isinstance(other, str)) or (
        isinstance(value, numbers) and isinstance(other, numbers)
    )
