"""State as JSON lines: {"customer": {…}}, {"segment": {…}}, {"members": {"segment": …, "ids": […]}}."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from stream.sandbox.state import Segment, Shop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK = 1_000
_encode = msgspec.json.Encoder().encode


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
                    _take(shop, msgspec.json.decode(line))
                except (KeyError, TypeError, AttributeError, ValueError) as error:
                    raise ValueError(f"{path.name}:{number}: {error}") from None


def _take(shop: Shop, entry: dict[str, Any]) -> None:
    if "customer" in entry:
        shop.put_customer(entry["customer"])
    elif "segment" in entry:
        view = entry["segment"]
        code = view["code"]
        shop.segments[code] = Segment(
            code,
            view.get("name", code),
            view.get("description", ""),
            view.get("type", "fixed"),
            view.get("status", "active"),
            view.get("externalUpdateDate"),
            view.get("rules"),
        )
    elif "members" in entry:
        part = entry["members"]
        segment = shop.segments.get(part["segment"])
        if segment is None:
            raise ValueError(f"segment {part['segment']} is not there yet")
        segment.kinds[part.get("type", "customer")].add(set(part["ids"]))
    else:
        raise ValueError("neither customer, segment nor members")
