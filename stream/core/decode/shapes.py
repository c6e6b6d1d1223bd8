"""What an already parsed record means: the whole rule book, one record at a time.

The fast paths of JSON and Avro decide only what is plain; everything odd comes here.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from stream.core.decode.convert import Convert, InexactError, available
from stream.core.decode.spec import DecodeSpec
from stream.core.model import MISSING, Change, Columns, Decoded, Halt, Skip, Tombstone, Truncate, Unreadable

_SIGNAL_COLUMNS: Final = {"id", "type", "data"}
_SIGNAL_TYPES: Final = {
    "execute-snapshot",
    "stop-snapshot",
    "pause-snapshot",
    "resume-snapshot",
    "log",
    "schema-changes",
    "set-binlog-position",
    "snapshot-window-open",
    "snapshot-window-close",
}
_TRANSACTION: Final = {"status", "id", "event_count", "data_collections"}
_NOTIFICATION: Final = {"id", "aggregate_type", "type"}
_ENVELOPE: Final = {"op", "before", "after", "source"}
_NAMES_SHOWN_MAX: Final = 50
NO_CONVERSIONS: Final[Mapping[str, Convert]] = {}


class _TooLargeError(ValueError):
    """A mapped container above the limits."""


class _AbsentError(Exception):
    """A mapped column is not in the row."""

    def __init__(self, column: str, present: list[str]) -> None:
        super().__init__(column)
        self.column = column
        self.present = present


class Shapes:
    """Reads parsed records of one topic."""

    def __init__(self, spec: DecodeSpec) -> None:
        self._spec = spec
        self._wanted = frozenset(spec.columns)
        self._heartbeats = spec.topic.startswith("__debezium-heartbeat")

    def read(self, value: Any, key: dict[str, Any] | None, converts: Mapping[str, Convert] = NO_CONVERSIONS) -> Decoded:
        """Return what the parsed value means. Raises InexactError when it must be parsed with exact numbers first."""
        if value is None:
            return Tombstone(key)
        if value.__class__ is not dict:
            return Unreadable("unknown_shape", f"a {type(value).__name__} where an object is expected")
        side = self._side(value)
        if side is not None:
            return side
        try:
            if self._spec.envelope == "unwrapped":
                return self._unwrapped(value, key, converts)
            return self._enveloped(value, key, converts)
        except _AbsentError as absent:
            shown = ", ".join(name[:100] for name in absent.present[:_NAMES_SHOWN_MAX])
            return Halt(
                "missing_column",
                f"topic {self._spec.topic}: column {absent.column!r} is missing; its rows have: {shown or 'nothing'}",
            )
        except InexactError:
            raise
        except _TooLargeError as error:
            return Unreadable("too_large", str(error))
        except ValueError as error:
            return Unreadable("decimal", str(error))

    def _side(self, value: dict[str, Any]) -> Decoded | None:
        """Return the Skip of a record that is not about a row; None for everything else."""
        names = value.keys()
        if self._spec.envelope == "unwrapped" and self._spec.columns and names >= self._wanted:
            return None
        if value.get("op") == "m" and ("message" in names or "source" in names):
            return Skip("message", _ts_ms(value))
        if names >= {"op"} and self._spec.envelope == "debezium":
            return None
        if self._heartbeats or names == {"ts_ms"}:
            return Skip("heartbeat", _ts_ms(value))
        if names >= _TRANSACTION and value["status"] in ("BEGIN", "END"):
            return Skip("transaction", _ts_ms(value))
        if names >= {"ddl", "tableChanges"}:
            return Skip("schema_change", _ts_ms(value))
        if names >= _NOTIFICATION and ("additional_data" in names or "timestamp" in names):
            return Skip("notification", _ts_ms(value))
        return None

    def _enveloped(self, value: dict[str, Any], key: dict[str, Any] | None, converts: Mapping[str, Convert]) -> Decoded:
        if "specversion" in value and "op" not in value:
            if "iodebeziumop" not in value:
                return Unreadable("unknown_shape", "a CloudEvent without Debezium's own attributes (iodebeziumop …)")
            if value["iodebeziumop"] == "m":
                return Skip("message")
            if value.get("data").__class__ is not dict:
                return Unreadable(
                    "unknown_shape",
                    "a CloudEvent whose data is no JSON object: set value.converter.data.serializer.type=json",
                )
            value = _of_cloud_event(value)
        op = value.get("op", MISSING)
        if op is MISSING:
            return Unreadable("unknown_shape", "no `op`: not a Debezium envelope (envelope: unwrapped?)")
        source = value.get("source")
        source = source if source.__class__ is dict else {}
        ts_ms = _int(source.get("ts_ms"))
        if op == "t":
            return Truncate(ts_ms)
        if op not in ("c", "r", "u", "d"):
            return Unreadable("unknown_op", f"op {str(op)[:20]!r}")
        before, after = value.get("before"), value.get("after")
        for name, row in (("before", before), ("after", after)):
            if row is not None and row.__class__ is not dict:
                return Unreadable("unknown_shape", f"`{name}` is a {type(row).__name__}, not an object")
        if (after is None) != (op == "d"):
            return Unreadable("unknown_shape", f"op {op} {'without' if after is None else 'with'} `after`")
        if self._signal(before) or self._signal(after):
            return Skip("signal", ts_ms)
        snapshot = _snapshot(source.get("snapshot"))
        sequence = source.get("sequence")
        streamed = not snapshot and source.get("connector") == "postgresql" and isinstance(sequence, str)
        return Change(
            op,
            key,
            None if before is None else self._columns(before, converts, required=False),
            None if after is None else self._columns(after, converts, required=True),
            ts_ms,
            snapshot,
            sequence if streamed else None,
        )

    def _unwrapped(self, row: dict[str, Any], key: dict[str, Any] | None, converts: Mapping[str, Convert]) -> Decoded:
        ts_ms = _int(row.get("__source_ts_ms"))
        if self._signal({name: row[name] for name in row if not name.startswith("__")}):
            return Skip("signal", ts_ms)
        if row.keys() >= _ENVELOPE and not _ENVELOPE & self._wanted:
            return Unreadable("unknown_shape", "a Debezium envelope in a topic of unwrapped rows (envelope: debezium?)")
        op = row.get("__op")
        deleted = op == "d" or row.get("__deleted") in ("true", True)
        if op not in ("c", "r", "u", "d", None):
            return Unreadable("unknown_op", f"__op {str(op)[:20]!r}")
        snapshot = op == "r" or _snapshot(row.get("__source_snapshot"))
        sequence = row.get("__source_sequence")
        streamed = not snapshot and row.get("__source_connector") == "postgresql" and isinstance(sequence, str)
        columns = self._columns(row, converts, required=not deleted)
        return Change(
            "d" if deleted else op or "u",
            key,
            columns if deleted else None,
            None if deleted else columns,
            ts_ms,
            snapshot,
            sequence if streamed else None,
        )

    def _columns(self, row: dict[str, Any], converts: Mapping[str, Convert], *, required: bool) -> Columns:
        columns = []
        limits = self._spec.limits
        for name in self._spec.columns:
            value = row.get(name, MISSING)
            if value is MISSING:
                if required:
                    raise _AbsentError(name, [str(n) for n in row])
            elif name in converts:
                value = converts[name](value)
            else:
                value = available(value)
                if value.__class__ is Decimal:
                    value = float(value)
                elif value.__class__ in (list, dict):
                    _bounded(value, limits.items_max, limits.depth_max)
            columns.append(value)
        return tuple(columns)

    def _signal(self, row: dict[str, Any] | None) -> bool:
        """Whether this is a row of the signalling table, in a topic whose mapping wants other columns."""
        if row is None or row.keys() != _SIGNAL_COLUMNS or self._wanted <= _SIGNAL_COLUMNS:
            return False
        kind = row["type"]
        return not kind or str(kind) in _SIGNAL_TYPES or str(row["id"]).endswith(("-open", "-close"))


def _bounded(value: Any, items_max: int, depth_max: int) -> None:
    """Raise _TooLargeError unless all containers in value together hold at most items_max, nested at most depth_max."""
    items = 0
    level = [value]
    for _ in range(depth_max):
        below: list[Any] = []
        for container in level:
            items += len(container)
            if items > items_max:
                raise _TooLargeError(f"a mapped column holds more than {items_max} items")
            inner = container.values() if container.__class__ is dict else container
            below.extend(v for v in inner if v.__class__ in (list, dict))
        if not below:
            return
        level = below
    raise _TooLargeError(f"a mapped column is nested deeper than {depth_max}")


def _of_cloud_event(event: dict[str, Any]) -> dict[str, Any]:
    """The envelope that Debezium's CloudEventsConverter took apart: op and source are attributes, all of them text."""
    rows = event["data"]
    ts_ms = str(event.get("iodebeziumtsms"))
    return {
        "op": event["iodebeziumop"],
        "before": rows.get("before"),
        "after": rows.get("after"),
        "source": {
            "ts_ms": int(ts_ms) if ts_ms.isascii() and ts_ms.isdecimal() and len(ts_ms) < 16 else 0,
            **{name: event.get(f"iodebezium{name}") for name in ("connector", "sequence", "snapshot")},
        },
    }


def _int(value: Any) -> int:
    return value if value.__class__ is int else 0


def _ts_ms(value: dict[str, Any]) -> int:
    source = value.get("source")
    inner = _int(source.get("ts_ms")) if source.__class__ is dict else 0
    return inner or _int(value.get("ts_ms"))


def _snapshot(value: Any) -> bool:
    return value not in (None, "false", False)
