import importlib
from pathlib import Path

import confluent_kafka as ck
import psycopg
import pytest

from stream.demo.broker import EmbeddedBroker
from stream.demo.news import news
from stream.demo.postgres import TESTS, load_stack, told_shortly
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
        ({"gold": {"1"}, "vip": {"3"}}, "1 missing ("),
        ({"gold": {"1", "2"}, "vip": {"3", "4"}}, "0 missing, 1 too many ("),
        ({"gold": {"1", "2"}}, "1 missing ("),
        ({**TRUTH, "stray": {"9"}}, "0 missing, 1 too many ("),
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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kafka ended with 1 before it could serve. The end of /a/kafka.log:\nfirst\nlast words\n\n",
         "kafka ended with 1 before it could serve. last words"),
        ("t had 1 of 2 records after 30 s", "t had 1 of 2 records after 30 s"),
        ("", "StackError"),
    ],
)  # fmt: skip
def test_what_goes_wrong_in_the_stack_is_one_line(monkeypatch: pytest.MonkeyPatch, text: str, told: str) -> None:
    monkeypatch.syspath_prepend(str(TESTS))
    error = importlib.import_module("stack.process").StackError
    with pytest.raises(Unavailable) as caught, told_shortly():
        raise error(text)
    assert str(caught.value) == told
    assert caught.value.exit_code == 69
    assert caught.value.advice


def test_a_program_of_the_stack_that_is_missing_is_one_line() -> None:
    with pytest.raises(Unavailable, match="setpriv"), told_shortly():
        raise FileNotFoundError(2, "No such file or directory", "setpriv")


def test_a_database_that_went_away_is_one_line() -> None:
    with pytest.raises(Unavailable, match="the connection is closed"), told_shortly():
        raise psycopg.OperationalError("the connection is closed\n")


def test_news_are_who_came_and_who_went() -> None:
    before = {"gold": {"1", "2"}, "vip": set[str]()}
    after = {"gold": {"2", "3", "4"}, "vip": {str(number) for number in range(1_200)}}
    assert list(news(before, after)) == [
        "gold: 3, 4 are members now",
        "gold: 1 is no member any more",
        "vip: 1,200 are members now",
    ]
    assert list(news(after, after)) == []
