"""State as JSON lines: {"customer": {…}}, {"segment": {…}}, {"members": {"segment": …, "ids": […]}}."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from stream.sandbox.bodies import Text
from stream.sandbox.state import Segment, Shop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK = 1_000


class _Customer(msgspec.Struct):
    """What is known of a customer's fields; others are kept as they are."""

    id: Text
    emailAddress: str | None = None  # noqa: N815 - the wire's name
    externalCustomerNumber: str | None = None  # noqa: N815 - the wire's name
    internalCustomerNumber: int | None = None  # noqa: N815 - the wire's name
    status: Literal["active", "inactive", "deleted"] = "active"
    isAnonymous: bool = False  # noqa: N815 - the wire's name


class _Segment(msgspec.Struct, forbid_unknown_fields=True):
    code: Text
    name: Text | None = None
    description: str = ""
    type: Literal["fixed", "dynamic"] = "fixed"
    status: Literal["active", "inactive"] = "active"
    externalUpdateDate: str | None = None  # noqa: N815 - the wire's name
    rules: Any = None


class _Members(msgspec.Struct, forbid_unknown_fields=True):
    segment: Text
    ids: list[Text]
    type: Literal["customer", "device"] = "customer"


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    customer: dict[str, Any] | None = None
    segment: _Segment | None = None
    members: _Members | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode


def lines(shop: Shop) -> Iterator[bytes]:
    """Everything that the shop holds, members in lines of at most 1,000."""
    for customer in shop.customers.values():
        yield _encode({"customer": customer}) + b"\n"
    for segment in shop.segments.values():
        view = segment.view()
        del view["memberCount"]
        yield _encode({"segment": view}) + b"\n"
        for kind, members in segment.kinds.items():
            order = members.order()
            for start in range(0, len(order), CHUNK):
                part = {"segment": segment.code, "type": kind, "ids": order[start : start + CHUNK]}
                yield _encode({"members": part}) + b"\n"


def save(shop: Shop, path: Path) -> None:
    """Written beside and renamed, so that a crash leaves the old one whole. Raises OSError."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.writelines(lines(shop))
    beside.replace(path)


def load(shop: Shop, path: Path) -> None:
    """Add what the file holds. Raises OSError, or ValueError with the line's number."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    _take(shop, _decode(line))
                except ValueError as error:
                    raise ValueError(f"{path.name}:{number}: {error}") from None


def _take(shop: Shop, line: _Line) -> None:
    if line.customer is not None:
        msgspec.convert(line.customer, _Customer)
        shop.put_customer(line.customer)
    elif line.segment is not None:
        new = line.segment
        shop.segments[new.code] = Segment(
            new.code, new.name or new.code, new.description, new.type, new.status, new.externalUpdateDate, new.rules
        )
    elif line.members is not None:
        segment = shop.segments.get(line.members.segment)
        if segment is None:
            raise ValueError(f"segment {line.members.segment} is not there yet")
        if "*" in line.members.ids:
            raise ValueError("`*` is no member")
        segment.kinds[line.members.type].add(set(line.members.ids))
    else:
        raise ValueError("neither customer, segment nor members")
