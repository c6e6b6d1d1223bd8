"""What becomes of a request: its fate is drawn, it is let in or not, and given to its route."""

from __future__ import annotations

import heapq
import itertools
import math
import time
from dataclasses import replace
from email.utils import formatdate
from typing import TYPE_CHECKING

from stream.sandbox import admin, lists, members, segments
from stream.sandbox.bodies import plain, unauthorized
from stream.sandbox.faults import Fate, Faults
from stream.sandbox.messages import CUT, Refused, Reply, Request, reply_json
from stream.sandbox.state import Segment, Shop
from stream.sandbox.tokens import Tokens
from stream.sandbox.witness import Witness

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from stream.sandbox.config import SandboxConfig
    from stream.sandbox.wire import Wire

CLOCK_S = 0.001  # a timer may be this early
ABSURD_S = 31_536_000.0  # a Retry-After of a year
RATE_HEADERS = {
    "x-ratelimit": ((b"x-ratelimit-limit", b"100"), (b"x-ratelimit-remaining", b"99"), (b"x-ratelimit-reset", b"60")),
    "ratelimit": ((b"ratelimit-policy", b"100;w=60"), (b"ratelimit", b"limit=100, remaining=99, reset=60")),
}


class App:
    """Everything one sandbox holds. Only its loop's thread touches it."""

    def __init__(self, config: SandboxConfig, loop: asyncio.AbstractEventLoop) -> None:
        self.config = config
        self.loop = loop
        self.started_s = loop.time()
        self.faults = Faults(config.seed, config.faults)
        self.shop = Shop()
        self.tokens = Tokens(config, self.faults)
        self.witness = Witness(config.history_rows_max)
        self.allowance = math.inf  # requests that the rate limit still lets in
        self.refilled_s = self.started_s
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        for code in config.segments:
            self.shop.segments[code] = Segment(code, code)

    def now_s(self) -> float:
        """Seconds since this sandbox began: the time of all that it reports."""
        return self.loop.time() - self.started_s

    def after(self, delay_s: float, step: Callable[[], object]) -> None:
        """Do this then; on a machine that stood still meanwhile, still before any request that came later."""
        heapq.heappush(self._due, (self.loop.time() + delay_s, next(self._numbers), step))
        self.loop.call_later(delay_s, self._catch_up)

    def _catch_up(self) -> None:
        now_s = self.loop.time() + CLOCK_S
        while self._due and self._due[0][0] <= now_s:
            heapq.heappop(self._due)[2]()

    def begin(self, request: Request, wire: Wire) -> None:
        if self._due:
            self._catch_up()
        path = request.path
        if path == [""] or path[0] == "_sandbox":
            wire.answer(admin.reply(self, request))
            return
        self.witness.arrive(request.at_s - self.started_s)
        fate = self.faults.fate(request.at_s - self.started_s)
        try:
            self._admit(request, path, fate)
            if members.changes(request.method, path):
                members.begin(self, request, path[4], fate, wire)
                return
        except Refused as refused:
            self.later(fate.delay_s, request, wire, lambda reply=refused.reply: reply)  # type: ignore[misc]
            return
        if fate.end in {"hang", "late"}:
            self.later(self.faults.number("hang_s"), request, wire, lambda: CUT)
            return
        self.later(fate.delay_s, request, wire, lambda: self._routed(request, path, fate))

    def later(self, delay_s: float, request: Request, wire: Wire, work: Callable[[], Reply]) -> None:
        """Do `work` after the delay and answer with what it gives."""
        if delay_s > 0:
            self.loop.call_later(delay_s, self.answer, request, wire, work)
        else:
            self.answer(request, wire, work)

    def answer(self, request: Request, wire: Wire, work: Callable[[], Reply]) -> None:
        try:
            reply = work()
        except Refused as refused:
            reply = refused.reply
        form = self.faults.word("rate_headers")
        if form != "none":
            reply = replace(reply, headers=(*reply.headers, *RATE_HEADERS[form]))
        now_s = self.loop.time()
        # nobody can obey what he has not been told yet
        wait_s = reply.wait_s or (reply.wait_until_s - time.time() if reply.wait_until_s else 0.0)
        if wait_s > 0:
            self.witness.throttled(now_s - self.started_s, wait_s)
        self.witness.answered(
            now_s - self.started_s,
            request.number,
            request.method,
            request.target,
            0 if reply.cut else reply.status,
            now_s - request.at_s,
        )
        wire.answer(reply)

    def failed(self, fate: Fate, reply: Reply) -> Reply:
        """What the client gets to see of a reply after the work was done."""
        if fate.end == "drop_after":
            return CUT
        if fate.end == "error_after":
            return self.broken()
        return reply

    def broken(self) -> Reply:
        status = int(self.faults.number("error_status"))
        return plain(status, "InternalError", "The service could not answer")

    def segment(self, code: str) -> Segment:
        """Raises Refused with a 404, or creates it where the sandbox was started so."""
        segment = self.shop.segments.get(code)
        if segment is None:
            if not self.config.create_segments or not code:
                raise Refused(plain(404, "NotFound", f"Segment {code} not found"))
            segment = self.shop.segments[code] = Segment(code, code)
        return segment

    def _routed(self, request: Request, path: list[str], fate: Fate) -> Reply:
        if path == ["oauth", "token"]:
            reply = self.tokens.grant(request)
        elif path[3] == "segments":
            reply = segments.reply(self, request, path[4:])
        elif path[3:] == ["customers"] and request.method == "GET":
            reply = lists.customers(self, request)
        else:
            reply = plain(404, "NotFound", "No such route")
        return self.failed(fate, reply)

    def _admit(self, request: Request, path: list[str], fate: Fate) -> None:
        """Everything that stands before the routes. Raises Refused."""
        if fate.end == "drop_before":
            raise Refused(CUT)
        if fate.end == "error":
            raise Refused(self.broken())
        if path == ["oauth", "token"]:
            if request.method != "POST":
                raise Refused(plain(405, "MethodNotAllowed", "POST only"))
            if self.faults.hits("token_throttle_share"):
                raise Refused(self._throttled())
            return
        if fate.end == "throttle" or self._too_fast(request.at_s):
            raise Refused(self._throttled())
        if len(request.target) > self.faults.number("url_bytes_max"):
            raise Refused(plain(414, "UriTooLong", "The URL is too long"))
        if len(path) < 4 or path[:2] != ["v1", "merchants"]:
            raise Refused(plain(404, "NotFound", "No such route"))
        if fate.end == "unauthorized" or not self.tokens.good(request):
            raise Refused(unauthorized("The token is missing, wrong or expired", self.faults))
        if path[2] != self.config.merchant:
            if self.faults.word("other_merchant") == "404":
                raise Refused(plain(404, "NotFound", f"Merchant {path[2]} not found"))
            raise Refused(plain(403, "Forbidden", f"No access to merchant {path[2]}"))
        if len(request.body) > self.faults.number("body_bytes_max"):
            raise Refused(plain(413, "PayloadTooLarge", "The body is too large"))

    def _too_fast(self, at_s: float) -> bool:
        per_s = self.faults.number("requests_per_s_max")
        if per_s <= 0:
            return False
        self.allowance = min(max(per_s, 1.0), self.allowance + (at_s - self.refilled_s) * per_s)
        self.refilled_s = at_s
        if self.allowance < 1:
            return True
        self.allowance -= 1
        return False

    def _throttled(self) -> Reply:
        form, after_s = self.faults.word("retry_after"), self.faults.number("retry_after_s")
        headers: tuple[tuple[bytes, bytes], ...] = ()
        if form == "absurd":
            headers = ((b"retry-after", str(int(ABSURD_S)).encode()),)
        elif form == "date":
            until_s = math.ceil(time.time() + after_s)  # both forms hold whole seconds; rounding down would be too soon
            headers = ((b"retry-after", formatdate(until_s, usegmt=True).encode()),)
        elif form == "seconds":
            headers = ((b"retry-after", str(math.ceil(after_s)).encode()),)
        reply = reply_json(429, {"code": "TooManyRequests", "message": "Too many requests"}, headers)
        reply.wait_s = math.ceil(after_s) if form == "seconds" else 0.0
        reply.wait_until_s = until_s if form == "date" else 0.0
        return reply
