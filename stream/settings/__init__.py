"""Every knob of the program: its model, and how it is read, checked and shown. Imports only stream.errors."""

from stream.settings.identity import Identity
from stream.settings.load import load
from stream.settings.model import Batch, Letters, Log, Metrics, Registry, Settings, State, Window
from stream.settings.references import Reference
from stream.settings.retail_red import RetailRed, Urls
from stream.settings.segments import Segments
from stream.settings.show import annotated_defaults, json_schema, json_schema_text
from stream.settings.tables import Condition, Member, Segment, Table

__all__ = [
    "Batch",
    "Condition",
    "Identity",
    "Letters",
    "Log",
    "Member",
    "Metrics",
    "Reference",
    "Registry",
    "RetailRed",
    "Segment",
    "Segments",
    "Settings",
    "State",
    "Table",
    "Urls",
    "Window",
    "annotated_defaults",
    "json_schema",
    "json_schema_text",
    "load",
]
