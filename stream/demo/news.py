"""What became of the segments between two looks, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

NAMED_MAX: Final = 3


def news(before: Mapping[str, set[str]], after: Mapping[str, set[str]]) -> Iterator[str]:
    """A line for each segment that gained members, and one for each that lost some. At most NAMED_MAX are named."""
    for code in sorted({*before, *after}):
        then, now = before.get(code, set()), after.get(code, set())
        for changed, one, more in (
            (now - then, "is a member now", "are members now"),
            (then - now, "is no member any more", "are no members any more"),
        ):
            if changed:
                named = ", ".join(sorted(changed)) if len(changed) <= NAMED_MAX else f"{len(changed):,}"
                yield f"{code}: {named} {one if len(changed) == 1 else more}"
