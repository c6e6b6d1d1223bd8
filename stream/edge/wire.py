"""What a segment code and member ids look like on the wire, and which never get there."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import msgspec

from stream.core.mapping import SEGMENT_CODE

_JOINT: Final = b'","'
_ITEM_JOINT: Final = b'","type":"customer"},{"id":"'


def segment_path(code: str) -> str:
    """`/segments/{code}`; raise ValueError for a code that could be read as another path."""
    if not isinstance(code, str) or not SEGMENT_CODE.fullmatch(code):
        raise ValueError("a segment code that could change the path was refused")
    path = f"/segments/{quote(code, safe='')}"
    if path != f"/segments/{code}":
        raise ValueError("a segment code that would need escapes in the path was refused")
    return path


def members_body(members: tuple[str, ...]) -> bytes:
    """Encode `{"members":[{"id":…,"type":"customer"},…]}`; raise ValueError for ids that must never be sent.

    The ids are encoded in one go and the list's joints replaced: inside a JSON string no quote stands unescaped.
    """
    if set(map(type, members)) != {str} or not all(map(str.strip, members)):
        raise ValueError("member ids must be strings that are not blank, and at least one")
    encoded = msgspec.json.encode(members)[2:-2]
    if b"*" in encoded:
        raise ValueError("a member id with an asterisk was refused: alone it means every member")
    return b'{"members":[{"id":"' + encoded.replace(_JOINT, _ITEM_JOINT) + b'","type":"customer"}]}'
