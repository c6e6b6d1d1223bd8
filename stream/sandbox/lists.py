"""The lists: segments, members and customers, with filters and each way of paging."""

from __future__ import annotations

import base64
import binascii
from itertools import islice
from typing import TYPE_CHECKING, Any

from stream.sandbox.bodies import bad_request, plain
from stream.sandbox.filters import Filter, FilterError, narrowed, parse
from stream.sandbox.messages import Refused, Reply, Request, reply_json
from stream.sandbox.state import CUSTOMER, DEVICE, KEYS, fold

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stream.sandbox.app import App
    from stream.sandbox.state import Segment

LIMIT_DEFAULT = 100
SEGMENT_FIELDS = ("code", "name", "type", "status", "externalUpdateDate")
MEMBER_FIELDS = ("id", "type", "customer.")
CUSTOMER_FIELDS = ("id", *KEYS, "status", "isAnonymous", "contacts.", "attributes.")


def segments(app: App, request: Request) -> Reply:
    """GET /segments. Raises Refused."""
    tree = _tree(app, request)
    test = _filter(app, tree, SEGMENT_FIELDS)
    found = [view for segment in app.shop.segments.values() if test.matches(view := segment.view())]
    return _paged(app, request, "segments", found)


def customers(app: App, request: Request) -> Reply:
    """GET /customers, as the lagging index knows them. Raises Refused."""
    tree = _tree(app, request)
    if not app.faults.on("guests_filtered"):
        tree.pop("isAnonymous", None)
    insensitive = app.faults.word("email_case") == "insensitive"
    test = _filter(app, tree, CUSTOMER_FIELDS, frozenset({"emailAddress"}) if insensitive else frozenset())
    now_s, shop = app.now_s(), app.shop
    near = narrowed(tree, ("id", *KEYS))
    if near is None:
        candidates = shop.listed(now_s)
    else:
        key, values = near
        index = shop.indexes.get(key)
        ids: Iterable[Any] = dict.fromkeys(
            values if index is None else [one for value in values for one in sorted(index.get(fold(value), ()))]
        )
        candidates = [shown for one in ids if isinstance(one, str) and (shown := shop.shown(one, now_s)) is not None]
    found = [customer for customer in candidates if test.matches(customer)]
    sort = request.query.get("sort", "")
    if sort:
        name, down = sort.lstrip("-").partition(":")[0], sort.startswith("-") or sort.lower().endswith(":desc")
        if not any(name == known or (known.endswith(".") and name.startswith(known)) for known in CUSTOMER_FIELDS):
            raise Refused(bad_request(f"customers cannot be sorted by {name}", app.faults))
        found.sort(key=lambda customer: str(customer.get(name, "")), reverse=down)
    return _paged(app, request, "customers", found)


def members(app: App, request: Request, segment: Segment) -> Reply:
    """GET /segments/{code}/members. Raises Refused."""
    if segment.type == "dynamic":
        raise Refused(plain(400, "BadRequest", "A dynamic segment has no members of its own"))
    if request.query.get("sort", "id") != "id":
        raise Refused(bad_request("members are sorted by id alone", app.faults))
    tree, form = _tree(app, request), app.faults.word("members_paging")
    limit = _limit(app, request)
    total = sum(len(kind.ids) for kind in segment.kinds.values())
    if form == "offset":
        offset = _number(app, request, "offset", 0, 1_000_000_000)
        _check_window(app, limit, offset)
        walk = _walk(app, segment, tree, None)
        rows = list(islice(walk, offset, offset + limit))
        if tree:
            total = sum(1 for _ in _walk(app, segment, tree, None))
        return _listed(app, request, "members", rows, {"limit": limit, "offset": offset}, total)
    walk = _walk(app, segment, tree, _cursor(app, request))
    rows = list(islice(walk, limit))
    more = next(walk, None) is not None
    after = base64.urlsafe_b64encode(f"{rows[-1]['type']}:{rows[-1]['id']}".encode()).decode() if more else None
    meta: dict[str, Any] = {"limit": limit, form: {"after": after}}
    if tree:
        total = sum(1 for _ in _walk(app, segment, tree, None))
    return _listed(app, request, "members", rows, meta, total)


def _walk(app: App, segment: Segment, tree: dict[str, Any], after: tuple[str, str] | None) -> Iterator[dict[str, Any]]:
    """The members behind `after`, in order of kind and id."""
    test = _filter(app, tree, MEMBER_FIELDS) if tree else None
    near = narrowed(tree, ("id",)) if tree else None
    with_customer = app.faults.on("members_customer") or (near is None and bool(tree))
    for kind, held in segment.kinds.items():
        if after is not None and kind < after[0]:
            continue
        last = after[1] if after is not None and kind == after[0] else None
        if near is not None:
            order = sorted({one for one in near[1] if isinstance(one, str)} & held.ids)
            ids: Iterable[str] = (one for one in order if last is None or one > last)
        else:
            ids = held.behind(last)
        for one in ids:
            row: dict[str, Any] = {"id": one, "type": kind}
            if with_customer and kind == "customer" and one in app.shop.customers:
                row["customer"] = app.shop.customers[one]
            if test is None or test.matches(row):
                yield row


def _cursor(app: App, request: Request) -> tuple[str, str] | None:
    text = request.query.get("after")
    if not text:
        return None
    try:
        kind, mark, member = base64.urlsafe_b64decode(text.encode()).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        kind = mark = member = ""
    if not mark or kind not in (CUSTOMER, DEVICE):
        raise Refused(bad_request("after is no cursor", app.faults))
    return kind, member


def _paged(app: App, request: Request, name: str, found: list[dict[str, Any]]) -> Reply:
    limit = _limit(app, request)
    offset = _number(app, request, "offset", 0, 1_000_000_000)
    _check_window(app, limit, offset)
    rows = found[offset : offset + limit]
    return _listed(app, request, name, rows, {"limit": limit, "offset": offset}, len(found))


def _listed(
    app: App, request: Request, name: str, rows: list[dict[str, Any]], meta: dict[str, Any], total: int
) -> Reply:
    if app.faults.on("total_count"):
        meta["totalItemCount"] = total
    fields = [field for field in request.query.get("fields", "").split(",") if field]
    if fields:
        rows = [{key: row[key] for key in fields if key in row} for row in rows]
    return reply_json(200, {"meta": meta, name: rows})


def _check_window(app: App, limit: int, offset: int) -> None:
    most = app.faults.number("index_window_max")
    if most and limit + offset > most:
        raise Refused(bad_request(f"limit + offset is more than {most:g}", app.faults))


def _limit(app: App, request: Request) -> int:
    most = int(app.faults.number("page_limit_max"))
    return _number(app, request, "limit", min(LIMIT_DEFAULT, most), most, least=1)


def _number(app: App, request: Request, name: str, default: int, most: int, least: int = 0) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and least <= int(text) <= most):
        raise Refused(bad_request(f"{name} is not a number from {least} to {most}", app.faults))
    return int(text)


def _tree(app: App, request: Request) -> dict[str, Any]:
    text = None if app.faults.on("filters_ignored") else request.query.get("filters")
    if text is None and app.faults.on("filter_accepted"):
        text = request.query.get("filter")
    if not text:
        return {}
    try:
        return parse(text)
    except FilterError as error:
        raise Refused(bad_request(str(error), app.faults)) from None


def _filter(app: App, tree: dict[str, Any], fields: tuple[str, ...], folded: frozenset[str] = frozenset()) -> Filter:
    try:
        return Filter(tree, fields, int(app.faults.number("filter_list_max")), folded)
    except FilterError as error:
        raise Refused(bad_request(str(error), app.faults)) from None
