"""Every knob, with unit, meaning, limits and default. The descriptions are what `segstream settings` prints."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from stream.settings.kafka import check, check_secret_names
from stream.settings.kinds import Count, Problems, Replicas, Seconds, Section, Start, Text, Url, is_plain_http
from stream.settings.tables import Table

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)
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


class Urls(Section):
    """Base URLs of retail.red's services, without /v1."""

    auth: Url = Field(default="https://auth.shopgate.io", description="the token service")
    segmentation: Url = Field(default="https://segmentation.shopgate.io", description="the segmentation service")
    customer: Url = Field(default="https://customer.shopgate.io", description="the customer service")


class RetailRed(Section):
    """The destination."""

    merchant: Annotated[Text, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = Field(description="merchant code")
    client_id: Text = Field(description="API client id")
    client_secret_file: Path = Field(description="file with the API client's secret; read again at each token fetch")
    grant: Literal["password", "client_credentials"] = Field(
        default="client_credentials", description="how a token is asked for"
    )
    username: Text | None = Field(default=None, description="user name, for grant: password")
    password_file: Path | None = Field(default=None, description="file with the user's password, for grant: password")
    urls: Urls = Field(default_factory=Urls, description="base URLs of the services")
    allow_http: bool = Field(default=False, description="allow plain http to other hosts than this machine")
    members_max: Count = Field(default=500, ge=1, le=10_000, description="members in one request at most")
    body_bytes_max: Count = Field(
        default=262_144, ge=1_024, le=16_777_216, description="bytes in one request's body at most"
    )
    slots: Count = Field(default=8, ge=1, le=64, description="requests in flight at once at most, in this process")
    api_timeout_s: Seconds = Field(
        default=10, ge=0.1, le=120, description="seconds until a request without an answer is given up"
    )
    settle_s: Seconds = Field(
        default=5,
        ge=0,
        le=600,
        description="seconds for which an accepted removal or an unanswered request may still take effect",
    )
    run_in_background: bool | None = Field(
        default=None, description="send runInBackground with removals; null leaves it to the server"
    )
    filter_parameter: Literal["filters", "filter"] = Field(
        default="filters", description="the query parameter that carries the filter of a list"
    )
    lookup_values_max: Count = Field(
        default=100, ge=1, le=1_000, description="emails or numbers asked for in one request at most"
    )
    lookup_url_bytes_max: Count = Field(
        default=4_000, ge=512, le=16_000, description="bytes in one look-up's URL at most"
    )
    retry_base_s: Seconds = Field(
        default=0.2, ge=0.01, le=60, description="seconds of the first back-off, doubled each time"
    )
    retry_cap_s: Seconds = Field(default=30, ge=0.01, le=3_600, description="seconds of back-off at most")
    retry_after_cap_s: Seconds = Field(
        default=300, ge=1, le=86_400, description="seconds of a Retry-After believed at most"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems: list[tuple[tuple[str, ...], str]] = []
        if self.grant == "password" and (self.username is None or self.password_file is None):
            problems.append((("grant",), "is password, which needs username and password_file"))
        if not self.allow_http:
            problems += [
                (("urls", name), "is plain http to another host: use https, or set retail_red.allow_http: true")
                for name, url in self.urls
                if is_plain_http(url)
            ]
        if self.retry_base_s > self.retry_cap_s:
            problems.append((("retry_base_s",), f"is above retry_cap_s, which is {self.retry_cap_s:g}"))
        if problems:
            raise Problems(problems)
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

    topic: Annotated[Text, Field(pattern=f"^{_TOPIC.pattern}$")] | None = Field(
        default=None, description="the letters' topic; null: <group.id>-letters"
    )


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
            if not _TOPIC.fullmatch(name):
                problems.append(((name,), "is no topic name; a pattern starts with ^"))
            continue
        try:
            re.compile(name)
        except re.error as error:
            problems.append(((name,), f"is no valid pattern: {error}"))
    if problems:
        raise Problems(problems)
    return tables


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
        own = self.letters_topic
        problems += [(("letters", "topic"), f"is also a table's topic, {own}") for topic in self.tables if topic == own]
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
