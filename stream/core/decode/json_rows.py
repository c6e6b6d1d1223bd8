"""JSON, with and without the inline schema, mixed as they come.

The fast path is one msgspec call into structs built from the mapped columns. It accepts only what is plain: every
mapped column there and a scalar. Whatever it refuses is read again by the slow path, which knows the whole rule book
(`shapes`).

The inline schema is most of such a record, and the same from record to record. So its text is learned once: a record
that starts with `{"schema":<learned>,"payload":` and whose rest, less the closing brace, is one JSON value has exactly
the two keys {schema, payload}, and only the payload is parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec.structs import astuple

from stream.core.decode.convert import (
    PLACEHOLDER,
    PLACEHOLDER_BASE64,
    Convert,
    InexactError,
    clean,
    of_envelope,
    of_fields,
)
from stream.core.decode.shapes import NO_CONVERSIONS, Shapes
from stream.core.decode.spec import DecodeSpec
from stream.core.model import Change, Columns, Decoded, Tombstone, Unreadable

Scalar = str | int | float | bool | None
Key = dict[str, Any] | None
ERRORS: Final = (msgspec.MsgspecError, RecursionError, ValueError)
_SCHEMA_FIRST: Final = b'{"schema":'
_PAYLOAD: Final = b',"payload":'
_PREFIXES_MAX: Final = 8
_META: Final = ("__op", "__deleted", "__source_ts_ms", "__source_snapshot", "__source_connector", "__source_sequence")


class _Source(msgspec.Struct, gc=False):
    connector: str
    ts_ms: int
    snapshot: str | None = None
    sequence: str | None = None


class _Wrapped(msgspec.Struct, gc=False):
    schema: msgspec.Raw
    payload: msgspec.Raw


class _Prefix(NamedTuple):
    """The learned start of a record: its text, its length, and what the mapped columns need (index, conversion)."""

    text: bytes
    length: int
    converts: dict[str, Convert]
    indexed: tuple[tuple[int, Convert], ...]


_parse = msgspec.json.Decoder().decode
_parse_exact = msgspec.json.Decoder(float_hook=Decimal).decode
_wrapped = msgspec.json.Decoder(_Wrapped).decode
_key_scalars = msgspec.json.Decoder(dict[str, Scalar] | None).decode


class JsonRows:
    """Reads JSON keys and values of one topic."""

    def __init__(self, spec: DecodeSpec) -> None:
        self._spec = spec
        self._shapes = Shapes(spec)
        self._unwrapped = spec.envelope == "unwrapped"
        # A mapping that reads one of the transform's own fields as a column gives up the fast path.
        self._plain = not (self._unwrapped and set(spec.columns) & set(_META))
        self._fast: Callable[[Any], Any] = msgspec.json.Decoder(_row_or_envelope(spec, plain=self._plain)).decode
        self._prefixes: dict[bytes, _Prefix] = {}
        self._prefix: _Prefix | None = None
        self._key_prefix: _Prefix | None = None

    def read(
        self, keys: Sequence[bytes | None], values: Sequence[bytes | None], out: list[Decoded], magic: bytes | None
    ) -> int | None:
        """Append one item a record, and return None.

        Stop at the first record whose unreadable key or value starts with the byte `magic`, and return its index.
        """
        fast = self._fast_unwrapped if self._unwrapped else self._fast_enveloped
        append = out.append
        size_max = self._spec.limits.value_bytes_max
        read_key = self.key
        for i, (key_bytes, value) in enumerate(zip(keys, values, strict=True)):
            prefix = self._key_prefix
            if key_bytes is None:
                key: Key | Unreadable = None
            elif prefix is not None or len(key_bytes) > size_max:
                key = read_key(key_bytes)
            else:
                try:
                    key = _key_scalars(key_bytes)
                except ERRORS:
                    key = read_key(key_bytes)
            if key.__class__ is Unreadable:
                if magic is not None and magic in (key_bytes[:1], (value or b"")[:1]):  # type: ignore[index]
                    return i
                append(key)
            elif value is None:
                append(Tombstone(key))  # type: ignore[arg-type]
            elif len(value) > size_max:
                append(self.slow(value, key))  # type: ignore[arg-type]
            else:
                try:
                    append(fast(value, key))  # type: ignore[arg-type]
                except ERRORS:
                    if value[:1] == magic:
                        return i
                    append(self.slow(value, key))  # type: ignore[arg-type]
        return None

    def one(self, value: bytes, key: Key) -> Decoded:
        """Return what one JSON value means. Never raises."""
        if len(value) > self._spec.limits.value_bytes_max:
            return self.slow(value, key)
        try:
            return (self._fast_unwrapped if self._unwrapped else self._fast_enveloped)(value, key)
        except ERRORS:
            return self.slow(value, key)

    def _fast_enveloped(self, value: bytes, key: Key) -> Decoded:
        prefix = self._prefix
        if prefix is not None and value.startswith(prefix.text) and value.endswith(b"}"):
            env = self._fast(value[prefix.length : -1])
        else:
            prefix = None
            env = self._fast(value)
        if env is None:
            return Tombstone(key)
        op = env.op
        before = env.before
        after = env.after
        if (after is None) is not (op == "d"):
            raise ValueError("op and after disagree")
        if after is not None:
            after = astuple(after)
            if PLACEHOLDER in after or PLACEHOLDER_BASE64 in after:
                after = clean(after)
            if prefix is not None and prefix.indexed:
                after = _converted(after, prefix.indexed)
        if before is not None:
            before = astuple(before)
            if PLACEHOLDER in before or PLACEHOLDER_BASE64 in before:
                before = clean(before)
            if prefix is not None and prefix.indexed:
                before = _converted(before, prefix.indexed)
        source = env.source
        snapshot = source.snapshot
        if snapshot == "false" or snapshot is None:
            position = source.sequence if source.connector == "postgresql" else None
            return Change(op, key, before, after, source.ts_ms, False, position)  # noqa: FBT003 - positional is half the cost
        return Change(op, key, before, after, source.ts_ms, True, None)  # noqa: FBT003 - as above

    def _fast_unwrapped(self, value: bytes, key: Key) -> Decoded:
        prefix = self._prefix
        if prefix is not None and value.startswith(prefix.text) and value.endswith(b"}"):
            row = self._fast(value[prefix.length : -1])
        else:
            prefix = None
            row = self._fast(value)
        if row is None:
            return Tombstone(key)
        if not self._plain:
            raise ValueError("a mapped column is one of the transform's own")
        fields = astuple(row)
        op, deleted, ts_ms, snapshot, connector, sequence = fields[: len(_META)]
        columns = fields[len(_META) :]
        if PLACEHOLDER in columns or PLACEHOLDER_BASE64 in columns:
            columns = clean(columns)
        if prefix is not None and prefix.indexed:
            columns = _converted(columns, prefix.indexed)
        if snapshot not in (None, "false", False):
            op, streamed = "r", False
        else:
            streamed = op != "r"
        position = sequence if streamed and connector == "postgresql" else None
        if deleted in ("true", True) or op == "d":
            return Change("d", key, columns, None, ts_ms or 0, not streamed, position)
        return Change(op or "u", key, None, columns, ts_ms or 0, not streamed, position)

    def key(self, data: bytes) -> Key | Unreadable:
        """Return a key's fields in wire order. A bare scalar (a key made by ExtractField) is a field without a name."""
        if len(data) > self._spec.limits.value_bytes_max:
            return Unreadable("too_large", f"a key of {len(data)} bytes")
        prefix = self._key_prefix
        try:
            if prefix is not None and data.startswith(prefix.text) and data.endswith(b"}"):
                key = _parse(data[prefix.length : -1])
                converts: Any = prefix.converts
            else:
                key, converts = self._unschemed(_parse(data), of_fields)
                if data.startswith(_SCHEMA_FIRST):
                    self._key_prefix = self._learned(data, converts) or prefix
            if key.__class__ is dict:
                for name, convert in converts.items():
                    if name in key:
                        key[name] = convert(key[name])
                return key
        except ERRORS as error:
            return Unreadable("key", f"key: {_why(error)}")
        if key.__class__ is list:
            return Unreadable("key", "key: a list where an object is expected")
        return None if key is None else {"": key}

    def slow(self, value: bytes, key: Key) -> Decoded:
        """Return what any bytes mean. Never raises."""
        limits = self._spec.limits
        if len(value) > limits.value_bytes_max:
            return Unreadable("too_large", f"a value of {len(value)} bytes, the limit is {limits.value_bytes_max}")
        try:
            of_schema = of_fields if self._unwrapped else of_envelope
            if value.startswith(_SCHEMA_FIRST):
                for prefix in self._prefixes.values():
                    if prefix is not self._prefix and value.startswith(prefix.text):
                        self._prefix = prefix
                        return self.one(value, key)
            payload, converts = self._unschemed(_parse(value), of_schema)
            if converts is not NO_CONVERSIONS and value.startswith(_SCHEMA_FIRST):
                learned = self._learned(value, converts)
                if learned is not None:
                    self._prefix = learned
                    if len(self._prefixes) >= _PREFIXES_MAX:
                        del self._prefixes[next(iter(self._prefixes))]
                    self._prefixes[learned.text] = learned
            try:
                return self._shapes.read(payload, key, converts)
            except InexactError:
                exact, _ = self._unschemed(_parse_exact(value), of_schema)
                return self._shapes.read(exact, key, converts)
        except ERRORS as error:
            return Unreadable("json", _why(error))

    def _unschemed(self, value: Any, of_schema: Callable[[object], dict[str, Convert]]) -> tuple[Any, Any]:
        """Return the payload and its conversions where the value is exactly {schema, payload}; else the value."""
        if value.__class__ is dict and value.keys() == {"schema", "payload"}:
            schema = value["schema"]
            if schema is None or (schema.__class__ is dict and "type" in schema):
                return value["payload"], of_schema(schema)
        if value.__class__ is dict and "specversion" in value and "data" in value:
            # of a CloudEvent the data alone has a schema
            data, converts = self._unschemed(value["data"], of_schema)
            return {**value, "data": data}, converts
        return value, NO_CONVERSIONS

    def _learned(self, value: bytes, converts: dict[str, Convert]) -> _Prefix | None:
        """Return the text before the payload, where the writer put the schema first and no blanks between."""
        wrapped = _wrapped(value)
        text = _SCHEMA_FIRST + bytes(wrapped.schema) + _PAYLOAD
        if not value.startswith(text) or converts is NO_CONVERSIONS:
            return None
        indexed = tuple((i, converts[name]) for i, name in enumerate(self._spec.columns) if name in converts)
        return _Prefix(text, len(text), converts, indexed)


def _row_or_envelope(spec: DecodeSpec, *, plain: bool) -> Any:
    """Build the type that the fast path decodes into: `Envelope | None`, or `Row | None` of an unwrapped topic."""
    names = {f"c{i}": name for i, name in enumerate(spec.columns)}
    columns: list[Any] = [(field, Scalar) for field in names]
    if spec.envelope == "unwrapped":
        own: list[Any] = []
        if plain:
            names |= {f"m{i}": name for i, name in enumerate(_META)}
            own = [
                ("m0", Literal["c", "r", "u", "d"] | None, None),
                ("m1", str | bool | None, None),
                ("m2", int | None, None),
                ("m3", str | bool | None, None),
                ("m4", str | None, None),
                ("m5", str | None, None),
            ]
        # Only keyword-only fields may follow those with defaults; the order of astuple is that of definition.
        row = msgspec.defstruct("Row", own + columns, rename=names, gc=False, kw_only=True)
        return row | None
    row = msgspec.defstruct("Row", columns, rename=names, gc=False)
    envelope = msgspec.defstruct(
        "Envelope",
        [
            ("op", Literal["c", "r", "u", "d"]),
            ("source", _Source),
            ("before", row | None, None),
            ("after", row | None, None),
        ],
        gc=False,
    )
    return envelope | None


def _converted(columns: Columns, indexed: tuple[tuple[int, Convert], ...]) -> Columns:
    values = list(columns)
    for i, convert in indexed:
        values[i] = convert(values[i])
    return tuple(values)


def _why(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return f"{error}"[:200]
