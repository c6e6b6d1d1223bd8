"""Customers by email or number: one question, every page of its answer, read leniently. Nothing is judged here."""

from __future__ import annotations

import time
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from stream.core.mapping import identity
from stream.core.model import Customer, IdentityKind, Lookup, LookupOutcome
from stream.edge.answers import read_answer, read_json, retry_after_s
from stream.edge.session import Sent, Session, trouble

PAGE_LIMIT: Final = 1_000
PAGES_MAX: Final = 10
"""Where more customers than these have the values, the filter was ignored, or nobody could tell them apart."""

TEXT_CHARS_MAX: Final = 1_000
"""Of an email, a number or a status; whatever is longer is none."""

FIELDS: Final[dict[IdentityKind, str]] = {"email": "emailAddress", "number": "externalCustomerNumber"}


class _Page(NamedTuple):
    """first: the first customer's id, to see whether pages repeat. size: of all that stood there. total: as the answer says."""

    customers: list[Customer]
    first: str
    size: int
    total: int | None
    limit: int


def look_up(session: Session, lookup: Lookup, *, guests: bool = False) -> LookupOutcome:
    """Ask once, page by page, by api_timeout_s at most; whatever happens is an outcome. guests: do not leave them out."""
    begun_s = time.monotonic()
    try:
        return _looked_up(session, lookup, begun_s, guests=guests)
    except Exception as error:  # noqa: BLE001 - a defect here must not lose a question: not knowing is an outcome, too
        session.observe("lookup", "defect", time.monotonic() - begun_s)
        return _failed(lookup, begun_s, "failed", "defect", type(error).__name__)


def _looked_up(session: Session, lookup: Lookup, begun_s: float, *, guests: bool) -> LookupOutcome:
    deadline_s = begun_s + session.config.api_timeout_s
    found: list[Customer] = []
    first, offset, whole = "", 0, False
    for number in range(PAGES_MAX):
        sent = session.ask(
            "lookup", "GET", session.customer, _path(session, lookup, offset, guests=guests), deadline_s=deadline_s
        )
        if sent.answer is None or sent.answer.status != 200:
            return _not_answered(lookup, begun_s, sent)
        page = _page(sent)
        if page is None:
            return _failed(lookup, begun_s, "failed", "unreadable", "the answer holds no list of customers", status=200)
        if number and page.first == first:
            break  # the server does not know offset, and repeats its first page
        found += page.customers
        offset += page.size
        first = first or page.first
        if page.size == 0 or (offset >= page.total if page.total is not None else page.size < page.limit):
            whole = len(found) == offset and (page.total is None or offset >= page.total)
            break
        if not _about(lookup, page.customers):
            break  # the filter was ignored: more pages of everybody tell nothing
    now_s = time.monotonic()
    return LookupOutcome(lookup, "answered", tuple(found), whole, 200, "", "", None, now_s, now_s - begun_s)


def _path(session: Session, lookup: Lookup, offset: int, *, guests: bool) -> str:
    values = lookup.values
    wanted: Any = values[0] if len(values) == 1 else {"$in": values}
    tree = {FIELDS[lookup.kind]: wanted} if guests else {FIELDS[lookup.kind]: wanted, "isAnonymous": False}
    query = {session.config.filter_parameter: msgspec.json.encode(tree).decode(), "limit": str(PAGE_LIMIT)}
    if offset:
        query["offset"] = str(offset)
    # a blank as %20: not every server reads + as one
    return "/customers?" + urlencode(query, safe="", quote_via=quote)


def _about(lookup: Lookup, customers: list[Customer]) -> bool:
    """Whether some customer has one of the values, in whatever case."""
    wanted = {value.strip().lower() for value in lookup.values}
    own = ((c.email if lookup.kind == "email" else c.number) for c in customers)
    return any(value is not None and value.strip().lower() in wanted for value in own)


def _page(sent: Sent) -> _Page | None:
    if sent.answer is None:
        return None
    try:
        value = read_json(sent.answer)
    except ValueError:
        return None
    listed = value.get("customers") if isinstance(value, dict) else None
    if not isinstance(listed, list):
        return None
    meta = value.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    total, limit = _whole(meta.get("totalItemCount")), _whole(meta.get("limit"))
    customers = [customer for one in listed if (customer := _customer(one)) is not None]
    first = customers[0].id if customers else ""
    return _Page(customers, first, len(listed), total, limit or PAGE_LIMIT)


def _customer(value: Any) -> Customer | None:
    """None without an id that could be a member's: such a customer leaves the answer incomplete."""
    if not isinstance(value, dict):
        return None
    own = identity(value.get("id"))
    if not isinstance(own, str):
        return None
    anonymous = value.get("isAnonymous")
    return Customer(
        own,
        _text(value.get("emailAddress")),
        _text(value.get("externalCustomerNumber")),
        _whole(value.get("internalCustomerNumber")),
        _text(value.get("status")),
        anonymous if isinstance(anonymous, bool) else None,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and len(value) <= TEXT_CHARS_MAX else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _not_answered(lookup: Lookup, begun_s: float, sent: Sent) -> LookupOutcome:
    if sent.answer is None:
        # refused credentials need somebody who mends them; all else that is unsent is a matter of time
        unsent = sent.kind == "unsent" and sent.code != "credentials"
        return _failed(lookup, begun_s, "unsent" if unsent else "failed", sent.code, sent.message, after_s=sent.after_s)
    message = read_answer(sent.answer).message
    after_s = retry_after_s(sent.answer)
    return _failed(lookup, begun_s, "failed", trouble(sent), message, status=sent.answer.status, after_s=after_s)


def _failed(
    lookup: Lookup,
    begun_s: float,
    kind: Literal["failed", "unsent"],
    reason: str,
    message: str,
    *,
    status: int = 0,
    after_s: float | None = None,
) -> LookupOutcome:
    now_s = time.monotonic()
    whole = False
    return LookupOutcome(lookup, kind, (), whole, status, reason, message, after_s, now_s, now_s - begun_s)
