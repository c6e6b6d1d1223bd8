"""From settings to the plain values that the core and the edge take. The one place that knows both."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from stream.core.catalog import CatalogRule, Plan
from stream.core.claims import mapping
from stream.core.decode.spec import DecodeSpec
from stream.core.identity import IdentityRule
from stream.core.limits import Limits, LookupLimits
from stream.core.mapping import Condition, RowMapping, TableRule
from stream.core.owners import TableSpec
from stream.core.references import Reference as ReferenceTable
from stream.core.references import ReferenceRule
from stream.core.resolver import Identities, Reference
from stream.core.rowstate import fingerprint
from stream.core.verdict import VerdictPolicy
from stream.edge.api import ApiConfig
from stream.edge.token import Credentials
from stream.errors import SettingsError
from stream.settings import Segments, Settings, Table


def secret(path: Any) -> bytes:
    """The content of a secret file. Raises SettingsError, naming the file, when it cannot be read."""
    if path is None:
        return b""
    try:
        return bytes(path.read_bytes().strip())
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error


def kafka_properties(settings: Settings) -> dict[str, Any]:
    """Properties of librdkafka with the secrets from their files."""
    properties: dict[str, Any] = dict(settings.kafka)
    for name, path in settings.kafka_secret_files.items():
        properties[name] = secret(path).decode()
    return properties


def limits(settings: Settings) -> Limits:
    api, batch, window = settings.retail_red, settings.batch, settings.window
    return Limits(
        members_max=api.members_max,
        body_bytes_max=api.body_bytes_max,
        slots=api.slots,
        linger_s=batch.linger_s,
        idle_s=batch.idle_s,
        backlog_linger_s=max(5.0, batch.linger_s),
        api_timeout_s=api.api_timeout_s,
        settle_s=api.settle_s,
        window_records_max=window.records_max,
        window_bytes_max=window.bytes_max,
        window_age_s=window.age_s,
        standings_max=max(2 * window.records_max, 1000),
        commit_interval_s=settings.commit_interval_s,
        repeat_hold_s=settings.repeat_hold_s,
        forget_after_s=settings.state.forget_after_s,
    )


def policy(settings: Settings) -> VerdictPolicy:
    api = settings.retail_red
    return VerdictPolicy(api.retry_base_s, api.retry_cap_s, api.retry_after_cap_s)


def api_config(settings: Settings) -> ApiConfig:
    api = settings.retail_red
    return ApiConfig(
        merchant=api.merchant,
        credentials=Credentials(
            client_id=api.client_id,
            client_secret_file=api.client_secret_file,
            grant=api.grant,
            username=api.username or "",
            password_file=api.password_file,
        ),
        auth_url=api.urls.auth,
        segmentation_url=api.urls.segmentation,
        customer_url=api.urls.customer,
        allow_http=api.allow_http,
        slots=api.slots,
        api_timeout_s=api.api_timeout_s,
        connect_timeout_s=min(5.0, api.api_timeout_s),
        run_in_background=api.run_in_background,
        filter_parameter=api.filter_parameter,
    )


def rule(table: Table) -> TableRule:
    return TableRule(
        segment=table.segment.parts,
        members=table.terms,
        present=tuple(Condition(c.column, c.test, c.values) for c in table.present),
        replica_identity=table.replica_identity,
        partitioned_by=table.partitioned_by,
        segment_reference=table.segment.reference or "",
    )


LOOKUP_FRAME_BYTES: Final = 256
"""What a look-up's address holds beside the list: the path with the merchant, the filter's frame, limit and offset."""


def lookup_limits(settings: Settings) -> LookupLimits:
    api, identity = settings.retail_red, settings.identity
    return LookupLimits(
        values_max=api.lookup_values_max,
        url_bytes_max=api.lookup_url_bytes_max - LOOKUP_FRAME_BYTES,
        slots=api.lookup_slots,
        found_ttl_s=identity.found_ttl_s,
        missing_ttl_s=min(30.0, identity.missing_retry_s),
        cache_max=identity.cache_max,
        retry_s=identity.missing_retry_s,
        retry_cap_s=identity.missing_retry_cap_s,
        retries_per_s=identity.retries_per_s,
    )


SEGMENTS: Final = "_segments"
"""The table of segments among the references: no name that an operator can give."""


def references(settings: Settings) -> list[tuple[ReferenceRule, DecodeSpec]]:
    """What is read whole: the references, and the table of segments."""
    rules: list[tuple[ReferenceRule, DecodeSpec]] = []
    for name, one in settings.references.items():
        kept = (*((one.code,) if one.code is not None else ()), *(column for _, column in one.terms))
        kept_rule = ReferenceRule(name, one.key, kept)
        rules.append((kept_rule, DecodeSpec(one.topic, kept_rule.decoded(), one.envelope, one.format, one.framing)))
    segments = settings.segments
    if segments.topic is not None:
        kept_rule = ReferenceRule(SEGMENTS, "", catalog_rule(segments).columns(), tells_deletes=True, clips=True)
        spec = DecodeSpec(segments.topic, kept_rule.decoded(), segments.envelope, segments.format, segments.framing)
        rules.append((kept_rule, spec))
    return rules


def identity_rule(settings: Settings) -> IdentityRule:
    return IdentityRule(settings.identity.emails, settings.identity.tie_break)


def identities(settings: Settings, tables: Mapping[str, ReferenceTable]) -> Identities:
    """How customers and segments are found. tables: the references, by name."""
    found: dict[str, Reference] = {}
    for name, one in settings.references.items():
        kinds = (*(("code",) if one.code is not None else ()), *(kind for kind, _ in one.terms))
        found[name] = Reference(tables[name].get, kinds)
    return Identities(identity_rule(settings), found, lookup_limits(settings))


def catalog_rule(segments: Segments) -> CatalogRule:
    return CatalogRule(
        segments.code or "",
        segments.name or "",
        segments.description or "",
        tuple(Condition(c.column, c.test, c.values) for c in segments.present),
        segments.on_delete,
    )


def plan(settings: Settings, tables: Mapping[str, ReferenceTable]) -> Plan:
    """Which segments are created."""
    segments = settings.segments
    if segments.topic is None:
        return Plan(segments.create_missing)
    return Plan(segments.create_missing, segments.topic, catalog_rule(segments), tables[SEGMENTS])


class Tables:
    """Which table a topic belongs to, and what is compiled for it. Topics match by name first, then by pattern."""

    def __init__(self, settings: Settings) -> None:
        self._exact: Final = {name: table for name, table in settings.tables.items() if not name.startswith("^")}
        self._patterns: Final = [
            (re.compile(name), table) for name, table in settings.tables.items() if name.startswith("^")
        ]
        self._specs: dict[str, TableSpec] = {}
        self._own: Final = (f"{settings.group_id}-", settings.letters_topic)
        self._references: Final = settings.references
        self._segments: Final = settings.segments
        self.subscriptions: Final = [*settings.tables, *([settings.segments.topic] if settings.segments.topic else [])]

    def find(self, topic: str) -> Table | None:
        table = self._exact.get(topic)
        if table is None and not topic.startswith(self._own):
            table = next((t for pattern, t in self._patterns if pattern.search(topic)), None)
        return table

    def __getitem__(self, topic: str) -> Table:
        table = self.find(topic)
        if table is None:
            raise SettingsError(f"topic {topic} belongs to no table")
        return table

    def spec(self, topic: str) -> TableSpec:
        spec = self._specs.get(topic)
        if spec is None:
            if topic == self._segments.topic:
                # it says no memberships: only who owns its partitions matters
                unread = TableRule((("text", "-"),), (("id", self._segments.code or ""),), partitioned_by="segment")
                spec = TableSpec(RowMapping(unread), sole=False, unread=True)
            else:
                table = self[topic]
                spec = TableSpec(mapping(rule(table)), table.partitioned_by == "none")
            self._specs[topic] = spec
        return spec

    def decoding(self, topic: str) -> DecodeSpec:
        of = self._segments if topic == self._segments.topic else self[topic]
        return DecodeSpec(topic, self.spec(topic).mapping.columns, of.envelope, of.format, of.framing)

    def fingerprint(self, hash_secret: bytes) -> Callable[[str], str]:
        """What decides what a row of a topic says, as a short text."""

        def of(topic: str) -> str:
            if topic == self._segments.topic:
                return fingerprint("segments", hash_secret)
            mapped = self.spec(topic).mapping.rule
            named = [mapped.segment_reference, *(kind.removeprefix("ref:") for kind, _ in mapped.members)]
            parts = (
                mapped.segment,
                mapped.members,
                [(c.column, c.test, c.values) for c in mapped.present],
                self[topic].envelope,
                [(one.topic, one.key, one.code, one.terms) for name in named if (one := self._references.get(name))],
            )
            return fingerprint(parts, hash_secret)

        return of

    def consumed(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Of all topics and their partition counts, those that belong to a table."""
        return {
            topic: count
            for topic, count in counts.items()
            if self.find(topic) is not None or topic == self._segments.topic
        }
