"""The captured events in every encoding, and what each means: worked out from the plain JSON without the decoder."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

from stream.core.decode import DecodeSpec, TopicDecoder
from stream.core.model import SchemaId, Slice, TopicPartition

DATA = Path(__file__).parents[2] / "data" / "debezium"
EVENTS: list[dict[str, Any]] = [
    json.loads(line) for line in gzip.decompress((DATA / "events.jsonl.gz").read_bytes()).splitlines()
]
SCHEMAS: dict[int, str] = {
    int(n): json.dumps(s) for n, s in json.loads((DATA / "avro-schemas.json").read_text()).items()
}
COLUMNS: dict[str, tuple[str, ...]] = {
    "srv.public.customers": ("id", "email", "note"),
    "srv.public.segment_members": ("segment_id", "customer_id", "added_at"),
    "srv.public.segments": ("code", "name", "score", "anynum", "d", "ts", "active"),
    "srv.public.fullri": ("segment_id", "customer_id", "w", "big"),
    "srv.public.idxri": ("segment_id", "customer_id", "note"),
    "srv.public.nopk": ("a", "b"),
    "srv.public.nothingri": ("id", "v"),
}
"""The mapped columns of each table; side topics are given the last one's, which they lack."""
SCALES = {"score": 2}


def raw(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def framed(text: str | None) -> bytes | None:
    return base64.b64decode(text) if text else None


def spec(topic: str, **more: Any) -> DecodeSpec:
    return DecodeSpec(topic, more.pop("columns", COLUMNS.get(topic, ("segment_id", "customer_id"))), **more)


def decoder(topic: str, **more: Any) -> TopicDecoder:
    made = TopicDecoder(spec(topic, **more))
    for number, text in SCHEMAS.items():
        made.learn(SchemaId("id", number), text)
    return made


def slice_of(
    records: list[tuple[bytes | None, bytes | None]], headers: list[list[tuple[str, bytes | None]]] | None = None
) -> Slice:
    keys, values = [k for k, _ in records], [v for _, v in records]
    many = range(len(records))
    return Slice(
        TopicPartition("t", 0),
        1,
        list(many),
        keys,
        values,
        [0] * len(records),
        list(many),
        lambda i: headers[i] if headers else [],
    )


def one(made: TopicDecoder, key: bytes | None, value: bytes | None) -> Any:
    decoded = made.decode(slice_of([(key, value)]))
    assert decoded.needs is None
    assert len(decoded.items) == 1
    return decoded.items[0]


def decimal(text: str | None, scale: int) -> str | None:
    """Base64 of unscaled bytes as decimal text, by another road than the decoder's."""
    if text is None:
        return None
    from decimal import Decimal  # noqa: PLC0415 - only here

    return f"{Decimal(int.from_bytes(base64.b64decode(text), 'big', signed=True)).scaleb(-scale):f}"


def meaning(event: dict[str, Any], *, exact: bool) -> Any:
    """What an event means, as plain tuples. exact: decimals are known (Avro, or JSON with its schema)."""
    key = json.loads(event["key"]) if event["key"] else None
    value = json.loads(event["value"]) if event["value"] else None
    if value is None:
        return ("tombstone", key)
    if "op" not in value:
        return ("skip", "transaction", value["ts_ms"])
    source = value["source"]
    if value["op"] == "m":
        return ("skip", "message", source["ts_ms"])
    if value["op"] == "t":
        return ("truncate", source["ts_ms"])
    snapshot = source["snapshot"] != "false"

    def row(columns: dict[str, Any] | None) -> tuple[Any, ...] | None:
        return (
            None if columns is None else tuple(column(columns, name, exact=exact) for name in COLUMNS[event["topic"]])
        )

    position = None if snapshot else source["sequence"]
    return ("change", value["op"], key, row(value["before"]), row(value["after"]), source["ts_ms"], snapshot, position)


def column(columns: dict[str, Any], name: str, *, exact: bool) -> Any:
    value = columns[name]
    if exact and name in SCALES:
        return decimal(value, SCALES[name])
    if exact and name == "anynum" and value is not None:
        return decimal(value["value"], value["scale"])
    return value


def plain(decoded: Any) -> Any:
    """A decoded item as the plain tuples of `meaning`."""
    kind = type(decoded).__name__.lower()
    return (kind, *(getattr(decoded, name) for name in decoded.__struct_fields__))
