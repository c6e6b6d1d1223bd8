"""The throw-away segment: the only one that is ever written to, and gone at the end."""

from __future__ import annotations

import secrets
import time
from typing import Final

import msgspec

from stream.edge.wire import members_body, segment_path
from stream.survey.talk import Reply, Talk, Unclear

PREFIX: Final = "segstream-probe-"
APPEARS_S_MAX: Final = 30.0
CLEANUP_S_MAX: Final = 60.0
CLEANUP_REQUESTS: Final = 200
PAGE: Final = 500
"""Members asked for in one page, as the client does."""
PAGES_MAX: Final = 200


def random_code() -> str:
    return PREFIX + secrets.token_hex(6)


class Throwaway:
    """One fixed segment under a random code. `begun`: it may exist at retail.red."""

    def __init__(self, talk: Talk, code: str) -> None:
        """Raise ValueError for a code without the prefix: nothing else may ever be written to."""
        if not code.startswith(PREFIX):
            raise ValueError("the throw-away segment has another code")
        self.code = code
        self.begun = False
        self.unanswered = False
        self.page_rows = PAGE
        self._talk = talk
        self._path = segment_path(code)

    def create(self) -> Reply:
        """Ask for it. The same again is how a duplicate is answered."""
        body = {
            "code": self.code,
            "name": self.code,
            "description": "Made by segstream probe, which deletes it at its end",
            "type": "fixed",
            "status": "active",
        }
        self.begun = True
        reply = self._talk.ask("POST", "segmentation", "/segments", body=msgspec.json.encode({"segments": [body]}))
        self.unanswered = self.unanswered or not reply.status
        return reply

    def look(self) -> Reply:
        return self._talk.ask("GET", "segmentation", self._path)

    def await_it(self) -> None:
        """Wait until it can be read; raise Unclear when it does not appear, or is not fixed."""
        end_s = time.monotonic() + APPEARS_S_MAX
        while True:
            reply = self.look().sure()
            inner = reply.value.get("segment")
            view = inner if isinstance(inner, dict) else reply.value
            if reply.ok and view.get("code") == self.code:
                if view.get("type") not in {"fixed", None}:
                    raise Unclear("the segment that was created is not fixed")
                return
            if time.monotonic() >= end_s:
                raise Unclear(f"the segment that was created does not appear: {reply.said}")
            self._talk.wait(0.25)

    def add(self, ids: tuple[str, ...]) -> Reply:
        return self.send("POST", members_body(ids))

    def remove(self, ids: tuple[str, ...], query: str = "") -> Reply:
        return self.send("DELETE", members_body(ids), query)

    def send(self, method: str, body: bytes, query: str = "") -> Reply:
        return self._talk.ask(method, "segmentation", f"{self._path}/members", query, body)

    def page(self, query: str) -> Reply:
        return self._talk.ask("GET", "segmentation", f"{self._path}/members", query)

    def members(self) -> set[str]:
        """The customers in it now, however they are paged. Raises Unclear."""
        ids: set[str] = set()
        place, offset = "", 0
        for _ in range(PAGES_MAX):
            reply = self.page(f"limit={self.page_rows}{place}").sure()
            rows, meta = reply.value.get("members"), reply.value.get("meta")
            if not reply.ok or not isinstance(rows, list):
                raise Unclear(f"the members of the segment cannot be read: {reply.said}")
            fresh = {row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)}
            meta = meta if isinstance(meta, dict) else {}
            after, cursors = cursor(meta)
            if not rows or (cursors and not after) or (place and fresh <= ids):
                return ids | fresh
            ids |= fresh
            offset += len(rows)
            total = meta.get("totalItemCount")
            if not cursors and (offset >= total if isinstance(total, int) else len(rows) < self.page_rows):
                return ids
            place = f"&after={quoted(after)}" if after else f"&offset={offset}"
        raise Unclear(f"the members of the segment fill more than {PAGES_MAX} pages")

    def delete(self, settle_s: float) -> bool:
        """Delete it; whether it is gone for certain. settle_s: how long a creation without an answer may still land."""
        self._talk.allow(CLEANUP_REQUESTS, CLEANUP_S_MAX + settle_s)
        if self.unanswered:
            self._talk.wait(settle_s)
        end_s = time.monotonic() + CLEANUP_S_MAX
        asked = False
        while time.monotonic() < end_s:
            if not asked:
                reply = self._talk.ask("DELETE", "segmentation", self._path, tries=5)
                if reply.status == 404:
                    return True
                asked = reply.ok
            if asked and self.look().status == 404:
                return True
            self._talk.wait(0.5)
        return False


def cursor(meta: dict[str, object]) -> tuple[str, str]:
    """The cursor of the next page, and the name under which meta holds cursors; each empty where there is none."""
    for name in ("cursors", "cursor"):
        held = meta.get(name)
        if isinstance(held, dict):
            after = held.get("after")
            return (after if isinstance(after, str) else ""), name
    return "", ""


def quoted(text: str) -> str:
    """Encoded for a query, every sign of it that could mean something there."""
    return "".join(chr(b) if chr(b).isascii() and chr(b).isalnum() else f"%{b:02X}" for b in text.encode())
