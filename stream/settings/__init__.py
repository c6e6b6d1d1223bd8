"""Every knob of the program: its model, and how it is read, checked and shown. Imports only stream.errors."""

from stream.settings.load import load
from stream.settings.model import Batch, Letters, Log, Metrics, Registry, RetailRed, Settings, State, Urls, Window
from stream.settings.show import annotated_defaults, json_schema, json_schema_text
from stream.settings.tables import Condition, Member, Segment, Table

__all__ = [
    "Batch",
    "Condition",
    "Letters",
    "Log",
    "Member",
    "Metrics",
    "Registry",
    "RetailRed",
    "Segment",
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
