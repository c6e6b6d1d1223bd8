"""Every knob, with unit, meaning, limits and default. The descriptions are what `segstream settings` prints."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from stream.settings.identity import Identity
from stream.settings.kafka import check, check_secret_names
from stream.settings.kinds import (
    TOPIC,
    Count,
    Problems,
    Replicas,
    Seconds,
    Section,
    Start,
    Text,
    TopicName,
    Url,
    is_plain_http,
)
from stream.settings.references import Reference
from stream.settings.relations import names, references_used, topics_read
from stream.settings.retail_red import RetailRed
from stream.settings.segments import Segments
from stream.settings.tables import Table

_SESSION_TIMEOUT_MS = 45_000
_MAX_POLL_INTERVAL_MS = 300_000


class Registry(Section):
    """The schema registry that Avro values were written with."""

    url: Url = Field(description="base URL, Confluent's or Apicurio's")
    username: Text | None = Field(default=None, description="user name, where the registry asks for one")
    password_file: Path | None = Field(default=None, description="file with the password")
    ca_file: Path | None = Field(
        default=None, description="file with the CA certificates (PEM) to trust instead of the system's"
    )
    timeout_s: Seconds = Field(default=5, ge=0.1, le=60, description="seconds for one answer")
    allow_http: bool = Field(default=False, description="send the password over plain http")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("has only one of username and password_file")
        if self.username is not None and is_plain_http(self.url) and not self.allow_http:
            raise Problems(
                [(("url",), "would carry a password over http: use https, or set registry.allow_http: true")]
            )
        return self


class Batch(Section):
    """When a segment's edits are sent."""

    linger_s: Seconds = Field(default=0.5, ge=0, le=60, description="seconds after its first edit when a batch is sent")
    idle_s: Seconds = Field(
        default=0.1, ge=0, le=60, description="seconds without a new edit after which it is sent earlier"
    )


class Window(Section):
    """How much may be read but not yet be durable; at a limit partitions pause."""

    records_max: Count = Field(default=500_000, ge=1_000, le=100_000_000, description="records at most")
    bytes_max: Count = Field(default=268_435_456, ge=1_048_576, le=1 << 40, description="bytes at most")
    age_s: Seconds = Field(
        default=60,
        ge=1,
        le=86_400,
        description="seconds after which what is stuck is stored as it is, to let the offsets go on",
    )


class State(Section):
    """The memory of what each row said, in compacted topics beside the source."""

    create_topics: bool = Field(default=True, description="create missing state topics; false: they must exist")
    verify_topics: bool = Field(
        default=True,
        description="see that state topics are compacted, and notice recreated topics by their ids; false only for a broker that "
        "cannot be asked",
    )
    replication_factor: Replicas | None = Field(
        default=None, description="replicas of a state topic, 1 to 32767; null: the broker's default"
    )
    hash_secret_file: Path | None = Field(default=None, description="file with the key under which row keys are hashed")
    rows_in_memory_max: Count = Field(
        default=2_000_000, ge=1_000, le=1_000_000_000, description="rows kept in memory at most"
    )
    directory: Path | None = Field(
        default=None, description="folder for the rows above that; null: the system's folder for temporary files"
    )
    forget_after_s: Seconds = Field(
        default=604_800, ge=3_600, le=31_536_000, description="seconds after which an ended row is forgotten"
    )


class Letters(Section):
    """Where records go that cannot be used."""

    topic: TopicName | None = Field(default=None, description="the letters' topic; null: <group.id>-letters")


class Metrics(Section):
    """The port with /metrics, /livez and /readyz."""

    host: Text = Field(default="0.0.0.0", description="address to listen on")  # noqa: S104 - Prometheus comes from outside; the port is read-only
    port: Count = Field(default=9464, ge=0, le=65_535, description="port to listen on; 0: any free one")


class Log(Section):
    """What is logged and how."""

    format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto: text on a terminal, JSON otherwise"
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="the least level that is logged"
    )


def _tables(tables: dict[str, Table]) -> dict[str, Table]:
    problems: list[tuple[tuple[str, ...], str]] = []
    for name in tables:
        if not name.startswith("^"):
            if not TOPIC.fullmatch(name):
                problems.append(((name,), "is no topic name; a pattern starts with ^"))
            continue
        try:
            re.compile(name)
        except re.error as error:
            problems.append(((name,), f"is no valid pattern: {error}"))
    if problems:
        raise Problems(problems)
    return tables


def _references(references: dict[str, Reference]) -> dict[str, Reference]:
    if problems := names(references):
        raise Problems(problems)
    return references


def _secret_files(files: Any) -> Any:
    if isinstance(files, dict):
        check_secret_names(files)
    return files


class Settings(Section):
    """Everything that can be set."""

    kafka: Annotated[dict[str, Any], AfterValidator(check)] = Field(
        description="librdkafka's own properties, by their own names"
    )
    kafka_secret_files: Annotated[dict[str, Path], BeforeValidator(_secret_files)] = Field(
        default_factory=dict, description="librdkafka's secret properties, each with the file that holds it"
    )
    registry: Registry | None = Field(default=None, description="the schema registry, for Avro; null: none")
    retail_red: RetailRed = Field(description="the destination")
    start: Start = Field(
        default=None,
        description="where a group without offsets starts: beginning, end, or a time such as 2026-01-31T06:00:00Z; "
        "null: only where offsets exist",
    )
    tables: Annotated[dict[str, Table], AfterValidator(_tables)] = Field(
        min_length=1,
        max_length=1_000,
        description="the membership tables, by topic, or by a pattern that starts with ^",
    )
    references: Annotated[dict[str, Reference], AfterValidator(_references)] = Field(
        default_factory=dict,
        max_length=100,
        description="tables that the membership tables point to, by a name of your own; every instance reads them whole",
    )
    segments: Segments = Field(
        default_factory=Segments, description="whether segments are created, and where their names come from"
    )
    identity: Identity = Field(default_factory=Identity, description="how customers are found by email or number")
    batch: Batch = Field(default_factory=Batch, description="when a segment's edits are sent")
    window: Window = Field(default_factory=Window, description="how much may be read but not yet be durable")
    commit_interval_s: Seconds = Field(default=0.5, ge=0.05, le=60, description="seconds between two commits")
    drain_s: Seconds = Field(
        default=25, ge=1, le=3_600, description="seconds to finish on a stop or when partitions move away"
    )
    repeat_hold_s: Seconds = Field(
        default=60, ge=0, le=3_600, description="seconds for which a window that a connector sends again is held back"
    )
    transactions: bool = Field(
        default=True, description="state and offsets in one transaction; false: weaker, for brokers without them"
    )
    state: State = Field(default_factory=State, description="the memory of what each row said")
    letters: Letters = Field(default_factory=Letters, description="where records go that cannot be used")
    metrics: Metrics = Field(default_factory=Metrics, description="the port with /metrics, /livez and /readyz")
    log: Log = Field(default_factory=Log, description="what is logged and how")

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems: list[tuple[tuple[str, ...], str]] = []
        if not self.retail_red.api_timeout_s < self.drain_s:
            problems.append((("drain_s",), f"is not above retail_red.api_timeout_s, {self.retail_red.api_timeout_s:g}"))
        if not self.drain_s < self.max_poll_interval_s:
            problems.append((("drain_s",), f"is not below max.poll.interval.ms, {self.max_poll_interval_s:g} s"))
        if self.session_timeout_s > self.max_poll_interval_s:
            problems.append((("kafka", "session.timeout.ms"), "is above max.poll.interval.ms"))
        if self.batch.idle_s > self.batch.linger_s:
            problems.append((("batch", "idle_s"), f"is above batch.linger_s, {self.batch.linger_s:g}"))
        if self.start not in (None, "beginning"):
            problems += [
                (
                    ("start",),
                    f"can only be beginning: table {topic} is not partitioned_by membership, unseen rows may count",
                )
                for topic, table in self.tables.items()
                if table.partitioned_by != "membership"
            ]
            problems += [
                (("start",), f"can only be beginning: the member of table {topic} is not by id, unseen rows may count")
                for topic, table in self.tables.items()
                if table.partitioned_by == "membership" and table.terms[0][0] != "id"
            ]
        own = self.letters_topic
        problems += [(("letters", "topic"), f"is also a table's topic, {own}") for topic in self.tables if topic == own]
        problems += references_used(self.tables, self.references)
        problems += topics_read(self.tables, self.references, self.segments, f"{self.group_id}-", own)
        if problems:
            raise Problems(problems)
        return self

    @property
    def group_id(self) -> str:
        """The consumer group."""
        return str(self.kafka["group.id"])

    @property
    def letters_topic(self) -> str:
        """The topic of letters, by default named after the group."""
        return self.letters.topic or f"{self.group_id}-letters"

    @property
    def max_poll_interval_s(self) -> float:
        """Seconds between two polls after which the group takes the partitions away."""
        return int(self.kafka.get("max.poll.interval.ms", _MAX_POLL_INTERVAL_MS)) / 1000

    @property
    def session_timeout_s(self) -> float:
        """Seconds without a heartbeat after which partitions are taken away (the broker's default with KIP-848)."""
        return int(self.kafka.get("session.timeout.ms", _SESSION_TIMEOUT_MS)) / 1000

    @property
    def lease_s(self) -> float:
        """Seconds since the last contact with the group for which a request may still be written."""
        # two thirds: the rest is for a clock that runs slow and a write that takes its time
        return self.session_timeout_s * 2 / 3
