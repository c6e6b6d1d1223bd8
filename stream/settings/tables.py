"""How a table's rows become memberships, as the operator writes it."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from stream.settings.kinds import Scalar, Section, Text

_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_$.-]{0,127}", re.ASCII)
_CODE_TEXT = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_BRACES = re.compile(r"\{([^{}]*)\}")

Part = tuple[Literal["text", "column"], str]


class Segment(Section):
    """Which segment a row means: exactly one of the three."""

    column: Text | None = Field(default=None, description="the column that holds the segment's code")
    template: Text | None = Field(default=None, description="text with columns in braces, such as tier-{tier}")
    constant: Text | None = Field(default=None, description="one code for every row of the table")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(value is not None for value in (self.column, self.template, self.constant)) != 1:
            raise ValueError("holds not exactly one of column, template, constant")
        parts = self.parts
        for kind, text in parts:
            if kind == "column" and not _COLUMN.fullmatch(text):
                raise ValueError(f"names {text!r}, which is no plain column name")
            if kind == "text" and not _CODE_TEXT.fullmatch(text):
                raise ValueError(f"holds {text!r}: segment codes are made of A-Z a-z 0-9 . _ - only, at most 128")
        if self.template is not None and all(kind == "text" for kind, _ in parts):
            raise ValueError("is a template without a {column}: write it as constant")
        if self.constant is not None and not self.constant.strip("."):
            raise ValueError("is a code of dots only, which would change a URL's path")
        return self

    @property
    def parts(self) -> tuple[Part, ...]:
        """The code as literal text and columns, in order."""
        if self.column is not None:
            return (("column", self.column),)
        if self.constant is not None:
            return (("text", self.constant),)
        pieces = _BRACES.split(self.template or "")
        # split() puts what the group matched at the odd places
        named: list[Part] = [("column" if i % 2 else "text", piece) for i, piece in enumerate(pieces)]
        return tuple(part for part in named if part[1] or part[0] == "column")


class Member(Section):
    """Which customer a row means."""

    id: Text = Field(description="the column that holds the retail.red customer id")


class Condition(Section):
    """One test of a column: exactly one of is, is_not, in, not_in."""

    column: Text = Field(description="the column to test")
    is_: Scalar = Field(
        default=None, alias="is", description="the row is present where the column equals this; null counts"
    )
    is_not: Scalar = Field(
        default=None, description="the row is present where the column differs from this; null counts"
    )
    in_: tuple[Scalar, ...] | None = Field(default=None, alias="in", max_length=1000, description="one of these values")
    not_in: tuple[Scalar, ...] | None = Field(default=None, max_length=1000, description="none of these values")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self._given) != 1:
            raise ValueError("holds not exactly one of is, is_not, in, not_in")
        if self._given <= {"in_", "not_in"} and not self.values:
            raise ValueError("lists no value")
        return self

    @property
    def _given(self) -> set[str]:
        # `is: null` is a test, `is` left out is none: only the set of given fields tells them apart
        return self.model_fields_set - {"column"}

    @property
    def test(self) -> Literal["in", "not_in"]:
        """Whether the column's value must be among `values` or must not."""
        return "in" if self._given <= {"is_", "in_"} else "not_in"

    @property
    def values(self) -> tuple[Scalar, ...]:
        """What the column's value is compared with."""
        (name,) = self._given
        value = getattr(self, name)
        return (value,) if name in ("is_", "is_not") else tuple(value or ())


def _conditions(value: Any) -> Any:
    if value is None:
        return ()
    return (value,) if isinstance(value, (dict, Condition)) else value


class Table(Section):
    """One table's topic, or all topics that a pattern matches."""

    segment: Segment = Field(description="which segment a row means: {column: …}, {template: …} or {constant: …}")
    member: Member = Field(description="which customer a row means: {id: column}")
    present: Annotated[
        tuple[Condition, ...],
        BeforeValidator(_conditions, json_schema_input_type=Condition | list[Condition] | None),
    ] = Field(
        default=(), max_length=20, description="when a row counts; all conditions must hold; left out: every row counts"
    )
    envelope: Literal["debezium", "unwrapped"] = Field(
        default="debezium", description="debezium, or unwrapped where ExtractNewRecordState runs"
    )
    format: Literal["auto", "json", "avro"] = Field(
        default="auto", description="auto: framed Avro where the first byte is 0, else JSON"
    )
    framing: Literal[
        "confluent",
        "confluent_guid_header",
        "confluent_guid_prefix",
        "apicurio_int64",
        "apicurio_global_id_header",
        "apicurio_content_id",
        "apicurio_content_id_header",
    ] = Field(default="confluent", description="how the schema's id travels; they cannot be told apart by their bytes")
    replica_identity: Literal["default", "full"] = Field(
        default="default",
        description="full only with REPLICA IDENTITY FULL: else the old row of an event is never believed",
    )
    partitioned_by: Literal["none", "membership", "segment"] = Field(
        default="none",
        description="what the record key holds: none means that one instance must own every partition; "
        "membership: segment and member columns; segment: all of a segment is in one partition",
    )
