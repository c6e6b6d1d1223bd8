"""What a decoder is told about its topic, and the limits it keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Envelope = Literal["debezium", "unwrapped"]
Format = Literal["auto", "json", "avro"]
Framing = Literal[
    "confluent",
    "confluent_guid_header",
    "confluent_guid_prefix",
    "apicurio_int64",
    "apicurio_global_id_header",
    "apicurio_content_id",
    "apicurio_content_id_header",
]


@dataclass(frozen=True)
class Limits:
    """Bounds on what one record or schema may cost.

    value_bytes_max: of a key or a value as it came. items_max and depth_max: of a mapped column that is a container.
    schema_bytes_max, schema_nodes_max, schema_depth_max: of a writer's schema. schemas_max: schemas kept a topic.
    """

    value_bytes_max: int = 4_194_304
    items_max: int = 10_000
    depth_max: int = 16
    schema_bytes_max: int = 2_097_152
    schema_nodes_max: int = 20_000
    schema_depth_max: int = 32
    schemas_max: int = 1_000


@dataclass(frozen=True)
class DecodeSpec:
    """One topic: the mapped columns in their order, and how its records are written.

    format `auto` takes a record as framed when its first bytes (or its headers) say so, else as JSON.
    Raises ValueError for a column twice, or a name that JSON has to escape (a quote, a backslash, a control character).
    """

    topic: str
    columns: tuple[str, ...]
    envelope: Envelope = "debezium"
    format: Format = "auto"
    framing: Framing = "confluent"
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if len(set(self.columns)) != len(self.columns):
            raise ValueError(f"columns named twice: {self.columns}")
        for name in self.columns:
            if any(c in '"\\' or c < " " for c in name):
                raise ValueError(f"column name {name!r} has a quote, a backslash or a control character")
