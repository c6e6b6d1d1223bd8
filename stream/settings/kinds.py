"""The kinds of values that settings are made of, each strict where YAML or a shell would guess."""

import ipaddress
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, StringConstraints

PathOfKeys = tuple[str, ...]

TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)


class Problems(ValueError):
    """Several things wrong at once, each with the path below the validated value and one line of text."""

    def __init__(self, problems: Iterable[tuple[PathOfKeys, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(text for _, text in self.problems))


class Section(BaseModel):
    """A group of settings: unknown keys are refused, nothing changes after loading, and errors do not quote values."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


def _text(value: Any) -> Any:
    # `merchant: 10006` is what people write; 1.10 or true would come back changed, so those must be quoted
    if type(value) is int:
        return str(value)
    if type(value) in (float, bool):
        raise ValueError("is not text: put it in quotes")
    return value


def _number(value: Any) -> Any:
    if type(value) is bool:
        raise ValueError("is not a number")
    return value


def _start(value: Any) -> Any:
    if value is None or value in ("beginning", "end") or (isinstance(value, datetime) and value.tzinfo):
        return value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is not None:
            if moment.tzinfo is None:
                raise ValueError("has no time zone: end it with Z or an offset such as +02:00")
            return moment
    raise ValueError("is none of beginning, end, or a time such as 2026-01-31T06:00:00Z")


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not an http or https URL with a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds credentials: they belong in their own settings and files")
    if parts.query or parts.fragment:
        raise ValueError("holds a query or a fragment: a base URL has neither")
    return value.rstrip("/")


def is_plain_http(url: str) -> bool:
    """Whether what is sent to the URL can be read on the way: http, and not to this machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname)


Text = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | int), StringConstraints(min_length=1)]
Url = Annotated[Text, BeforeValidator(lambda value: _url(value) if isinstance(value, str) else value)]
Count = Annotated[int, BeforeValidator(_number)]
# the range stands inside: put around a validator that is optional, it would not reach the JSON Schema
Replicas = Annotated[int, Field(ge=1, le=32_767), BeforeValidator(_number)]
Seconds = Annotated[float, BeforeValidator(_number)]
Scalar = str | int | bool | None
Start = Annotated[
    Literal["beginning", "end"] | datetime | None, PlainValidator(_start, json_schema_input_type=str | None)
]
TopicName = Annotated[Text, Field(pattern=f"^{TOPIC.pattern}$")]

Envelope = Annotated[
    Literal["debezium", "unwrapped"],
    Field(description="debezium, or unwrapped where ExtractNewRecordState runs"),
]
Format = Annotated[
    Literal["auto", "json", "avro"], Field(description="auto: framed Avro where the first byte is 0, else JSON")
]
Framing = Annotated[
    Literal[
        "confluent",
        "confluent_guid_header",
        "confluent_guid_prefix",
        "apicurio_int64",
        "apicurio_global_id_header",
        "apicurio_content_id",
        "apicurio_content_id_header",
    ],
    Field(description="how the schema's id travels; they cannot be told apart by their bytes"),
]
ReplicaIdentity = Annotated[
    Literal["default", "full"],
    Field(description="full only with REPLICA IDENTITY FULL: else the old row of an event is never believed"),
]
