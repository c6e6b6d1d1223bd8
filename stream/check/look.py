"""The order of the looking: settings, brokers, references, each table's topic, what the program writes, and retail.red."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from stream import wiring
from stream.check import destination, judge, places, references, sample
from stream.check.findings import Findings
from stream.check.references import Parents
from stream.check.sample import Seen
from stream.core.model import SchemaId, TopicPartition
from stream.core.rowstate import VERSION, PartitionState
from stream.edge.control import control_topic
from stream.edge.probe import PARTITIONS_SAMPLED_MAX, Answer, Probe, Sampled, TopicFacts
from stream.edge.registry import Registry
from stream.edge.state import state_topic
from stream.errors import AuthError, SegstreamError, SettingsError, Unavailable
from stream.settings import Settings

SAMPLES: Final = 200
"""Records from each end of each partition."""


def check(settings: Settings) -> Findings:
    """Look at everything; nothing is changed anywhere. Ends within a minute, whatever does not answer."""
    found = Findings()
    hold = _Hold()
    try:
        secret = wiring.secret(settings.state.hash_secret_file)
        properties = wiring.kafka_properties(settings)
    except SettingsError as error:
        found.error("settings", "secret files", error)
    else:
        found.ok("settings", "file", f"group {settings.group_id}, merchant {settings.retail_red.merchant}")
        try:
            probe = Probe(properties, settings.group_id)
        except SettingsError as error:
            found.error("kafka", "client", error)
        else:
            try:
                _kafka(found, settings, probe, secret, hold)
            finally:
                probe.close()
    identities = {**hold.parents.identities, **hold.identities}
    destination.look(found, settings, hold.codes, hold.named, identities)
    return found


@dataclass(slots=True)
class _Hold:
    """What the samples hold for the looking at retail.red: segment codes, those of the table of segments, some identities."""

    codes: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)
    identities: dict[str, dict[str, None]] = field(default_factory=dict)
    parents: Parents = field(default_factory=Parents)


# ---- Kafka -----------------------------------------------------------------------------------------------------------


def _kafka(found: Findings, settings: Settings, probe: Probe, secret: bytes, hold: _Hold) -> None:
    try:
        counts = probe.topics()
    except SegstreamError as error:
        found.error("kafka", "brokers", error)
        return
    found.ok("kafka", "brokers", f"answer, {len(counts)} topics are visible")
    _transactions(found, settings, probe)
    tables = wiring.Tables(settings)
    topics = sorted(tables.consumed(counts))
    for name in settings.tables:
        if not name.startswith("^") and name not in counts:
            places.absent(found, name, counts)
        elif name.startswith("^") and not any(tables.find(topic) is settings.tables[name] for topic in topics):
            found.warn(name, "topic", "the pattern matches no topic yet", "is the prefix right?")
    states = {state_topic(settings.group_id, topic): counts[topic] for topic in topics}
    written = {**states, settings.letters_topic: 1}
    whole = wiring.references(settings)
    control = control_topic(settings.group_id)
    asked = dict.fromkeys([*topics, *written, *(spec.topic for _, spec in whole), *([control] if whole else [])])
    facts, _ = probe.facts(list(asked), counts)
    creatable = probe.creatable(
        {name: count for name, count in written.items() if name not in counts}
        if settings.state.create_topics
        else {},
        settings.state.replication_factor,
    )  # fmt: skip
    try:
        positions = probe.committed([TopicPartition(t, n) for t in topics for n in range(counts[t])]) if topics else {}
    except SegstreamError as error:
        found.error("group", "offsets", error)
        positions = None
    registry = _Registry(found, settings)
    fingerprint = tables.fingerprint(secret)
    owners: dict[str, str] = {}
    taken: dict[str, Sampled] = {}
    try:
        _references(found, settings, probe, counts, facts, registry, hold, taken)
        for topic in topics:
            sampled = taken.get(topic) or probe.sample(topic, counts[topic], SAMPLES, SAMPLES)
            if topic not in taken:
                places.source(found, topic, facts[topic], sampled)
            # the table of segments says no memberships: only its offsets and its state are as any table's
            seen = None
            if not tables.spec(topic).unread:
                seen = _samples(found, tables, topic, sampled, registry, hold.parents)
            if seen is not None:
                hold.codes.update(seen.segments)
                for kind, values in seen.identities.items():
                    hold.identities.setdefault(kind, {}).update(values)
                _owners(found, tables, topic, seen, owners)
                _shared(found, tables, topic, hold.parents)
                references.pointed(found, topic, seen.pointed, hold.parents)
            name = state_topic(settings.group_id, topic)
            if positions is not None:
                state = None
                if name in counts:
                    begun = probe.sample(name, counts[name], SAMPLES, 0)
                    state = places.partition_states(begun.slices) if not begun.why else None
                    # what was not among the first records may still stand further on
                    state = state or (None if any(begun.high[n] for n in begun.high) else {})
                elif settings.state.create_topics:
                    state = {}
                ours = PartitionState(VERSION, facts[topic].topic_id or "", fingerprint(topic), counts[topic])
                places.offsets(found, settings, topic, sampled, positions, state, ours)
            _own(found, settings, name, "row state", counts[topic], facts, creatable)
    finally:
        registry.close()
    _own(found, settings, settings.letters_topic, "letters", 1, facts, creatable)
    if whole:
        places.control(found, control, facts[control], create=settings.state.create_topics)


def _references(
    found: Findings, settings: Settings, probe: Probe, counts: Mapping[str, int], facts: Mapping[str, TopicFacts],
    registry: _Registry, hold: _Hold, taken: dict[str, Sampled],
) -> None:  # fmt: skip
    """What is read whole: each topic is sampled once, though several references may read it."""
    for rule, spec in wiring.references(settings):
        topic = spec.topic
        if topic not in counts:
            places.absent(found, topic, counts)
            continue
        if topic not in taken:
            taken[topic] = probe.sample(topic, counts[topic], SAMPLES, SAMPLES)
            places.source(found, topic, facts[topic], taken[topic])
        sampled = taken[topic]
        if sampled.why:
            continue
        whole = counts[topic] <= PARTITIONS_SAMPLED_MAX and all(
            sampled.high[number] - sampled.low[number] <= 2 * SAMPLES for number in sampled.low
        )
        try:
            references.read(found, settings, rule, spec, sampled, registry.fetch, hold.parents, whole=whole)
        except SegstreamError as error:
            found.error("registry", "schemas", error)
    hold.named = hold.parents.named(settings)


def _own(
    found: Findings, settings: Settings, name: str, what: str, partitions: int, facts: Mapping[str, TopicFacts],
    creatable: Mapping[str, Answer],
) -> None:  # fmt: skip
    state = settings.state
    places.own(
        found, name, what, partitions, facts[name], creatable.get(name),
        create=state.create_topics, verify=state.verify_topics,
    )  # fmt: skip


def _transactions(found: Findings, settings: Settings, probe: Probe) -> None:
    if not settings.transactions:
        found.warn(
            "kafka", "transactions", "false is set: state is acknowledged first, offsets are committed after it; "
            "an instance that was only paused is not fenced", "settings: transactions: true, where brokers have them",
        )  # fmt: skip
        return
    answer = probe.transactions()
    if answer.works:
        found.ok("kafka", "transactions", "the brokers begin them")
    else:
        found.fail(
            "kafka", "transactions", f"cannot be begun: {answer.why}",
            f"grant Write on transactional ids that begin with {settings.group_id}-, "
            "or, for brokers without transactions, settings: transactions: false",
            AuthError.exit_code if answer.denied else Unavailable.exit_code,
        )  # fmt: skip


def _samples(
    found: Findings, tables: wiring.Tables, topic: str, sampled: Sampled, registry: _Registry, parents: Parents
) -> Seen | None:  # fmt: skip
    if sampled.why:
        return None
    spec, mapping, fetch = tables.decoding(topic), tables.spec(topic).mapping, registry.fetch
    try:
        seen = sample.read(spec, mapping, sampled.slices, fetch, parents.code)
        other = 0
        if not seen.says and not seen.keyless and seen.needs is None:
            other = sample.other_envelope(spec, sampled.slices, fetch)
    except SegstreamError as error:
        found.error("registry", "schemas", error)
        return None
    judge.judge(found, topic, tables[topic], mapping, seen, other=other, has_registry=registry.configured)
    return seen


def _owners(found: Findings, tables: wiring.Tables, topic: str, seen: Seen, owners: dict[str, str]) -> None:
    """A membership has one owner: two topics feed one segment only where one instance owns both."""
    own = "one owner" if tables.spec(topic).sole else topic
    for code in seen.segments:
        known = owners.setdefault(code, own)
        if known != own:
            found.fail(
                topic, "owner", f"segment {code} is fed by {known} and by {own}: a membership must have one owner",
                "settings: partitioned_by: none for the tables that share segments, and run one instance",
            )  # fmt: skip
            return


def _shared(found: Findings, tables: wiring.Tables, topic: str, parents: Parents) -> None:
    """Where several instances share a topic by a reference's key, no two of its keys may share a code."""
    table = tables[topic]
    name = table.segment.reference
    shared = parents.shared(name) if name is not None and table.partitioned_by != "none" else []
    if shared:
        found.fail(
            topic, "owner", f"several rows of reference {name} have the code {shared[0]}: a membership must have one owner, "
            f"though partitioned_by: {table.partitioned_by} is set",
            "settings: partitioned_by: none, and run one instance; or give each its own code",
        )  # fmt: skip


class _Registry:
    """The registry, if one is set: asked for what the samples need."""

    def __init__(self, found: Findings, settings: Settings) -> None:
        self._registry: Registry | None = None
        self.fetch: sample.Fetch | None = None
        section = settings.registry
        self.configured = section is not None
        if section is None:
            return
        try:
            password = wiring.secret(section.password_file).decode() if section.password_file else None
            self._registry = Registry(section.url, section.username, password, section.ca_file, section.timeout_s)
            # any id will do: that there is none is an answer, too
            self._registry.fetch(SchemaId("id", 1))
        except SegstreamError as error:
            found.error("registry", "answers", error)
        else:
            found.ok("registry", "answers", section.url)
            self.fetch = self._registry.fetch

    def close(self) -> None:
        if self._registry is not None:
            self._registry.close()
