"""The order of the looking: settings, brokers, each table's topic, what the program writes, and retail.red."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from stream import wiring
from stream.check import judge, places, sample
from stream.check.findings import Findings
from stream.check.sample import Seen
from stream.core.model import SchemaId, TopicPartition
from stream.core.rowstate import VERSION, PartitionState
from stream.edge.api import RetailRed
from stream.edge.probe import Answer, Probe, Sampled, TopicFacts
from stream.edge.registry import Registry
from stream.edge.state import state_topic
from stream.errors import AuthError, DataError, SegstreamError, SettingsError, Unavailable
from stream.settings import Settings

SAMPLES: Final = 200
"""Records from each end of each partition."""
SEGMENTS_LOOKED_UP_MAX: Final = 20
API_TIMEOUT_S_MAX: Final = 5.0
API_ATTEMPTS: Final = 2


def check(settings: Settings) -> Findings:
    """Look at everything; nothing is changed anywhere. Ends within a minute, whatever does not answer."""
    found = Findings()
    codes: set[str] = set()
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
                codes = _kafka(found, settings, probe, secret)
            finally:
                probe.close()
    _retail_red(found, settings, codes)
    return found


# ---- Kafka -----------------------------------------------------------------------------------------------------------


def _kafka(found: Findings, settings: Settings, probe: Probe, secret: bytes) -> set[str]:
    """Returns the segment codes that the samples name."""
    try:
        counts = probe.topics()
    except SegstreamError as error:
        found.error("kafka", "brokers", error)
        return set()
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
    facts, _ = probe.facts([*topics, *written], counts)
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
    codes: set[str] = set()
    try:
        for topic in topics:
            sampled = probe.sample(topic, counts[topic], SAMPLES, SAMPLES)
            places.source(found, topic, facts[topic], sampled)
            seen = _samples(found, tables, topic, sampled, registry)
            if seen is not None:
                codes.update(seen.segments)
                _owners(found, tables, topic, seen, owners)
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
    return codes


def _own(
    found: Findings, settings: Settings, name: str, what: str, partitions: int, facts: Mapping[str, TopicFacts],
    creatable: Mapping[str, Answer],
) -> None:  # fmt: skip
    places.own(found, name, what, partitions, facts[name], creatable.get(name), create=settings.state.create_topics)


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


def _samples(found: Findings, tables: wiring.Tables, topic: str, sampled: Sampled, registry: _Registry) -> Seen | None:
    if sampled.why:
        return None
    spec, mapping, fetch = tables.decoding(topic), tables.spec(topic).mapping, registry.fetch
    try:
        seen = sample.read(spec, mapping, sampled.slices, fetch)
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


# ---- retail.red ------------------------------------------------------------------------------------------------------


def _retail_red(found: Findings, settings: Settings, codes: set[str]) -> None:
    config = wiring.api_config(settings)
    api: RetailRed | None = None
    try:
        api = RetailRed(replace(config, api_timeout_s=min(config.api_timeout_s, API_TIMEOUT_S_MAX)))
        api.ping(attempts=API_ATTEMPTS)
        found.ok("retail.red", "access", f"token, merchant {config.merchant} and the segments route answer")
        _segments(found, api, sorted(codes)[:SEGMENTS_LOOKED_UP_MAX])
    except SegstreamError as error:
        found.error("retail.red", "access", error)
    finally:
        if api is not None:
            api.close()


def _segments(found: Findings, api: RetailRed, codes: list[str]) -> None:
    missing: list[str] = []
    there = 0
    for code in codes:
        try:
            segment = api.get_segment(code)
        except DataError as error:
            found.warn("retail.red", "segments", str(error), error.advice)
            continue
        if segment is None:
            missing.append(code)
        elif segment.type == "dynamic":
            found.fail(
                "retail.red", "segments", f"{code} is dynamic: its members cannot be set",
                "create a fixed segment under another code",
            )  # fmt: skip
        else:
            there += 1
    if missing:
        shown = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        found.warn(
            "retail.red", "segments", f"{len(missing)} of {len(codes)} do not exist: {shown}; their rows wait",
            "create them at retail.red: the rows that wait are sent then",
        )  # fmt: skip
    elif there:
        found.ok("retail.red", "segments", f"the {there} looked up exist")
