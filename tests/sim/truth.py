"""What retail.red should hold where rows name the customer by something else, from the source and the customers alone.

A row means whomever its identity found at some time since it names them so: a customer who changes their email stays. So each row
has a set of customers of whom one must be there; nobody may be there whom no row means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from stream.core.model import Membership, TopicPartition
from stream.core.rows import PUT_OFF
from stream.core.rowstate import META_KEY, RowState, decode_row
from tests.sim.named import CUSTOMERS, SEGMENTS, NamedTable, said
from tests.sim.watch import Violation

if TYPE_CHECKING:
    from tests.sim.named_play import NamedPlay

AWAY = ("segment_missing", "segment_deleted", "segment_dynamic")


def expand(play: NamedPlay, terms: Any) -> tuple[list[tuple[str, str]], bool]:
    """Kind and value of each identity, in order of preference, by what the parents held last; whether a parent never was."""
    if isinstance(terms, str):
        return [("id", terms)], False
    plain: list[tuple[str, str]] = []
    absent = False
    for term in terms:
        kind, value = term.split(":", 1)
        if kind != "ref":
            plain.append((kind, value))
            continue
        held = play.database.last.get((CUSTOMERS, int(value.split(":")[1])))
        if held is None:
            absent = True
            continue
        plain.extend((k, v) for k, v in zip(("number", "email"), held, strict=True) if v is not None)
    return plain, absent


def meant(play: NamedPlay, plain: list[tuple[str, str]], *, absent: bool) -> tuple[str, str]:
    """Who is meant now, or why nobody is."""
    index = play.customers.index(play.clock.now_s)
    for kind, value in plain:
        if kind == "id":
            return value, ""
        holders = play.customers.holders(kind, value, index)
        if who := play.customers.meant(holders):
            return who, ""
        if holders:
            return "", "customer_ambiguous"
    return "", "customer_reference" if absent or not plain else "customer_missing"


def could(play: NamedPlay, plain: list[tuple[str, str]], since_s: float) -> set[str]:
    """Everybody who was meant at some time since then: a later identity counts where those before it found nobody once."""
    customers = play.customers
    points = [customers.index(at_s) for at_s in (since_s, *customers.changes(since_s))]
    found: set[str] = set()
    for kind, value in plain:
        if kind == "id":
            return found | {value}
        holders = [customers.holders(kind, value, index) for index in points]
        found.update(who for one in holders if (who := customers.meant(one)))
        if all(holders):
            break
    return found


def codes_of(play: NamedPlay, segment: str) -> set[str]:
    """The codes that this segment may have: one that changed is kept until the operator accepts the other."""
    if not segment.startswith("ref:"):
        return {segment.removeprefix("code:")}
    key = (SEGMENTS, int(segment.rsplit(":", 1)[1]))
    last = play.database.last.get(key)
    if last is not None and last[0] in play.accepted:
        return {last[0]}
    return {values[0] for values in play.database.held.get(key, ())}


def called(play: NamedPlay, code: str) -> bool:
    """Whether a segment may have this code: until another is accepted its members are in the one that it had."""
    parents = play.database.parents[SEGMENTS]
    return any(
        code in codes_of(play, f"ref:segments:{key}")
        for name, key in play.database.last
        if name == SEGMENTS and key in parents
    )


def stored(play: NamedPlay, table: NamedTable, key: tuple[Any, ...]) -> RowState:
    """The row's durable state, wherever it is."""
    place = play.keys.get((table.topic, *key))
    for tp, rows in play.broker.state.items():
        if tp.topic == table.topic and place in rows:
            return decode_row(rows[place])
    return RowState(1)


def wrong(play: NamedPlay) -> tuple[str, tuple[Membership, ...]]:
    """The first thing that is not as it should be, and the memberships concerned; "" when all is."""
    shop, world = play.shop, play.world
    held = {m for m in shop.holds() if m[0] != play.dynamic}
    if play.dynamic and shop.segments[play.dynamic] != {"somebody"}:
        return f"the dynamic segment {play.dynamic} was written to", ((play.dynamic, "somebody"),)
    supported: set[Membership] = set()
    for table, rows in play.database.rows.items():
        assert isinstance(table, NamedTable)
        for key, row in rows.items():
            says = said(table, row)
            if not isinstance(says, tuple):
                continue
            plain, absent = expand(play, says[1])
            codes = codes_of(play, says[0])
            who, why = meant(play, plain, absent=absent)
            since_s = play.database.since[table, key] - world.lookups.found_ttl_s - 5.0
            possible = {(code, member) for code in codes for member in could(play, plain, since_s)}
            supported |= possible
            if not who and isinstance(says[1], tuple):
                # a parent that names nobody leaves who was named before
                supported |= {(code, m) for code in codes for m in play.watch.possible(says)}  # type: ignore[attr-defined]
            if held & possible or play.dynamic in codes:
                continue
            text = _unrepresented(play, stored(play, table, key), codes, who, why)
            if text:
                return f"{table.topic} {key} {says}: {text}", tuple(sorted(possible | {(c, who) for c in codes}))
    excess = held - supported
    if excess:
        return f"too many: {sorted(excess)}", tuple(sorted(excess))
    return _defined(play)


def _unrepresented(play: NamedPlay, state: RowState, codes: set[str], who: str, why: str) -> str:
    """What is wrong about a row for which nobody is there; "" when that is right."""
    customers, world = play.customers, play.world
    if not codes:
        return "" if state.waits == "segment_reference" else f"no such segment row, and it waits for {state.waits}"
    if state.told == "present" and state.member in customers.deleted_s and (
        not play.strict or state.member not in play.shop.told_404
        or play.shop.told_404[state.member] < customers.deleted_s[state.member]
    ):  # fmt: skip
        return ""  # nobody was told yet that this customer is gone
    back = codes & set(play.shop.segments) and "segment_back" in world.acts
    if state.told == "present" and codes & set(play.shop.removed) and not back:
        return ""  # it was there, and went with its segment
    if state.pending in AWAY and state.segment in codes - set(play.shop.segments):
        return ""
    if not who:
        return "" if state.waits == why else f"nobody is meant ({why}), and it waits for {state.waits}"
    if not codes & set(play.shop.segments):
        return "" if state.pending in AWAY else f"no segment {codes}, and it is pending for {state.pending}"
    return f"{who} is not in {codes}; its state: {state}"


def _defined(play: NamedPlay) -> tuple[str, tuple[Membership, ...]]:
    """The table of segments: what is there exists by its name, what is not was done to."""
    world, about, database = play.world, play.shop.about, play.database
    if not world.catalog:
        return "", ()
    for (name, key), values in database.last.items():
        if name != SEGMENTS or values[0] == play.dynamic:
            continue
        codes = codes_of(play, f"ref:segments:{key}")
        there = [about[code] for code in codes if code in about]
        if key in database.parents[SEGMENTS]:
            if not there:
                return f"segment {values} does not exist", ()
            if all(one.name != values[1] for one in there) and values[0] in codes and len(codes) == 1:
                return f"segment {values} has the name {there[0].name}", ()
        elif world.on_delete == "delete" and there:
            return f"segment {values} was deleted, and exists", ()
        elif world.on_delete == "deactivate" and any(one.status != "inactive" for one in there):
            return f"segment {values} was deleted, and is active", ()
    return "", ()


def compare(play: NamedPlay) -> None:
    """At the end. Raises Violation."""
    text, about = wrong(play)
    if text:
        raise Violation("end state", text, about)
    waits: Counter[str] = Counter()
    for tp, rows in play.broker.state.items():
        if tp.topic != SEGMENTS:
            waits.update(s.waits for k, d in rows.items() if k != META_KEY and (s := decode_row(d)).waits is not None)
    told: Counter[str] = Counter()
    for instance in play.instances:
        if instance.alive:
            told.update(instance.engine.pending())
    for why in (*AWAY, PUT_OFF):
        del told[why]
    if +waits != +told:
        raise Violation("pending", f"stored rows wait for {waits}, and {told} are reported")


def crash_now(play: NamedPlay, tps: Iterable[TopicPartition]) -> None:
    """If every process died now: a membership of which nothing is owed or open is held if, and only if, a stored row says it."""
    tps = list(tps)
    said_: Counter[Membership] = Counter()
    owed: set[Membership] = set()
    open_: set[Membership] = set()
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
                said_[membership] += 1
                if state.told != "present":
                    owed.add(membership)
            for segment, member, told in state.others:
                (owed if told == "unknown" else present).add((segment, member))
            claims = [*state.formers]
            if state.claim is not None and (
                state.waits
                or any(t.startswith("ref:") for t in state.claim.terms)
                or (play.accepted and state.claim.segment.startswith("ref:"))
            ):
                # what a parent changed is issued again by its hash
                claims.append(state.claim)
            for claim in claims:
                open_ |= _possible(play, (claim.segment, claim.terms))
        for record in reversed(play.broker.logs[tp].history):
            if record.offset < committed:
                break
            if isinstance(record.says, tuple):
                open_ |= _possible(play, record.says)
            if record.row in says:
                open_.add(says[record.row])
    owed.update(membership for membership in present if membership not in said_)
    now_s = play.clock.now_s
    for tp in tps:
        for operation in play.watch.homes.get(play.home_of(tp), ()):
            if not operation.answered or operation.land_s > now_s:
                open_.update((operation.call.segment, member) for member in operation.call.members)
    shop = play.shop
    holds = shop.holds()
    mine = {play.home_of(tp) for tp in tps}
    for membership in (set(said_) | holds) - owed - open_:
        code, member = membership
        if (
            code == play.dynamic
            or code not in shop.segments
            or code in shop.removed
            or member in play.customers.deleted_s
        ):
            continue
        if play.home_of(play.home(membership)) in mine and (membership in said_) != (membership in holds):
            what = "is said, and not held" if membership in said_ else "is held, and no row says it"
            raise Violation("crash now", f"{membership} {what}, and by the stored rows nothing is owed", (membership,))


def _possible(play: NamedPlay, says: Any) -> set[Membership]:
    codes = play.watch.codes(says[0]) if not isinstance(says[1], str) else {says[0]}  # type: ignore[attr-defined]
    return {(code, member) for code in codes for member in play.watch.possible(says)}  # type: ignore[attr-defined]
