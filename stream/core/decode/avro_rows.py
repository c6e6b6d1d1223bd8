"""Avro by the writer's schema: batches through a columnar decoder, single records through fastavro.

The columnar decoder (pyruhvro, Rust into Arrow) takes a batch of one schema; its columns become Python lists at once.
It lacks some types, so a schema is rewritten for it: bytes are read as text (the same bytes on the wire; it does not
look inside, and a mapped column is viewed as binary again), and a schema with anything else that it does not know is
left to fastavro. A field of our own at the end of the record, and a known value after the payload, prove that a record
was read to its end and no further.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import fastavro
import msgspec
import pyarrow as pa  # type: ignore[import-untyped]
import pyruhvro  # type: ignore[import-untyped]

from stream.core.decode.avro_schema import ROOT, AvroSchema, Type
from stream.core.decode.convert import PLACEHOLDER, PLACEHOLDER_BASE64, PLACEHOLDER_BYTES, Convert, available
from stream.core.decode.shapes import Shapes
from stream.core.decode.spec import DecodeSpec
from stream.core.model import Change, Columns, Decoded, Unreadable

Key = dict[str, Any] | None
_END_FIELD: Final = "segstream_end"
_END: Final = 0x5E65_7374_7265_616D
_END_BYTES: Final = b"\xda\x85\xab\xa6\x8e\xdd\xb9\xe5\xbc\x01"
"""_END as Avro writes a long: long enough not to stand in a damaged payload by chance."""
_ROW_OPS: Final = frozenset("crud")
_SCALARS: Final = frozenset({"boolean", "long", "float", "double", "string", "bytes"})
_DETAIL_MAX: Final = 200


class _NotColumnarError(Exception):
    """The columnar decoder does not take this schema."""


class Writer:
    """A writer's schema, ready to read keys or values of one topic."""

    def __init__(self, schema: AvroSchema, spec: DecodeSpec) -> None:
        self._schema = schema
        self._spec = spec
        self._shapes = Shapes(spec)
        self._parsed = fastavro.parse_schema(schema.root)
        self._texts = {*spec.columns, "op", "__op", "__deleted", "connector", "snapshot", "sequence"}
        self._single = self._single_converts()
        self._text = self._columnar_text()
        self._key_columns = self._scalars_of(schema.root) if self._text and not schema.wrapped else None
        self._rows = self._row_plan() if self._text and not schema.wrapped else None

    def parse(self, payload: bytes, *, text_errors: str = "strict") -> Any:
        """Return one payload as a dict (or what the schema says). Raises ValueError when it does not fit."""
        stream = io.BytesIO(payload)
        try:
            value = fastavro.schemaless_reader(stream, self._parsed, None, handle_unicode_errors=text_errors)
        except (EOFError, IndexError, KeyError, TypeError, OverflowError, MemoryError, RecursionError) as error:
            raise ValueError(f"{type(error).__name__}: the bytes do not fit the schema") from None
        if stream.tell() != len(payload):
            raise ValueError(f"{len(payload) - stream.tell()} bytes too many for the schema")
        return value[ROOT] if self._schema.wrapped else value  # type: ignore[index, call-overload]

    def keys(self, payloads: Sequence[bytes]) -> list[Key | Unreadable]:
        """Return each key's fields in the writer's order."""
        batch = self._batch(payloads) if self._key_columns else None
        if batch is None:
            return [self._key(payload) for payload in payloads]
        assert self._key_columns is not None  # noqa: S101 - for the type checker
        try:
            names = list(self._key_columns)
            lists = [self._list(batch.column(name), name, self._schema.root) for name in names]
        except ValueError:
            return [self._key(payload) for payload in payloads]
        if len(names) == 1:
            (one,) = names
            return [{one: a} for a in lists[0]]
        if len(names) == 2:
            one, two = names
            return [{one: a, two: b} for a, b in zip(*lists, strict=True)]
        return [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]

    def values(self, payloads: Sequence[bytes], keys: Sequence[Key]) -> list[Decoded]:
        """Return what each value means. Never raises."""
        if self._rows is not None:
            batch = self._batch(payloads)
            if batch is not None:
                try:
                    return self._rows(batch, payloads, keys)
                except ValueError:
                    pass  # invalid text or a decimal that is none: find whose it is, one by one
        return [self._value(payload, key) for payload, key in zip(payloads, keys, strict=True)]

    def _value(self, payload: bytes, key: Key) -> Decoded:
        try:
            # Text that nobody reads is not judged, as the columnar decoder does not look at it: what a record means
            # must not depend on its neighbours in the batch.
            value = self.parse(payload, text_errors="surrogateescape")
            if value.__class__ is dict:
                for level in (value, value.get("source"), value.get("before"), value.get("after")):
                    if level.__class__ is dict:
                        _assert_text(level[name] for name in self._texts if name in level)
            return self._shapes.read(value, key, self._single)
        except ValueError as error:
            return Unreadable("avro", f"{error}"[:_DETAIL_MAX])

    def _key(self, payload: bytes) -> Key | Unreadable:
        try:
            key = self.parse(payload)
            if key is None or key.__class__ is not dict:
                return None if key is None else {"": key}
            for name, convert in self._schema.converts.get(self._schema.root["name"], {}).items():
                key[name] = convert(key[name])
        except ValueError as error:
            return Unreadable("key", f"key: {error}"[:_DETAIL_MAX])
        return key

    def _single_converts(self) -> dict[str, Convert]:
        record: dict[str, Any] | None = self._schema.root
        if self._schema.wrapped:
            record = self._schema.record(self._schema.root["fields"][0]["type"])
        if record is not None and self._spec.envelope == "debezium":
            kinds = _types(record)
            record = self._schema.record(kinds.get("after", kinds.get("before", "null")))
        return self._schema.converts.get(record["name"], {}) if record is not None else {}

    def _columnar_text(self) -> str | None:
        """Return the schema for the columnar decoder; None when it would not take it."""
        try:
            root = _columnar(self._schema.root)
            assert isinstance(root, dict)  # noqa: S101 - for the type checker
            if _END_FIELD in _types(root):
                return None
            text = msgspec.json.encode(
                root | {"fields": [*root["fields"], {"name": _END_FIELD, "type": "long"}]}
            ).decode()
            pyruhvro.avro_to_arrow_schema(text)
        except (_NotColumnarError, ValueError):
            return None
        return text

    def _batch(self, payloads: Sequence[bytes]) -> pa.RecordBatch | None:
        """Return the payloads as columns; None when any of them does not fit."""
        try:
            batch = pyruhvro.deserialize_array([payload + _END_BYTES for payload in payloads], self._text)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException:  # noqa: BLE001 - a Rust panic is a BaseException; fastavro decides record by record
            return None
        ends = batch.column(_END_FIELD).to_pylist()
        return batch if ends.count(_END) == len(payloads) else None

    def _scalars_of(self, record: dict[str, Any]) -> dict[str, Type] | None:
        kinds = _types(record)
        return kinds if kinds and all(_scalar(kind) for kind in kinds.values()) else None

    def _list(self, array: Any, name: str, record: dict[str, Any]) -> list[Any]:
        """Return one column as Python values: bytes as bytes, decimals as text, placeholders as UNAVAILABLE."""
        if _scalar(_types(record)[name]) == "bytes":
            array = array.view(pa.binary())
        values: list[Any] = array.to_pylist()
        convert = self._schema.converts.get(record["name"], {}).get(name)
        if convert is not None:
            return [convert(value) for value in values]
        if PLACEHOLDER in values or PLACEHOLDER_BYTES in values or PLACEHOLDER_BASE64 in values:
            return [available(value) for value in values]
        return values

    def _columns(self, struct: Any, record: dict[str, Any]) -> list[Columns]:
        columns = self._spec.columns
        if not columns:
            return [()] * len(struct)
        field = struct.field if isinstance(struct, pa.StructArray) else struct.column
        return list(zip(*[self._list(field(name), name, record) for name in columns], strict=True))

    def _row_plan(self) -> Callable[[Any, Sequence[bytes], Sequence[Key]], list[Decoded]] | None:
        """Return the columnar reader that this schema allows; None when single records must be judged."""
        root = self._schema.root
        kinds = _types(root)
        if self._spec.envelope == "unwrapped":
            meta = {"__op": "string", "__source_ts_ms": "long"}
            fits = all(_scalar(kinds.get(name, "null")) for name in self._spec.columns) and all(
                _scalar(kinds[name]) == kind for name, kind in meta.items() if name in kinds
            )
            # A row that carries more of the transform's fields is rarer: the rule book reads it.
            extra = kinds.keys() & {"__source_snapshot", "__source_sequence", "__source_connector"}
            return self._read_unwrapped if fits and not extra else None
        before, after, source = (self._schema.record(kinds.get(n, "null")) for n in ("before", "after", "source"))
        if before is None or after is None or source is None or kinds.get("op") != "string":
            return None
        has = _types(source)
        fits = (
            all(_scalar(_types(row).get(name, "null")) for row in (before, after) for name in self._spec.columns)
            and not isinstance(kinds["source"], list)
            and (has.get("connector"), has.get("ts_ms")) == ("string", "long")
            and all(_scalar(has.get(name, "null")) == "string" for name in ("snapshot", "sequence") if name in has)
        )
        if not fits:
            return None

        def read(batch: Any, payloads: Sequence[bytes], keys: Sequence[Key]) -> list[Decoded]:
            return self._read_enveloped(batch, payloads, keys, (before, after, has))

        return read

    def _read_enveloped(
        self,
        batch: Any,
        payloads: Sequence[bytes],
        keys: Sequence[Key],
        plan: tuple[dict[str, Any], dict[str, Any], dict[str, Type]],
    ) -> list[Decoded]:
        before_record, after_record, has = plan
        befores = self._optional(batch.column("before"), before_record)
        afters = self._optional(batch.column("after"), after_record)
        source = batch.column("source")
        nothing = [None] * len(payloads)
        out: list[Decoded] = []
        for op, before, after, key, ts_ms, snapshot, connector, sequence, payload in zip(
            batch.column("op").to_pylist(),
            befores,
            afters,
            keys,
            source.field("ts_ms").to_pylist(),
            source.field("snapshot").to_pylist() if "snapshot" in has else nothing,
            source.field("connector").to_pylist(),
            source.field("sequence").to_pylist() if "sequence" in has else nothing,
            payloads,
            strict=True,
        ):
            if op not in _ROW_OPS or (after is None) is not (op == "d"):
                out.append(self._value(payload, key))
            elif snapshot == "false" or snapshot is None:
                position = sequence if connector == "postgresql" else None
                out.append(Change(op, key, before, after, ts_ms, False, position))  # noqa: FBT003 - positional is half the cost
            else:
                out.append(Change(op, key, before, after, ts_ms, True, None))  # noqa: FBT003 - as above
        return out

    def _optional(self, struct: Any, record: dict[str, Any]) -> Sequence[Columns | None]:
        if struct.null_count == len(struct):
            return [None] * len(struct)
        rows = self._columns(struct, record)
        if struct.null_count == 0:
            return rows
        return [row if valid else None for row, valid in zip(rows, struct.is_valid().to_pylist(), strict=True)]

    def _read_unwrapped(self, batch: Any, payloads: Sequence[bytes], keys: Sequence[Key]) -> list[Decoded]:
        root = self._schema.root
        kinds = _types(root)
        nothing = [None] * len(payloads)
        out: list[Decoded] = []
        for op, deleted, ts_ms, row, key, payload in zip(
            batch.column("__op").to_pylist() if "__op" in kinds else nothing,
            batch.column("__deleted").to_pylist() if "__deleted" in kinds else nothing,
            batch.column("__source_ts_ms").to_pylist() if "__source_ts_ms" in kinds else nothing,
            self._columns(batch, root),
            keys,
            payloads,
            strict=True,
        ):
            if op is not None and op not in _ROW_OPS:
                out.append(self._value(payload, key))
            elif deleted in ("true", True) or op == "d":
                out.append(Change("d", key, row, None, ts_ms or 0, op == "r", None))
            else:
                out.append(Change(op or "u", key, None, row, ts_ms or 0, op == "r", None))
        return out


def _assert_text(values: Iterable[Any]) -> None:
    """Raise ValueError (UnicodeEncodeError) where text was not UTF-8."""
    for value in values:
        if value.__class__ is str:
            value.encode()
        elif value.__class__ is list:
            _assert_text(value)
        elif value.__class__ is dict:
            _assert_text(value.keys())
            _assert_text(value.values())


def _types(record: dict[str, Any]) -> dict[str, Type]:
    return {field["name"]: field["type"] for field in record["fields"]}


def _scalar(kind: Type) -> str | None:
    """Return the scalar that a type is, or that a union of null and one scalar holds; enums count as text."""
    if isinstance(kind, list):
        inner = [branch for branch in kind if branch != "null"]
        if len(inner) != 1 or len(kind) != 2:
            return None
        kind = inner[0]
    if isinstance(kind, dict) and kind["type"] == "enum":
        return "string"
    return kind if isinstance(kind, str) and kind in _SCALARS else None


def _columnar(kind: Type) -> Type:
    """Rewrite for the columnar decoder. Raises _NotColumnarError for a type that it lacks."""
    if isinstance(kind, str):
        if kind == "null":
            raise _NotColumnarError
        return "string" if kind == "bytes" else kind
    if isinstance(kind, list):
        inner = [branch for branch in kind if branch != "null"]
        if len(kind) != 2 or len(inner) != 1:
            raise _NotColumnarError
        return ["null" if branch == "null" else _columnar(branch) for branch in kind]
    if kind["type"] == "record":
        if not kind["fields"]:
            raise _NotColumnarError
        return kind | {"fields": [f | {"type": _columnar(f["type"])} for f in kind["fields"]]}
    if kind["type"] == "array":
        return {"type": "array", "items": _columnar(kind["items"])}
    if kind["type"] == "enum":
        return kind
    raise _NotColumnarError  # maps and fixed
