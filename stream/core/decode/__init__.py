"""Bytes to meaning: JSON and Avro, enveloped and unwrapped, into the changes of `stream.core.model`. Pure."""

from __future__ import annotations

from stream.core.decode.decoder import TopicDecoder
from stream.core.decode.rowkey import row_key
from stream.core.decode.spec import DecodeSpec, Limits

__all__ = ["DecodeSpec", "Limits", "TopicDecoder", "row_key"]
