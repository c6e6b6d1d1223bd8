"""If every process died now: would what is durable lead to the truth?

By the stored rows a membership is owed, or it is not. One that is not owed, of which no event is to be read again and no request
may land any more, is never looked at again: retail.red must hold what the stored rows say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from stream.core.model import Membership, TopicPartition
from stream.core.rowstate import META_KEY, decode_row
from tests.sim.watch import Violation

if TYPE_CHECKING:
    from tests.sim.play import Play


def check(play: Play, tps: Iterable[TopicPartition]) -> None:
    """Raises Violation for a membership that would stay wrong. tps: the partitions of one or several owners."""
    said: dict[Membership, int] = {}
    owed: set[Membership] = set()
    open_: set[Membership] = set()
    named: set[Membership] = set()
    present: set[Membership] = set()
    for tp in tps:
        committed = play.broker.offsets.get(tp, (0, ""))[0]
        says: dict[object, Membership] = {}
        for key, data in play.broker.state[tp].items():
            if key == META_KEY:
                continue
            state = decode_row(data)
            if state.segment is not None and state.member is not None:
                membership = (state.segment, state.member)
                says[play.names[tp.topic, key]] = membership
                said[membership] = said.get(membership, 0) + 1
                if state.told != "present":
                    owed.add(membership)
            for segment, member, told in state.others:
                (owed if told == "unknown" else present).add((segment, member))
        named.update(says.values())
        for record in reversed(play.broker.logs[tp].history):
            if record.offset < committed:
                break
            if isinstance(record.says, tuple):
                open_.add(record.says)
            if record.row in says:
                open_.add(says[record.row])
    owed.update(membership for membership in present if membership not in said)
    now_s = play.clock.now_s
    for tp in tps:
        for operation in play.watch.homes.get(play.home_of(tp), ()):
            if not operation.answered or operation.land_s > now_s:
                open_.update((operation.call.segment, member) for member in operation.call.members)
    holds = play.shop.holds()
    mine = set(tps)
    for membership in (named | holds) - owed - open_:
        if play.home_of(play.home(membership)) not in {play.home_of(tp) for tp in mine}:
            continue
        if membership[1] in play.odd or membership[0] not in play.shop.segments:
            continue
        if (membership in said) != (membership in holds):
            what = "is said, and not held" if membership in said else "is held, and no row says it"
            raise Violation("crash now", f"{membership} {what}, and by the stored rows nothing is owed", (membership,))
