"""A writer's Avro schema, made plain and safe.

The binary form holds no names and no logical types, so the schema is rewritten before a decoder sees it: named types
get safe names (a topic's prefix may hold what Avro forbids), logical types go (the decoders would disagree about them;
decimals are converted by `convert`), int becomes long (the same bytes, and no silent overflow). What could explode is
refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from stream.core.decode.convert import DECIMAL, VARIABLE_DECIMAL, Convert, decimal_of, variable_decimal
from stream.core.decode.spec import Limits

Type = str | dict[str, Any] | list[Any]
"""A rewritten type: a primitive's or a record's name, a complex type, or a union."""

_PRIMITIVES: Final = {
    "null": "null",
    "boolean": "boolean",
    "int": "long",
    "long": "long",
    "float": "float",
    "double": "double",
    "bytes": "bytes",
    "string": "string",
}
ROOT: Final = "value"
"""The only field of the record that wraps a schema that is not a record itself: the bytes are the same."""


class SchemaError(ValueError):
    """The schema is not Avro, is above a limit, or could make a short record explode."""


@dataclass
class AvroSchema:
    """A rewritten schema. root is a record; wrapped: it wraps another type. records: all of them by their new names.

    converts: by record, then by field: the decimals.
    """

    root: dict[str, Any]
    wrapped: bool
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    converts: dict[str, dict[str, Convert]] = field(default_factory=dict)

    def record(self, kind: Type) -> dict[str, Any] | None:
        """Return the record that a type is, or that a union of null and one record holds."""
        if isinstance(kind, list):
            inner = [branch for branch in kind if branch != "null"]
            if len(inner) != 1:
                return None
            kind = inner[0]
        if isinstance(kind, str):
            return self.records.get(kind)
        return kind if isinstance(kind, dict) and kind["type"] == "record" else None


def parse(text: str, limits: Limits) -> AvroSchema:
    """Return the rewritten schema. Raises SchemaError."""
    if len(text) > limits.schema_bytes_max:
        raise SchemaError(f"a schema of {len(text)} characters, the limit is {limits.schema_bytes_max}")
    try:
        source = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        # A registry may keep a primitive's schema as the bare word.
        source = text.strip()
    walk = _Walk(limits)
    root = "null" if source in ("null", {"type": "null"}) else walk.rewrite(source, "", 0)
    wrapped = not (isinstance(root, dict) and root["type"] == "record")
    if wrapped:
        root = {"type": "record", "name": "Root", "fields": [{"name": ROOT, "type": root}]}
        walk.records["Root"] = root
    assert isinstance(root, dict)  # noqa: S101 - for the type checker
    return AvroSchema(root, wrapped, walk.records, walk.converts)


class _Walk:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._nodes = 0
        self._names: dict[str, str] = {}
        self._open: set[str] = set()
        self._kinds: dict[str, Convert] = {}
        self.records: dict[str, dict[str, Any]] = {}
        self.converts: dict[str, dict[str, Convert]] = {}

    def rewrite(self, source: Any, namespace: str, depth: int) -> Type:
        """Rewrite one type. Every type but a union's null takes a byte, so no short record can become a large value."""
        self._nodes += 1
        if self._nodes > self._limits.schema_nodes_max or depth > self._limits.schema_depth_max:
            raise SchemaError("a schema with too many or too deeply nested types")
        if isinstance(source, str):
            return self._named(source, namespace)
        if isinstance(source, list):
            if not source:
                raise SchemaError("an empty union")
            return ["null" if branch == "null" else self.rewrite(branch, namespace, depth + 1) for branch in source]
        if not isinstance(source, dict) or "type" not in source:
            raise SchemaError("not an Avro schema")
        kind = source["type"]
        if kind == "record":
            return self._record(source, namespace, depth)
        if kind == "array":
            return {"type": "array", "items": self.rewrite(source.get("items"), namespace, depth + 1)}
        if kind == "map":
            return {"type": "map", "values": self.rewrite(source.get("values"), namespace, depth + 1)}
        if kind == "enum":
            symbols = source.get("symbols")
            if not isinstance(symbols, list) or not symbols or not all(isinstance(s, str) for s in symbols):
                raise SchemaError("an enum without symbols")
            self._nodes += len(symbols)
            return {"type": "enum", "name": self._define(source, namespace)[0], "symbols": symbols}
        if kind == "fixed":
            size = source.get("size")
            if not isinstance(size, int) or not 0 < size <= self._limits.value_bytes_max:
                raise SchemaError("a fixed of an impossible size")
            return {"type": "fixed", "name": self._define(source, namespace)[0], "size": size}
        return self.rewrite(kind, namespace, depth + 1)

    def _named(self, name: str, namespace: str) -> str:
        if name in _PRIMITIVES:
            if name == "null":
                raise SchemaError("a null outside a union")
            return _PRIMITIVES[name]
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        new = self._names.get(full) or self._names.get(name)
        if new is None:
            raise SchemaError(f"an unknown type {full[:100]!r}")
        if new in self._open:
            raise SchemaError("a schema that contains itself")
        return new

    def _define(self, source: dict[str, Any], namespace: str) -> tuple[str, str]:
        """Return the new name, and the namespace within."""
        name = source.get("name")
        if not isinstance(name, str):
            raise SchemaError("a type without a name")
        if "." in name:
            namespace, full = name.rpartition(".")[0], name
        else:
            declared = source.get("namespace", namespace)
            namespace = declared if isinstance(declared, str) else ""
            full = f"{namespace}.{name}" if namespace else name
        if full in self._names:
            raise SchemaError(f"type {full[:100]!r} is defined twice")
        self._names[full] = f"R{len(self._names)}"
        return self._names[full], namespace

    def _record(self, source: dict[str, Any], namespace: str, depth: int) -> Type:
        new, within = self._define(source, namespace)
        self._open.add(new)
        fields = source.get("fields")
        if not isinstance(fields, list) or not fields:
            raise SchemaError("a record without fields")
        rewritten: list[dict[str, Any]] = []
        converts: dict[str, Convert] = {}
        for each in fields:
            if not isinstance(each, dict) or not isinstance(each.get("name"), str) or "type" not in each:
                raise SchemaError("a field without name or type")
            kind = self.rewrite(each["type"], within, depth + 1)
            convert = self._decimal(each["type"], kind)
            if convert is not None:
                converts[each["name"]] = convert
            rewritten.append({"name": each["name"], "type": kind})
        if len({each["name"] for each in rewritten}) != len(rewritten):
            raise SchemaError("a record with a field twice")
        self._open.discard(new)
        record = {"type": "record", "name": new, "fields": rewritten}
        self.records[new] = record
        self.converts[new] = converts
        if source.get("connect.name") == VARIABLE_DECIMAL or source.get("name") == VARIABLE_DECIMAL.rpartition(".")[2]:
            self._kinds[new] = variable_decimal
        return record

    def _decimal(self, source: Any, rewritten: Type) -> Convert | None:
        """Return how a field's values become exact decimals; None when it is something else."""
        if isinstance(source, list):
            branches = [(s, r) for s, r in zip(source, rewritten, strict=True) if s != "null"]
            if len(branches) != 1:
                return None
            source, rewritten = branches[0]
        if isinstance(rewritten, dict) and rewritten["type"] == "record":
            return self._kinds.get(rewritten["name"])
        if isinstance(rewritten, str) and rewritten in self._kinds:
            return self._kinds[rewritten]
        if isinstance(source, dict) and DECIMAL in (
            source.get("connect.name"),
            _DECIMALS.get(source.get("logicalType")),
        ):
            scale = source.get("scale", 0)
            return decimal_of(scale) if isinstance(scale, int) else None
        return None


_DECIMALS: Final[dict[Any, str]] = {"decimal": DECIMAL}
