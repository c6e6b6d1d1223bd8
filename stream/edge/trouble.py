"""Why a call to Kafka failed, as an error with an exit code and something to do about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import confluent_kafka as ck

from stream.errors import AuthError, SegstreamError, SettingsError, Unavailable

T = TypeVar("T")

AGAIN_S: Final = 0.1
PASSING_ERRORS: Final = frozenset(
    (
        ck.KafkaError.LEADER_NOT_AVAILABLE,
        ck.KafkaError.NOT_LEADER_FOR_PARTITION,
        ck.KafkaError.UNKNOWN_TOPIC_OR_PART,
        ck.KafkaError.REPLICA_NOT_AVAILABLE,
        ck.KafkaError.FENCED_LEADER_EPOCH,
        ck.KafkaError.UNKNOWN_LEADER_EPOCH,
        ck.KafkaError.OFFSET_NOT_AVAILABLE,
        ck.KafkaError.KAFKA_STORAGE_ERROR,
        ck.KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - the client's own name
        ck.KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - the client's own name
        ck.KafkaError._TRANSPORT,  # noqa: SLF001 - the client's own name
    )
)
"""A partition without a leader that the broker knows: for a moment after its topic was made, and whenever its leader moves."""

AUTHORIZATION_ERRORS: Final = frozenset(
    (
        ck.KafkaError.TOPIC_AUTHORIZATION_FAILED,
        ck.KafkaError.GROUP_AUTHORIZATION_FAILED,
        ck.KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        ck.KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    )
)
_AUTHENTICATION_ERRORS: Final = frozenset(
    (ck.KafkaError._AUTHENTICATION, ck.KafkaError.SASL_AUTHENTICATION_FAILED)  # noqa: SLF001 - the client's own name
)


def patiently(step: Callable[[], T], patience_s: float) -> T:
    """What this step gives. Errors that pass by themselves are waited out, for at most patience_s; then they are raised."""
    until_s = time.monotonic() + patience_s
    while True:
        try:
            return step()
        except ck.KafkaException as error:
            if error.args[0].code() not in PASSING_ERRORS or time.monotonic() > until_s:
                raise
            time.sleep(AGAIN_S)


def refused(error: ck.KafkaException) -> SettingsError:
    """The error to raise when the client does not take the properties: a value out of range, a file that is not there."""
    return SettingsError(f"kafka: {error.args[0].str()}", advice="librdkafka's documentation names what is allowed")


def trouble(what: str, error: ck.KafkaError, seen: Sequence[ck.KafkaError] = ()) -> SegstreamError:
    """The error to raise for a failed call; seen: what the client reported meanwhile, which often says why."""
    for one in (*reversed(seen), error):
        if one.code() in _AUTHENTICATION_ERRORS:
            return AuthError(
                f"Kafka: {what}: {one.str()}", advice="check sasl.username, the secret files, and security.protocol"
            )
        if one.code() in AUTHORIZATION_ERRORS:
            return AuthError(
                f"Kafka: {what}: {one.str()}",
                advice="grant Read on the tables' topics and the group, Read and Write on topics named after it",
            )
    told = [one for one in seen if one.code() != ck.KafkaError._ALL_BROKERS_DOWN]  # noqa: SLF001 - the client's own name
    text = str(told[-1].str() if told else error.str())
    return Unavailable(f"Kafka: {what}: {text}", advice="check kafka.bootstrap.servers and security.protocol")
