"""The control topic `<group>-control`: what operators tell every running instance, one compacted record a matter.

    accept_code/gold2 → {"v":1,"accept_code":"gold2"}

schemas/control.schema.json describes the value. A record without a value takes back what it said. Nothing here is an edge: each
start reads all of it again, and what it says may be heard before or after everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import confluent_kafka as ck
import msgspec

from stream.core.mapping import SEGMENT_CODE
from stream.core.model import Slice, TopicPartition
from stream.edge.state import producer_properties
from stream.errors import AuthError, Unavailable

VERSION: Final = 1
WRITE_TIMEOUT_S: Final = 15.0
ACCEPTED_MAX: Final = 100_000
SAID_MAX: Final = 1_000
SHOWN_CHARS_MAX: Final = 100

_ACCEPT: Final = "accept_code/"


class Control(msgspec.Struct, omit_defaults=True):
    """One record of the control topic. accept_code: a segment may have this code, though it had another."""

    v: int
    accept_code: str | None = None


class Accepted(NamedTuple):
    """A code that is accepted, or not any more."""

    code: str
    accepted: bool


_decode: Final = msgspec.json.Decoder(Control).decode


def control_topic(group: str) -> str:
    return f"{group}-control"


def acceptance(code: str) -> tuple[bytes, bytes]:
    """The record, key and value, that accepts a code."""
    return f"{_ACCEPT}{code}".encode(), msgspec.json.encode(Control(VERSION, accept_code=code))


class Controls:
    """The feed of the control topic: what is accepted, and what of that is news. log(kind, text) is for people."""

    def __init__(self, log: Callable[[str, str], None]) -> None:
        self._log: Final = log
        self._by: dict[str, TopicPartition] = {}
        self._news: dict[str, bool] = {}
        self._said: set[str] = set()

    def news(self) -> list[Accepted]:
        """What changed since the last call."""
        news, self._news = self._news, {}
        return [Accepted(code, accepted) for code, accepted in news.items()]

    # ---- as a feed -----------------------------------------------------------------------------------------------

    def feed(self, taken: Slice) -> None:
        for key, value in zip(taken.keys, taken.values, strict=True):
            name = (key or b"").decode(errors="replace")
            code = name[len(_ACCEPT) :]
            if not name.startswith(_ACCEPT) or SEGMENT_CODE.fullmatch(code) is None:
                self._ignore(name, "this version knows no such key")
            elif value is None:
                self._take(code, taken.tp, accepted=False)
            elif why := _unusable(value, code):
                self._ignore(name, why)
            elif len(self._by) >= ACCEPTED_MAX and code not in self._by:
                self._ignore(_ACCEPT, f"more than {ACCEPTED_MAX} codes")
            else:
                self._take(code, taken.tp, accepted=True)

    def waiting(self) -> Iterable[TopicPartition]:
        return ()

    def anew(self, topic: str, partitions: Iterable[TopicPartition]) -> None:
        """What the topic said before is not said any more."""
        del topic
        gone = set(partitions)
        for code in [code for code, tp in self._by.items() if tp in gone]:
            self._take(code, self._by[code], accepted=False)

    def _take(self, code: str, tp: TopicPartition, *, accepted: bool) -> None:
        if (code in self._by) != accepted:
            self._news[code] = accepted
        if accepted:
            self._by[code] = tp
        else:
            self._by.pop(code, None)

    def _ignore(self, name: str, why: str) -> None:
        """Once for each key: another version's matters are no fault of this one."""
        if name not in self._said and len(self._said) < SAID_MAX:
            self._said.add(name)
            self._log("control", f"record {name[:SHOWN_CHARS_MAX]!r} is ignored: {why}")


def _unusable(value: bytes, code: str) -> str:
    try:
        control = _decode(value)
    except msgspec.MsgspecError:
        return "it is no control record"
    if control.v != VERSION:
        return f"it is of version {control.v}, this program reads version {VERSION}"
    return "" if control.accept_code == code else "its value is not about its key"


def write(properties: Mapping[str, Any], topic: str, key: bytes, value: bytes | None) -> None:
    """Write one control record and wait until it is there. Raises Unavailable, AuthError."""
    errors: list[ck.KafkaError] = []
    last: list[str] = []

    def reported(error: ck.KafkaError | None, _: Any) -> None:
        if error is not None:
            errors.append(error)

    producer = ck.Producer(
        {
            **producer_properties(properties),
            "enable.idempotence": True,
            "delivery.timeout.ms": int(WRITE_TIMEOUT_S * 1000),
            "error_cb": lambda error: last.append(str(error.str())),
        }
    )
    try:
        producer.produce(topic, key=key, value=value, on_delivery=reported)
        left = producer.flush(WRITE_TIMEOUT_S + 1)
    except ck.KafkaException as error:
        errors.append(error.args[0])
        left = 0
    if errors and errors[0].code() == ck.KafkaError.TOPIC_AUTHORIZATION_FAILED:
        raise AuthError(f"this user may not write to {topic}", advice=f"grant Write on {topic}")
    if errors or left:
        why = str(errors[0].str()) if errors else (last[-1] if last else "no answer")
        raise Unavailable(f"the record was not written to {topic}: {why}")
