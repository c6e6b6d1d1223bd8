from pathlib import Path

import confluent_kafka as ck
import pytest

from stream.demo.broker import EmbeddedBroker
from stream.demo.postgres import load_stack
from stream.demo.run import verdict
from stream.errors import Unavailable

TRUTH = {"gold": {"1", "2"}, "vip": {"3"}}


def judged(found: dict[str, set[str]], code: int = 0) -> tuple[int, str]:
    said: list[str] = []
    return verdict(TRUTH, found, code, "9 changes", said.append), "\n".join(said)


def test_equal_segments_end_with_0() -> None:
    result, text = judged({"gold": {"2", "1"}, "vip": {"3"}})
    assert result == 0
    assert "\nequal: 3 members after 9 changes" in text


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"gold": {"1"}, "vip": {"3"}}, "1 missing, 0 too many"),
        ({"gold": {"1", "2"}, "vip": {"3", "4"}}, "0 missing, 1 too many"),
        ({"gold": {"1", "2"}}, "1 missing, 0 too many"),
        ({**TRUTH, "stray": {"9"}}, "0 missing, 1 too many"),
    ],
)
def test_a_planted_difference_is_found_and_ends_with_1(found: dict[str, set[str]], told: str) -> None:
    result, text = judged(found)
    assert result == 1
    assert told in text
    assert "NOT EQUAL" in text


def test_a_consumer_that_ended_badly_is_no_success() -> None:
    assert judged(TRUTH, code=70)[0] == 1


def test_a_broker_that_dropped_records_is_told_loudly() -> None:
    broker = EmbeddedBroker()
    try:
        producer = ck.Producer({"bootstrap.servers": broker.address, "log_level": 0})
        producer.produce("state.topic", value=b"a", partition=0)
        assert producer.flush(10) == 0
        broker.check_whole()
        for _ in range(70):
            producer.produce("state.topic", value=bytes(100_000), partition=0)
            producer.flush(10)
        with pytest.raises(Unavailable, match=r"dropped \d+ records of state\.topic\[0\]"):
            broker.check_whole()
    finally:
        broker.close()


def test_without_a_checkout_postgres_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="checkout"):
        load_stack(tmp_path)
