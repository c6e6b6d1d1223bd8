"""A request and its reply, as the routes see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

_encode = msgspec.json.Encoder().encode
JSON = ((b"content-type", b"application/json; charset=utf-8"),)


@dataclass(slots=True)
class Reply:
    """`cut`: close the connection without a word instead of answering.

    `wait_s`: the seconds that a Retry-After tells, `wait_until_s` the time (since the epoch); both count from when it is answered.
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = JSON
    cut: bool = False
    wait_s: float = 0.0
    wait_until_s: float = 0.0


CUT = Reply(0, cut=True)


def reply_json(status: int, value: object, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Reply:
    return Reply(status, _encode(value), JSON + headers)


class Refused(Exception):
    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


@dataclass
class Request:
    """`number` counts from 1 in order of arrival; `at_s` is the loop's monotonic clock."""

    number: int
    at_s: float
    method: str
    target: str
    headers: dict[bytes, bytes]
    body: bytes
    on_gone: Callable[[], None] | None = field(default=None)  # called when the client hangs up unanswered

    @cached_property
    def path(self) -> list[str]:
        """The path's parts, each decoded after the split, so that an encoded slash stays inside its part."""
        return [unquote(part) for part in self.target.partition("?")[0].split("/")[1:]]

    @cached_property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))
