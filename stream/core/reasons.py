"""The labels that counters know from the start: an increase from nothing to one is seen only where the nothing was there."""

from typing import Final

ALARMS: Final = (
    "halted", "lookup_auth", "lookup_refused", "lookup_too_long", "lookup_uncertain", "repeat_hold", "segment_auth",
    "segment_code", "segment_code_changed", "segment_dynamic", "segment_missing", "segment_refused", "truncate",
)  # fmt: skip
"""Kinds of alarms."""

LETTERS: Final = (
    "after_null", "avro", "conflict", "decimal", "delete_unseen", "forbidden", "framing", "gone", "identity_email",
    "identity_empty", "identity_fake", "identity_long", "identity_null", "identity_type", "identity_unprintable",
    "invalid", "json", "key", "present_type", "rejected", "segment_code", "segment_empty", "segment_fake",
    "segment_null", "segment_type", "too_large", "truncate", "unavailable_value", "unclear", "unknown_customer",
    "unknown_op", "unknown_schema", "unknown_shape", "unsupported_schema",
)  # fmt: skip
"""Why a record or a member became a letter."""
