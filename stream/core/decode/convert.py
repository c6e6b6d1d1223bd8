"""Column values: decimals made exact, Debezium's placeholder for unchanged TOAST values made UNAVAILABLE."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from stream.core.model import UNAVAILABLE

Convert = Callable[[Any], Any]

DECIMAL: Final = "org.apache.kafka.connect.data.Decimal"
VARIABLE_DECIMAL: Final = "io.debezium.data.VariableScaleDecimal"

PLACEHOLDER: Final = "__debezium_unavailable_value"
PLACEHOLDER_BYTES: Final = PLACEHOLDER.encode()
PLACEHOLDER_BASE64: Final = base64.b64encode(PLACEHOLDER_BYTES).decode()
_LISTS: Final = ([PLACEHOLDER], [PLACEHOLDER_BYTES], [PLACEHOLDER_BASE64], list(PLACEHOLDER_BYTES))
_SCALE_MAX: Final = 1_000
_UNSCALED_BYTES_MAX: Final = 1_000


class InexactError(ValueError):
    """A decimal came as a JSON number and was read as a float: read the record again with exact numbers."""


def available(value: Any) -> Any:
    """Return the value, or UNAVAILABLE where it is the placeholder in any of its forms (text, bytes, list, map)."""
    kind = value.__class__
    if kind is str:
        return UNAVAILABLE if value in (PLACEHOLDER, PLACEHOLDER_BASE64) else value
    if kind is bytes:
        return UNAVAILABLE if value == PLACEHOLDER_BYTES else value
    if kind is list:
        return UNAVAILABLE if value in _LISTS else value
    if kind is dict and len(value) == 1:
        return UNAVAILABLE if value.get(PLACEHOLDER) == PLACEHOLDER else value
    return value


def clean(columns: Iterable[Any]) -> tuple[Any, ...]:
    return tuple([available(value) for value in columns])


def decimal_of(scale: int) -> Convert:
    """Return a reader of unscaled big-endian bytes (or their base64 text) as an exact decimal text of that scale."""

    def convert(value: Any) -> Any:
        value = available(value)
        if value is None or value is UNAVAILABLE:
            return value
        return _decimal_text(value, scale)

    return convert


def variable_decimal(value: Any) -> Any:
    """Return Debezium's {"scale": …, "value": unscaled bytes} as an exact decimal text.

    Raises ValueError on another shape.
    """
    value = available(value)
    if value is None or value is UNAVAILABLE:
        return value
    if value.__class__ is not dict or value.get("scale").__class__ is not int:
        raise ValueError("a VariableScaleDecimal without scale and value")
    return (
        available(value.get("value")) if value.get("value") is None else _decimal_text(value["value"], value["scale"])
    )


def _decimal_text(value: Any, scale: int) -> str:
    if value.__class__ is float:
        raise InexactError("a decimal read as a float")
    if value.__class__ is int:
        return str(value)
    if value.__class__ is Decimal:
        if not value.is_finite() or abs(value.adjusted()) > _SCALE_MAX:
            raise ValueError("a decimal out of range")
        return format(value, "f")
    if value.__class__ is str:
        try:
            value = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("a decimal that is not base64") from None
    if value.__class__ is not bytes or len(value) > _UNSCALED_BYTES_MAX or abs(scale) > _SCALE_MAX:
        raise ValueError("a decimal out of range")
    unscaled = int.from_bytes(value, "big", signed=True)
    if scale <= 0:
        return str(unscaled * 10**-scale)
    digits = str(abs(unscaled)).rjust(scale + 1, "0")
    return f"{'-' if unscaled < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"


def of_connect(name: object, parameters: object) -> Convert | None:
    """Return what a Connect logical type (its schema's name and parameters) needs, or None."""
    if name == VARIABLE_DECIMAL:
        return variable_decimal
    if name == DECIMAL and isinstance(parameters, Mapping):
        try:
            return decimal_of(int(parameters.get("scale", "0")))
        except (TypeError, ValueError):
            return None
    return None


def of_fields(schema: object) -> dict[str, Convert]:
    """Return the conversions by field of a Connect struct's schema in its JSON form; nothing for another shape."""
    fields = schema.get("fields") if isinstance(schema, dict) else None
    found: dict[str, Convert] = {}
    for field in fields if isinstance(fields, list) else ():
        if isinstance(field, dict) and isinstance(field.get("field"), str):
            convert = of_connect(field.get("name"), field.get("parameters"))
            if convert is not None:
                found[field["field"]] = convert
    return found


def of_envelope(schema: object) -> dict[str, Convert]:
    """Return the conversions of an envelope's row: of its `after`, else of its `before`."""
    fields = schema.get("fields") if isinstance(schema, dict) else None
    rows = {f["field"]: f for f in fields if isinstance(f, dict) and "field" in f} if isinstance(fields, list) else {}
    return of_fields(rows.get("after") or rows.get("before"))
