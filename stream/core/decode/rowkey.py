"""The canonical bytes of a row's key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

_encode = msgspec.json.Encoder().encode


def row_key(key: Mapping[str, Any]) -> bytes:
    """Return the same bytes for the same key VALUES in wire order, whatever encoding they came in.

    A JSON array: no two lists of values share one. Bytes are written as base64 text, as JSON on the wire writes them.
    """
    return _encode(list(key.values()))
