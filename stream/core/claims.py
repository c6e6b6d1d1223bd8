"""What a row says where it names the customer or the segment by something else: a claim, to be resolved.

A claim is kept with its row for as long as the row says it, so that it can be resolved again.
"""

from __future__ import annotations

from typing import Any, Final

from stream.core.mapping import Partly, Refusal, RowMapping, TableRule, code_part, identity
from stream.core.model import Claim, Columns

CODE: Final = "code:"
REFERENCE: Final = "ref:"
EMPTY: Final = frozenset({"identity_null", "identity_empty"})


Said = Claim | Refusal | Partly | None


def plain(claim: Claim) -> bool:
    """Whether the row itself says segment and customer: nothing that changes elsewhere makes it mean another."""
    return claim.segment.startswith(CODE) and claim.terms[0].startswith("id:")


def term(kind: str, value: Any) -> str | Refusal:
    """One way to name a customer, as a claim's term; or why the value names nobody. kind: id, email, number or `ref:<name>`."""
    if kind != "email":
        found = identity(value)
        return found if isinstance(found, Refusal) else f"{kind}:{found}"
    if type(value) is not str:
        reason = "identity_null" if value is None else "identity_type"
        return Refusal(reason, f"the email column holds {'null' if value is None else type(value).__name__}")
    checked = identity(value.strip())
    if isinstance(checked, Refusal):
        return checked
    if "@" not in checked[1:]:
        return Refusal("identity_email", "the email column holds something without an @")
    return f"email:{value}"


class ClaimMapping(RowMapping):
    """A TableRule whose rows say claims; what they say partly has terms where a membership has its member."""

    def __init__(self, rule: TableRule) -> None:
        super().__init__(rule)
        self._reference: Final = rule.segment_reference
        self._plain = False

    def _segment_said(self, columns: Columns) -> str | Refusal:
        if self._reference:
            key = code_part(columns[self._single])
            return key if isinstance(key, Refusal) else f"{REFERENCE}{self._reference}:{key}"
        code = self._segment(columns)
        return code if isinstance(code, Refusal) else CODE + code

    def _member_said(self, columns: Columns) -> tuple[str, ...] | Refusal:
        """The customer's terms; a column that is null or empty leaves its place to the next, a bad value is refused."""
        terms: list[str] = []
        empty: Refusal | None = None
        for kind, place in self._members:
            found = term(kind, columns[place])
            if not isinstance(found, Refusal):
                terms.append(found)
            elif found.reason in EMPTY:
                empty = empty or found
            else:
                return found
        return empty if empty is not None and not terms else tuple(terms)

    def _made(self, segment: Any, member: Any) -> Claim:
        return Claim(segment, member)


def mapping(rule: TableRule) -> RowMapping:
    """The rule, compiled: into memberships where a row names them itself, else into claims."""
    return ClaimMapping(rule) if rule.claims else RowMapping(rule)
