"""The read-only page at /: segments, counts, the latest requests."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from stream.sandbox.messages import Reply

if TYPE_CHECKING:
    from stream.sandbox.app import App

SEGMENTS_SHOWN = 200


def reply(app: App) -> Reply:
    segments = sorted(app.shop.segments.values(), key=lambda segment: segment.code)
    return Reply(200, escape(f"{len(segments)} segments").encode(), ((b"content-type", b"text/html; charset=utf-8"),))
