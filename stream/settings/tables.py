"""How a table's rows become memberships, as the operator writes it."""

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from stream.settings.kinds import Envelope, Format, Framing, Problems, ReplicaIdentity, Scalar, Section, Text

_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_$.-]{0,127}", re.ASCII)
_CODE_TEXT = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_BRACES = re.compile(r"\{([^{}]*)\}")

Part = tuple[Literal["text", "column"], str]

IDENTITIES: Final = ("id", "number", "email")
"""What a customer can be known by, in the order in which references prefer them."""

MEMBERS_MAX: Final = 4
_FEW: Final = Field(min_length=1, max_length=MEMBERS_MAX)
_MOVES: Final = (
    "cannot be membership where the member is {}: it can come to mean another customer, whose rows may be in another "
    "partition; use none, and run one instance"
)


class Segment(Section):
    """Which segment a row means: exactly one of column, template, constant, reference."""

    column: Text | None = Field(default=None, description="the column that holds the segment's code")
    template: Text | None = Field(default=None, description="text with columns in braces, such as tier-{tier}")
    constant: Text | None = Field(default=None, description="one code for every row of the table")
    reference: Text | None = Field(
        default=None, description="one of the references, whose row holds the code; needs `by`"
    )
    by: Text | None = Field(default=None, description="the column that holds the key of the reference's row")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(value is not None for value in (self.column, self.template, self.constant, self.reference)) != 1:
            raise ValueError("holds not exactly one of column, template, constant, reference")
        _check_by(self.reference, self.by)
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
        """The code as literal text and columns, in order; with a reference the one column that holds its key."""
        if self.column is not None:
            return (("column", self.column),)
        if self.by is not None:
            return (("column", self.by),)
        if self.constant is not None:
            return (("text", self.constant),)
        pieces = _BRACES.split(self.template or "")
        # split() puts what the group matched at the odd places
        named: list[Part] = [("column" if i % 2 else "text", piece) for i, piece in enumerate(pieces)]
        return tuple(part for part in named if part[1] or part[0] == "column")


class Member(Section):
    """One way to say which customer a row means: exactly one of id, email, number, reference."""

    id: Text | None = Field(default=None, description="the column that holds the retail.red customer id")
    email: Text | None = Field(default=None, description="the column that holds the customer's email")
    number: Text | None = Field(
        default=None, description="the column that holds the customer's number (externalCustomerNumber at retail.red)"
    )
    reference: Text | None = Field(
        default=None, description="one of the references, whose row identifies the customer; needs `by`"
    )
    by: Text | None = Field(default=None, description="the column that holds the key of the reference's row")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(value is not None for value in (self.id, self.email, self.number, self.reference)) != 1:
            raise ValueError("holds not exactly one of id, email, number, reference")
        _check_by(self.reference, self.by)
        return self

    @property
    def term(self) -> tuple[str, str]:
        """The kind (id, email, number or `ref:<name>`) and the column."""
        if self.reference is not None:
            return f"ref:{self.reference}", self.by or ""
        return next((kind, column) for kind in IDENTITIES if (column := getattr(self, kind)) is not None)


def _check_by(reference: str | None, by: str | None) -> None:
    if (reference is None) != (by is None):
        raise ValueError("has only one of reference and by")


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


Conditions = Annotated[
    tuple[Condition, ...],
    BeforeValidator(_conditions, json_schema_input_type=Condition | list[Condition] | None),
    Field(max_length=20, description="when a row counts; all conditions must hold; left out: every row counts"),
]


def _list(value: Any) -> Any:
    if value == []:
        raise ValueError("is empty")
    return (value,) if isinstance(value, (dict, Member)) else value


class Table(Section):
    """One table's topic, or all topics that a pattern matches."""

    segment: Segment = Field(
        description="which segment a row means: {column: …}, {template: …}, {constant: …} or {reference: …, by: …}"
    )
    members: Annotated[
        tuple[Member, ...], BeforeValidator(_list, json_schema_input_type=Member | Annotated[list[Member], _FEW])
    ] = Field(
        alias="member",
        max_length=MEMBERS_MAX,
        description="which customer a row means: {id: …}, {email: …}, {number: …} or {reference: …, by: …}, each with a "
        "column; or a list of up to 4, the preferred one first",
    )
    present: Conditions = ()
    envelope: Envelope = "debezium"
    format: Format = "auto"
    framing: Framing = "confluent"
    replica_identity: ReplicaIdentity = "default"
    partitioned_by: Literal["none", "membership", "segment"] = Field(
        default="none",
        description="what the record key holds: none means that one instance must own every partition; "
        "membership: segment and member columns; segment: all of a segment is in one partition",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        terms = self.terms
        if len(set(terms)) < len(terms):
            raise Problems([(("member",), "lists the same column twice")])
        if sum(kind.startswith("ref:") for kind, _ in terms) > 1:
            raise Problems([(("member",), "lists more than one reference")])
        if self.partitioned_by == "membership" and len(terms) > 1:
            raise Problems([(("partitioned_by",), _MOVES.format("one of a list"))])
        if self.partitioned_by == "membership" and terms[0][0] not in ("id", "number"):
            what = "an email" if terms[0][0] == "email" else "a reference"
            raise Problems([(("partitioned_by",), _MOVES.format(what))])
        return self

    @property
    def terms(self) -> tuple[tuple[str, str], ...]:
        """Which customer a row means, the preferred first: kind (id, email, number or `ref:<name>`) and column."""
        return tuple(member.term for member in self.members)

    @property
    def references(self) -> tuple[tuple[Literal["segment", "member"], str], ...]:
        """The references that are used, and for what."""
        found: list[tuple[Literal["segment", "member"], str]] = []
        if self.segment.reference is not None:
            found.append(("segment", self.segment.reference))
        found += [("member", member.reference) for member in self.members if member.reference is not None]
        return tuple(found)
