"""The topics themselves: there, kept, allowed; the group's offsets and the row state that belongs to them."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from stream.check.findings import Findings
from stream.core.model import Slice, TopicPartition
from stream.core.rowstate import META_KEY, PartitionState, decode_partition
from stream.edge.kafka import Position
from stream.edge.probe import Answer, Sampled, TopicFacts
from stream.errors import AuthError, SettingsError
from stream.settings import Settings

FOREVER: Final = "-1"


def absent(found: Findings, topic: str, counts: Mapping[str, int]) -> None:
    """A table's topic that is not there."""
    near = get_close_matches(topic, list(counts), n=3, cutoff=0.6)
    found.fail(
        topic, "topic", "does not exist, or this user may not describe it",
        f"there are: {', '.join(near)}" if near else "start the connector, or correct the name (prefix.schema.table)",
    )  # fmt: skip


def source(found: Findings, topic: str, facts: TopicFacts, sampled: Sampled) -> None:
    """Partitions, records, clean-up and retention of a table's topic."""
    records = sum(sampled.high[n] - sampled.low[n] for n in sampled.low)
    found.ok(topic, "topic", f"{facts.partitions} partitions, {records} offsets")
    if sampled.why:
        code = AuthError.exit_code if sampled.denied else 69
        found.fail(topic, "read", f"cannot be read: {sampled.why}", "grant Read on it" if sampled.denied else "", code)
    elif facts.operations is not None and "read" not in facts.operations:
        found.fail(topic, "read", "this user may not read it", "grant Read on it", AuthError.exit_code)
    headless = [n for n, low in sampled.low.items() if low > 0]
    config = facts.config
    policy = config.get("cleanup.policy", "") if config is not None else None
    snapshot = "signal an ad hoc snapshot: insert into the signal table ('1', 'execute-snapshot', …)"
    if policy is None:
        if headless:
            found.warn(topic, "retention", f"the oldest records of {len(headless)} partitions are gone", snapshot)
        else:
            found.ok(topic, "retention", "unknown (the broker does not tell its configuration); nothing is gone yet")
    elif policy == "compact":
        found.ok(topic, "retention", "compacted: the newest event of each row stays")
    else:
        kept = config.get("retention.ms", "") if config is not None else ""
        bounded = kept != FOREVER or (config is not None and config.get("retention.bytes", FOREVER) != FOREVER)
        alter = f"kafka-configs --alter --entity-type topics --entity-name {topic} --add-config cleanup.policy=compact"
        if headless:
            text = f"cleanup.policy={policy}, and the oldest records are gone: rows are missing here"
            found.warn(topic, "retention", text, f"{alter}; then {snapshot}")
        elif bounded:
            text = f"cleanup.policy={policy}, retention.ms={kept}: older rows will be gone for a new start or a rebuild"
            found.warn(topic, "retention", text, alter)
        else:
            found.ok(topic, "retention", f"cleanup.policy={policy}, kept for ever")


def own(
    found: Findings,
    topic: str,
    what: str,
    partitions: int,
    facts: TopicFacts,
    creatable: Answer | None,
    *,
    create: bool,
    verify: bool = True,
) -> None:
    """A topic that the program writes: the row state (with its source's partitions), or the letters."""
    made = f"kafka-topics --create --topic {topic} --partitions {partitions} --config cleanup.policy=compact"
    if facts.partitions:
        if what == "row state" and facts.partitions != partitions:
            found.fail(topic, what, f"has {facts.partitions} partitions, its source has {partitions}",
                       f"delete {topic} and the group's offsets of the source, then start anew")  # fmt: skip
            return
        policy = (facts.config or {}).get("cleanup.policy")
        if policy is not None and policy != "compact":
            alter = (
                f"kafka-configs --alter --entity-type topics --entity-name {topic} --add-config cleanup.policy=compact"
            )
            say = found.fail if what == "row state" else found.warn
            say(topic, what, f"cleanup.policy={policy}: what it holds would be lost", alter)
            return
        rights = facts.operations
        if rights is not None and not {"read", "write"} <= rights:
            lacks = ", ".join(sorted({"read", "write"} - rights))
            found.fail(topic, what, f"this user may not {lacks}", "grant Read and Write on it", AuthError.exit_code)
            return
        told = "rights unknown" if rights is None else "may be read and written"
        found.ok(topic, what, f"is there, {facts.partitions} partitions, {told}")
    elif not create:
        # with verify_topics, `run` refuses it: a broker that makes it at the first write makes one that forgets
        say = found.fail if verify else found.warn
        say(topic, what, "is not there, and state.create_topics is false", made)
    elif creatable is None or creatable.works is None:
        found.ok(topic, what, "is not there; whether it could be created is unknown (the broker does not tell)")
    elif creatable.works:
        found.ok(topic, what, "is not there; it can be created")
    else:
        code = AuthError.exit_code if creatable.denied else 69
        found.fail(topic, what, f"is not there and cannot be created: {creatable.why}", made, code)


def control(found: Findings, topic: str, facts: TopicFacts, *, create: bool) -> None:
    """The topic by which operators speak to running instances: it need not be there."""
    if not facts.partitions:
        advice = (
            "" if create else f"kafka-topics --create --topic {topic} --partitions 1 --config cleanup.policy=compact"
        )
        found.ok(topic, "control", "is not there; `segstream segments --accept` is what needs it", advice)
        return
    policy = (facts.config or {}).get("cleanup.policy")
    if policy is not None and policy != "compact":
        found.fail(
            topic, "control", f"cleanup.policy={policy}: what was accepted would be forgotten",
            f"kafka-configs --alter --entity-type topics --entity-name {topic} --add-config cleanup.policy=compact",
        )  # fmt: skip
    elif facts.operations is not None and "read" not in facts.operations:
        found.fail(topic, "control", "this user may not read it", "grant Read on it", AuthError.exit_code)
    else:
        found.ok(topic, "control", f"is there, {facts.partitions} partitions")


def offsets(
    found: Findings,
    settings: Settings,
    topic: str,
    sampled: Sampled,
    committed: Mapping[TopicPartition, Position],
    state: Mapping[int, PartitionState] | None,
    own_state: PartitionState,
) -> None:
    """Where the group stands, and whether its row state belongs to it. state: None when it could not be looked at."""
    mine = {tp.partition: position.offset for tp, position in committed.items() if tp.topic == topic}
    reset = (
        f"to begin anew: delete topic {settings.group_id}-{topic}-rows, "
        f"kafka-consumer-groups --group {settings.group_id} --topic {topic} --delete-offsets, and set start: beginning"
    )
    if not mine:
        if state:
            found.fail(topic, "offsets", "row state is there, but the group has no committed offset (expired?)", reset)
        elif settings.start is None:
            found.fail(topic, "offsets", "the group has none, and start is not set",
                       "settings: start: beginning", SettingsError.exit_code)  # fmt: skip
        else:
            found.ok(topic, "offsets", f"the group has none: the first start is at {settings.start}")
        return
    gone = [n for n, offset in mine.items() if n in sampled.low and offset < sampled.low[n]]
    beyond = [n for n, offset in mine.items() if n in sampled.high and offset > sampled.high[n]]
    if gone:
        found.fail(
            topic, "offsets", f"those of {len(gone)} partitions are gone from the topic: events were missed", reset
        )
    elif beyond:
        found.fail(topic, "offsets", f"those of {len(beyond)} partitions lie beyond the end: was it recreated?", reset)
    else:
        lag = sum(sampled.high[n] - offset for n, offset in mine.items() if n in sampled.high)
        found.ok(topic, "offsets", f"{len(mine)} of {len(sampled.low)} partitions, lag {lag}")
    if state is not None and not state:
        found.fail(topic, "row state", "the group has committed offsets, but their row state is gone", reset)
    for stored in (state or {}).values():
        if stored.fingerprint != own_state.fingerprint:
            found.fail(
                topic, "row state", "the settings (or the hash secret) changed what a row says", f"undo it, or {reset}"
            )
            return
        if stored.topic_id and own_state.topic_id and stored.topic_id != own_state.topic_id:
            found.fail(topic, "row state", "it belongs to a predecessor of this topic, which was recreated", reset)
            return


def partition_states(slices: list[Slice]) -> dict[int, PartitionState]:
    """The partitions' meta records among samples of a state topic. One of an unknown form is left out."""
    found: dict[int, PartitionState] = {}
    for one in slices:
        for key, value in zip(one.keys, one.values, strict=True):
            if key == META_KEY and value is not None:
                try:
                    found[one.tp.partition] = decode_partition(value)
                except ValueError:
                    continue
    return found
