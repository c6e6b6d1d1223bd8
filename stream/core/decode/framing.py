"""Where the writer's schema is named: in front of the payload, or in a header."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from stream.core.decode.spec import Framing
from stream.core.model import SchemaId

Headers = Sequence[tuple[str, bytes | None]]
Kind = Literal["id", "guid", "global_id", "content_id"]


class Prefix(NamedTuple):
    """The schema's id stands in front of the payload: a magic byte and the id's bytes."""

    magic: int
    length: int
    kind: Kind


class Header(NamedTuple):
    """The schema's id stands in a header; the payload has nothing in front."""

    key_name: str
    value_name: str
    kind: Kind


FRAMINGS: Final[dict[Framing, Prefix | Header]] = {
    "confluent": Prefix(0, 5, "id"),
    "confluent_guid_header": Header("__key_schema_id", "__value_schema_id", "guid"),
    "confluent_guid_prefix": Prefix(1, 17, "guid"),
    "apicurio_int64": Prefix(0, 9, "global_id"),
    "apicurio_global_id_header": Header("apicurio.key.globalId", "apicurio.value.globalId", "global_id"),
    "apicurio_content_id": Prefix(0, 5, "content_id"),
    "apicurio_content_id_header": Header("apicurio.key.contentId", "apicurio.value.contentId", "content_id"),
}


def of_prefix(prefix: bytes, kind: Kind) -> SchemaId:
    """Return the id in a whole prefix, the magic byte included."""
    return _schema_id(prefix[1:], kind)


def of_header(headers: Headers, name: str, kind: Kind) -> SchemaId | None:
    """Return the id in the last header of that name; None without one.

    Raises ValueError when the header holds something else.
    """
    found: bytes | None = None
    for header, content in headers:
        if header == name:
            found = content
    if found is None:
        return None
    if kind == "guid":
        if len(found) != 17 or found[0] != 1:
            raise ValueError(f"header {name}: expected 01 and 16 bytes, got {len(found)} bytes")
        return _schema_id(found[1:], kind)
    if len(found) not in (4, 8):
        raise ValueError(f"header {name}: expected 4 or 8 bytes, got {len(found)}")
    return _schema_id(found, kind)


def _schema_id(data: bytes, kind: Kind) -> SchemaId:
    if kind == "guid":
        return SchemaId(kind, str(uuid.UUID(bytes=data)))
    return SchemaId(kind, int.from_bytes(data, "big", signed=True))
