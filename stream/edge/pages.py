"""A list of retail.red's, page by page, by cursor or by offset, whichever the server speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from stream.errors import DataError

PAGES_MAX: Final = 1_000_000


def listed(
    read: Callable[[dict[str, str]], dict[str, Any] | None], key: str, name: str, limit: int, what: str, absent: str
) -> Iterator[dict[str, Any]]:
    """Yield the objects that stand under `key`: one may come twice when the list changes meanwhile.

    read(query): one page, None where there is no such list. name: what identifies an object, a text. what, absent: for people.
    Raises DataError when there is no such list or the paging makes no sense, and what `read` raises.
    """
    offset, after, first = 0, "", ""
    for _ in range(PAGES_MAX):
        place = {"after": after} if after else {"offset": str(offset)} if offset else {}
        page = read({"limit": str(limit), **place})
        if page is None:
            raise DataError(absent)
        meta, found = page.get("meta"), page.get(key)
        meta = meta if isinstance(meta, dict) else {}
        if not isinstance(found, list):
            raise DataError(f"{what}: the answer holds no list of them")
        for one in found:
            if not isinstance(one, dict) or not isinstance(one.get(name), str):
                raise DataError(f"{what}: the answer holds one without {'an id' if name == 'id' else f'a {name}'}")
            yield one
        cursors = [meta[form] for form in ("cursors", "cursor") if isinstance(meta.get(form), dict)]
        if cursors or after:
            beyond = cursors[0].get("after") if cursors else None
            if not beyond:
                return
            if beyond == after or not isinstance(beyond, str):
                raise DataError(f"{what}: the cursor does not advance")
            after = beyond
            continue
        if offset and found and found[0][name] == first:
            raise DataError(f"{what}: the server repeats its first page")
        offset += len(found)
        total, size = meta.get("totalItemCount"), meta.get("limit")
        size = size if isinstance(size, int) and size > 0 else limit
        if not found or (offset >= total if isinstance(total, int) else len(found) < size):
            return
        first = first or found[0][name]
    raise DataError(f"{what}: more than {PAGES_MAX} pages")
