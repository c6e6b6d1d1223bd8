"""How much one request may carry: bytes first, told apart from members by blanks, which mean nothing in JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stream.edge.wire import members_body
from stream.survey.findings import Findings
from stream.survey.members import Members
from stream.survey.talk import Reply, Unclear, largest

BODY_BYTES_FIRST: Final = 4_096
BODY_BYTES_MAX: Final = 2_097_152
BODY_GRAIN_SHARE: Final = 64
BODY_GRAIN: Final = 1_024

BODY: Final = "body bytes"
COUNT: Final = "members in a request"


@dataclass(slots=True)
class Limits:
    """body_bytes: the largest body that was taken, 0 before it is known."""

    found: Findings
    members: Members
    body_bytes: int = 0

    def ask_body(self) -> None:
        """Bodies of one member, made long by blanks."""
        self._needs_members()
        body, said = members_body(self.members.few[:1]), ""

        def works(size: int) -> bool:
            nonlocal said
            reply = self._judged(self.members.segment.send("POST", padded(body, size)))
            said = said if reply.ok else reply.said
            return reply.ok

        good, bad = largest(
            BODY_BYTES_FIRST, BODY_BYTES_MAX, works, lambda size: max(BODY_GRAIN, size // BODY_GRAIN_SHARE)
        )
        if not good:
            raise Unclear(f"even {bad} bytes are refused ({said})")
        self.body_bytes = good
        text = f"{good} work; {bad} are refused ({said})" if bad else f"{good} work; more was not asked"
        self.found.limit(BODY, text, "body_bytes_max", good, refused=bool(bad), more="more than that is not asked")

    def ask_members(self) -> None:
        """Real customers in one request: what is taken in must also come out again in one."""
        self._needs_members()
        ids, said, by_bytes = tuple(self.members.ids), "", False

        def sent(method: str, size: int) -> Reply | None:
            nonlocal said, by_bytes
            body = members_body(ids[:size])
            if self.body_bytes and len(body) > self.body_bytes:
                by_bytes = True
                return None
            reply = self._judged(self.members.segment.send(method, body))
            said = said if reply.ok else f"{reply.said} to {'an addition' if method == 'POST' else 'a removal'}"
            return reply if reply.ok else None

        good, bad = largest(1, len(ids), lambda size: sent("POST", size) is not None)
        if not good:
            raise Unclear(f"even one member is refused ({said})")
        there = self.members.arrived(set(ids[:good]))
        taken = good
        if self.members.removes:
            removal = sent("DELETE", good)
            if removal is None:
                good, bad = largest(1, good, lambda size: sent("DELETE", size) is not None)
            else:
                self.members.time_removal(removal, set(ids[:good]))
            if not good:
                raise Unclear(f"even one member is refused ({said})")
        if said:
            text = f"{good} work; {bad} are refused ({said})"
        elif by_bytes:
            text = f"at least {good}; with more the body would be too long"
        else:
            text = f"at least {good}: no more customers were put in"
        if there < taken:
            text += f"; of {taken} in an accepted addition {there} are in the segment"
        more = "the body is the limit" if by_bytes else "more active customers, and --members-max, would show more"
        self.found.limit(COUNT, text, "members_max", good, refused=bool(said), more=more)

    def _judged(self, reply: Reply) -> Reply:
        """A 429 is about the rate, not about this request. Raises Unclear."""
        return reply.sure() if reply.status == 429 else reply

    def _needs_members(self) -> None:
        if not self.members.wrapped:
            raise Unclear("members do not go in")


def padded(body: bytes, size: int) -> bytes:
    """The same JSON, `size` bytes long, by blanks after its first brace."""
    return body[:1] + b" " * max(0, size - len(body)) + body[1:]
