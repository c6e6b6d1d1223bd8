"""Segments themselves: whether missing ones are created, and the table that says what they are called."""

from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from stream.settings.kinds import Envelope, Format, Framing, Problems, Section, Text, TopicName
from stream.settings.tables import Conditions

_OF_THE_TOPIC: Final = (
    "name",
    "description",
    "present",
    "on_delete",
    "envelope",
    "format",
    "framing",
)


class Segments(Section):
    """Whether segments are created, and where their names come from."""

    create_missing: bool = Field(
        default=False, description="create a segment that retail.red does not have, as a fixed one"
    )
    topic: TopicName | None = Field(
        default=None, description="the topic of the table of segments; null: none, a new segment is called by its code"
    )
    code: Text | None = Field(default=None, description="the column that holds the segment's code")
    name: Text | None = Field(default=None, description="the column that holds the name; null: the code is the name")
    description: Text | None = Field(default=None, description="the column that holds the description; null: none")
    present: Conditions = ()
    on_delete: Literal["keep", "deactivate", "delete"] = Field(
        default="keep", description="what becomes of a segment at retail.red whose row is deleted or counts no more"
    )
    envelope: Envelope = "debezium"
    format: Format = "auto"
    framing: Framing = "confluent"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.topic is None) != (self.code is None):
            raise ValueError("has only one of topic and code")
        if self.topic is None:
            idle = [name for name in _OF_THE_TOPIC if getattr(self, name) != _default(name)]
            if idle:
                raise Problems([((name,), "means nothing without a topic") for name in idle])
        return self


def _default(name: str) -> Any:
    return Segments.model_fields[name].default
