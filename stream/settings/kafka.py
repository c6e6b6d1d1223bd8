"""Which of librdkafka's properties may be set, and why the others may not.

An allowlist: some properties load code or run commands, some would undo what this program guarantees.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

from stream.settings.kinds import PathOfKeys, Problems

ALLOWED: Final = frozenset(
    """
    bootstrap.servers client.id client.rack group.id group.instance.id group.protocol group.remote.assignor
    partition.assignment.strategy session.timeout.ms heartbeat.interval.ms max.poll.interval.ms
    coordinator.query.interval.ms
    security.protocol sasl.mechanism sasl.mechanisms sasl.username sasl.kerberos.service.name sasl.kerberos.principal
    sasl.kerberos.keytab sasl.kerberos.min.time.before.relogin sasl.oauthbearer.method sasl.oauthbearer.client.id
    sasl.oauthbearer.scope sasl.oauthbearer.extensions sasl.oauthbearer.token.endpoint.url https.ca.location
    ssl.ca.location ssl.certificate.location ssl.key.location ssl.keystore.location ssl.crl.location ssl.cipher.suites
    ssl.curves.list ssl.sigalgs.list ssl.endpoint.identification.algorithm enable.ssl.certificate.verification
    fetch.min.bytes fetch.max.bytes fetch.wait.max.ms fetch.error.backoff.ms fetch.queue.backoff.ms
    max.partition.fetch.bytes queued.min.messages queued.max.messages.kbytes check.crcs
    message.max.bytes receive.message.max.bytes max.in.flight.requests.per.connection
    socket.timeout.ms socket.keepalive.enable socket.nagle.disable socket.max.fails socket.send.buffer.bytes
    socket.receive.buffer.bytes socket.connection.setup.timeout.ms connections.max.idle.ms
    reconnect.backoff.ms reconnect.backoff.max.ms retry.backoff.ms retry.backoff.max.ms
    broker.address.family broker.address.ttl client.dns.lookup metadata.max.age.ms metadata.recovery.strategy
    metadata.recovery.rebootstrap.trigger.ms topic.metadata.refresh.interval.ms
    topic.metadata.refresh.fast.interval.ms topic.metadata.propagation.max.ms
    statistics.interval.ms debug log_level
    """.split()  # noqa: SIM905 - a list of a hundred quoted lines reads worse
)
SECRETS: Final = frozenset(
    ("sasl.password", "ssl.key.password", "ssl.key.pem", "ssl.keystore.password", "sasl.oauthbearer.client.secret")
)
REQUIRED: Final = {
    "bootstrap.servers": "the brokers, such as kafka-1:9092,kafka-2:9092",
    "group.id": "the consumer group; state and letters are named after it",
}
STRATEGY: Final = "partition.assignment.strategy"
_OWNED: Final = {
    "enable.auto.commit": "offsets are committed only after retail.red accepted what they led to",
    "enable.auto.offset.store": "offsets are committed only after retail.red accepted what they led to",
    "auto.commit.interval.ms": "use commit_interval_s",
    "auto.offset.reset": "use start; a missing offset must stop the program, never jump",
    "isolation.level": "state is always read committed",
    "transactional.id": "it is derived from the group and the instance",
    "transaction.timeout.ms": "it is kept below the session time-out",
    "enable.idempotence": "state writes need it on",
    "acks": "state writes need all replicas",
    "request.required.acks": "state writes need all replicas",
    "enable.partition.eof": "the program uses it itself",
    "allow.auto.create.topics": "use state.create_topics",
    "topic.blacklist": "list the topics under tables",
    "metadata.broker.list": "write it as bootstrap.servers",
    "plugin.library.paths": "it would load code",
    "ssl.engine.location": "it would load code",
    "ssl.providers": "it would load code",
    "sasl.kerberos.kinit.cmd": "it would run a shell command",
    "enable.sasl.oauthbearer.unsecure.jwt": "unsigned tokens prove nothing",
}
_CLASSIC_ONLY: Final = (STRATEGY, "session.timeout.ms", "heartbeat.interval.ms")
_WHOLE: Final = ("session.timeout.ms", "heartbeat.interval.ms", "max.poll.interval.ms")


def check(properties: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """Return the properties, with this program's own assignment strategy where the group protocol has one.

    Raises Problems with one entry for each property that is wrong.
    """
    # Helm writes 300000 as 3e+05
    properties = {
        key: int(value) if isinstance(value, float) and value.is_integer() else value
        for key, value in properties.items()
    }
    problems: list[tuple[PathOfKeys, str]] = [
        ((key,), text) for key, value in properties.items() if (text := _problem(key, value))
    ]
    problems += [((), f"{key} is required: {what}") for key, what in REQUIRED.items() if not properties.get(key)]
    new_protocol = properties.get("group.protocol") == "consumer"
    if new_protocol:
        problems += [
            ((key,), "is decided by the broker with group.protocol=consumer: leave it out")
            for key in _CLASSIC_ONLY
            if key in properties
        ]
    if problems:
        raise Problems(problems)
    return dict(properties) if new_protocol else {STRATEGY: "cooperative-sticky", **properties}


def check_secret_names(files: Mapping[str, Any]) -> None:
    """Raise Problems for each name that is no secret property of librdkafka."""
    known = ", ".join(sorted(SECRETS))
    problems = [((key,), f"is no secret property; allowed: {known}") for key in files if key not in SECRETS]
    if problems:
        raise Problems(problems)


def _problem(key: str, value: Any) -> str | None:
    if key in SECRETS:
        return f"is a secret: put it in a file and write kafka_secret_files: {{{key}: /path/to/file}}"
    if key in _OWNED:
        return f"may not be set: {_OWNED[key]}"
    if key not in ALLOWED:
        near = get_close_matches(key, ALLOWED, n=1, cutoff=0.8)
        return "is not among the properties that may be set" + (f"; did you mean {near[0]}?" if near else "")
    if type(value) not in (str, int, float, bool):
        return "is not a string, a number or a boolean"
    if key == STRATEGY and value != "cooperative-sticky":
        return "can only be cooperative-sticky: others take every partition away at each rebalance"
    if key == "enable.ssl.certificate.verification" and value is not True and value != "true":
        return "can only be true: without it anybody can pose as the broker"
    if key == "ssl.endpoint.identification.algorithm" and value != "https":
        return "can only be https: without it anybody with a certificate can pose as the broker"
    if key in _WHOLE and (type(value) is bool or not str(value).isdecimal() or int(value) < 1):
        return "is not a whole number of milliseconds above 0"
    if key == "group.protocol" and value not in ("classic", "consumer"):
        return "is neither classic nor consumer"
    return None
