"""Tables that others point to: their rows say a segment's code, or who a customer is."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stream.settings.kinds import Envelope, Format, Framing, Problems, Section, Text, TopicName
from stream.settings.tables import IDENTITIES

Kind = Literal["id", "number", "email"]


class Reference(Section):
    """A topic that every instance reads whole."""

    topic: TopicName = Field(description="the topic of the table")
    key: Text = Field(description="the column that other tables point to")
    code: Text | None = Field(default=None, description="the column that holds the segment's code")
    id: Text | None = Field(default=None, description="the column that holds the retail.red customer id")
    number: Text | None = Field(
        default=None, description="the column that holds the customer's number (externalCustomerNumber at retail.red)"
    )
    email: Text | None = Field(default=None, description="the column that holds the customer's email")
    prefer: Annotated[tuple[Kind, ...], Field(max_length=3)] | None = Field(
        default=None, description="the order in which id, number and email are tried; null: that order"
    )
    envelope: Envelope = "debezium"
    format: Format = "auto"
    framing: Framing = "confluent"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.code is None and not self._known_by:
            raise ValueError("holds none of code, id, number, email: nothing would be kept of its rows")
        if self.prefer is not None and sorted(self.prefer) != sorted(self._known_by):
            has = ", ".join(self._known_by) or "none"
            raise Problems([(("prefer",), f"lists not each of id, number, email that has a column once ({has})")])
        return self

    @property
    def _known_by(self) -> tuple[Kind, ...]:
        return tuple(kind for kind in IDENTITIES if getattr(self, kind) is not None)

    @property
    def terms(self) -> tuple[tuple[str, str], ...]:
        """How its rows identify a customer, the preferred first: kind (id, number, email) and column."""
        return tuple((kind, getattr(self, kind)) for kind in self.prefer or self._known_by)
