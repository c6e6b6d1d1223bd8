"""The decoder of one topic: a slice of records in, one item a record out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from stream.core.decode.avro_rows import Key, Writer
from stream.core.decode.avro_schema import parse
from stream.core.decode.framing import FRAMINGS, Header, Prefix, of_header, of_prefix
from stream.core.decode.json_rows import JsonRows
from stream.core.decode.spec import DecodeSpec
from stream.core.model import Decoded, DecodedSlice, SchemaId, Slice, Tombstone, Unreadable

Reader = Writer | JsonRows | Unreadable
_PENDING: Final = Tombstone(None)
"""Stands in the list until the group that its record belongs to is read."""


class _Group:
    """The records of a slice that one reader reads: where they stand, and their payloads."""

    __slots__ = ("indexes", "payloads", "reader", "skip")

    def __init__(self, reader: Reader, skip: int) -> None:
        self.reader = reader
        self.skip = skip
        self.indexes: list[int] = []
        self.payloads: list[bytes] = []

    def keys(self) -> Sequence[Key | Unreadable]:
        reader = self.reader
        if isinstance(reader, Unreadable):
            return [reader] * len(self.payloads)
        if isinstance(reader, JsonRows):
            return [reader.key(payload) for payload in self.payloads]
        return reader.keys(self.payloads)

    def values(self, keys: Sequence[Key | Unreadable]) -> Sequence[Decoded]:
        # An unreadable key replaces its record's item afterwards: until then it may stand there as the key.
        reader = self.reader
        if isinstance(reader, Unreadable):
            return [reader] * len(self.payloads)
        readable = cast("Sequence[Key]", keys)
        if isinstance(reader, JsonRows):
            return [reader.one(payload, key) for payload, key in zip(self.payloads, readable, strict=True)]
        return reader.values(self.payloads, readable)


class _UnknownSchemaError(Exception):
    """The record's schema is to be fetched first."""

    def __init__(self, schema_id: SchemaId) -> None:
        super().__init__(schema_id)
        self.schema_id = schema_id


class TopicDecoder:
    """Decodes one topic. Not thread-safe; holds nothing but the schemas that it learned."""

    def __init__(self, spec: DecodeSpec) -> None:
        self._spec = spec
        self._json = JsonRows(spec)
        self._framing: Prefix | Header = FRAMINGS[spec.framing]
        self._schemas: dict[SchemaId, Writer | Unreadable] = {}
        self._too_large = Unreadable("too_large", f"a record above the limit of {spec.limits.value_bytes_max} bytes")
        auto = spec.format == "auto"
        self._magic = bytes((self._framing.magic,)) if auto and isinstance(self._framing, Prefix) else None
        # JSON is tried first, record by record, until the first framed one was seen.
        self._framed = spec.format == "avro" or (auto and isinstance(self._framing, Header))

    def learn(self, schema_id: SchemaId, schema_text: str | None) -> None:
        """Take the writer's schema that was fetched; None: the registry says that it does not exist."""
        if len(self._schemas) >= self._spec.limits.schemas_max:
            del self._schemas[next(iter(self._schemas))]
        if schema_text is None:
            detail = f"the registry has no schema with {schema_id.kind} {schema_id.value}"
            self._schemas[schema_id] = Unreadable("unknown_schema", detail)
            return
        try:
            self._schemas[schema_id] = Writer(parse(schema_text, self._spec.limits), self._spec)
        except Exception as error:  # noqa: BLE001 - fastavro's parser raises many; whatever it was, only this schema is refused
            detail = f"schema {schema_id.kind} {schema_id.value}: {error}"[:200]
            self._schemas[schema_id] = Unreadable("unsupported_schema", detail)

    def decode(self, slice: Slice, start: int = 0) -> DecodedSlice:  # noqa: A002 - the noun of the model
        """Return one item a record from index `start`, up to the first whose schema is not known. Never raises."""
        if not self._framed:
            keys = slice.keys[start:] if start else slice.keys
            values = slice.values[start:] if start else slice.values
            items: list[Decoded] = []
            if self._json.read(keys, values, items, self._magic) is None:
                return DecodedSlice(items, None)
            self._framed = True
        return self._mixed(slice, start)

    def _mixed(self, slice: Slice, start: int) -> DecodedSlice:  # noqa: A002 - as above
        """Decode framed records in groups of one schema, and what is not framed as JSON."""
        framing = self._framing
        length = framing.length if isinstance(framing, Prefix) else 0
        size_max = self._spec.limits.value_bytes_max
        key_groups: dict[bytes | SchemaId | None, _Group] = {}
        value_groups: dict[bytes | SchemaId | None, _Group] = {}
        keys: list[Key | Unreadable] = []
        items: list[Decoded] = []
        needs: SchemaId | None = None
        key_group = value_group = None
        # First all are sorted by schema. A record is taken whole or not at all: both of its groups are found before
        # it joins either.
        for at in range(len(slice.values) - start):
            key, value = slice.keys[start + at], slice.values[start + at]
            try:
                if key is not None:
                    key_group = key_groups.get(key[:length]) if length and len(key) <= size_max else None
                    if key_group is None:
                        key_group = self._group(slice, start + at, key, key_groups, of_key=True)
                if value is not None:
                    value_group = value_groups.get(value[:length]) if length and len(value) <= size_max else None
                    if value_group is None:
                        value_group = self._group(slice, start + at, value, value_groups, of_key=False)
            except _UnknownSchemaError as unknown:
                needs = unknown.schema_id
                break
            if key is not None and key_group is not None:
                key_group.indexes.append(at)
                key_group.payloads.append(key[key_group.skip :])
            if value is not None and value_group is not None:
                value_group.indexes.append(at)
                value_group.payloads.append(value[value_group.skip :])
            keys.append(None)
            items.append(_PENDING)
        for group in key_groups.values():
            for at, read in zip(group.indexes, group.keys(), strict=True):
                keys[at] = read
        for group in value_groups.values():
            mine = [keys[at] for at in group.indexes]
            for at, item in zip(group.indexes, group.values(mine), strict=True):
                items[at] = item
        for at, decoded_key in enumerate(keys):
            if decoded_key.__class__ is Unreadable:
                items[at] = decoded_key
            elif items[at] is _PENDING:
                items[at] = Tombstone(decoded_key)  # type: ignore[arg-type]
        return DecodedSlice(items, needs)

    def _group(
        self,
        slice: Slice,  # noqa: A002 - as above
        i: int,
        data: bytes,
        groups: dict[bytes | SchemaId | None, _Group],
        *,
        of_key: bool,
    ) -> _Group:
        """Return the group that record i's key or value belongs to.

        Raises _UnknownSchemaError when its schema is to be fetched.
        """
        if len(data) > self._spec.limits.value_bytes_max:
            return groups.setdefault(SchemaId("id", "too large"), _Group(self._too_large, 0))
        framing = self._framing
        if isinstance(framing, Prefix):
            if data[:1] != bytes((framing.magic,)):
                return self._unframed(data, groups, of_key=of_key)
            if len(data) < framing.length:
                problem = Unreadable("framing", f"{len(data)} bytes: shorter than the framing {self._spec.framing}")
                return groups.setdefault(SchemaId("id", "short"), _Group(problem, 0))
            name: bytes | SchemaId = data[: framing.length]
            schema_id = of_prefix(data[: framing.length], framing.kind)
            skip = framing.length
        else:
            skip = 0
            try:
                found = of_header(slice.headers(i), framing.key_name if of_key else framing.value_name, framing.kind)
            except ValueError as error:
                return groups.setdefault(SchemaId("id", f"{error}"), _Group(Unreadable("framing", f"{error}"), 0))
            if found is None:
                return self._unframed(data, groups, of_key=of_key)
            name = schema_id = found
        schema = self._schemas.get(schema_id)
        if schema is None:
            raise _UnknownSchemaError(schema_id)
        return groups.setdefault(name, _Group(schema, skip))

    def _unframed(self, data: bytes, groups: dict[bytes | SchemaId | None, _Group], *, of_key: bool) -> _Group:
        """Return the group of what names no schema: JSON, unless the topic's values are said to be Avro."""
        if self._spec.format != "avro" or of_key:
            return groups.setdefault(None, _Group(self._json, 0))
        where = f"first byte {data[:1].hex() or 'missing'}" if isinstance(self._framing, Prefix) else "no header"
        problem = Unreadable("framing", f"{where}: not framed as {self._spec.framing}")
        return groups.setdefault(SchemaId("id", problem.detail), _Group(problem, 0))
