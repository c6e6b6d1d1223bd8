"""What reaches the log, and what never does."""

import io
import json
import logging
import sys
import threading
import time
import warnings
from collections.abc import Iterator

import confluent_kafka
import httpx
import pytest

from stream.edge import logs
from stream.edge.logs import Flood, Log, configure, librdkafka_logger, redact

EMAIL = "canary.person+tag@shop.example"
SECRET = "canary-5ecret"  # noqa: S105 - a made-up one, to be found nowhere


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook, logging.raiseExceptions)
    yield io.StringIO()
    root.handlers[:], root.level, sys.excepthook, threading.excepthook, logging.raiseExceptions = before
    logging.captureWarnings(capture=False)


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_json_when_the_stream_is_no_terminal(out: io.StringIO) -> None:
    configure("auto", "info", out)
    Log("kafka").info("assigned", topic="t", partitions=[0, 1], rows=3)
    (line,) = lines(out)
    assert line.pop("time", "").endswith("Z")  # type: ignore[union-attr]
    assert line == {
        "level": "info",
        "log": "kafka",
        "event": "assigned",
        "topic": "t",
        "partitions": [0, 1],
        "rows": 3,
    }


def test_text_on_a_terminal(out: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out, "isatty", lambda: True)
    configure("auto", "info", out)
    Log("kafka").info("assigned", topic="t", why="it came", none=None)
    Log("kafka").debug("not shown")
    assert out.getvalue()[13:] == 'info    kafka: assigned topic=t why="it came" none=null\n'


@pytest.mark.parametrize("style", ["text", "json"])
def test_nothing_private_is_written(out: io.StringIO, style: str) -> None:
    configure(style, "debug", out)  # type: ignore[arg-type]
    log = Log("api")
    looked_up = f"looked up {EMAIL}"
    log.info(looked_up, email=EMAIL, customer={"emailAddress": EMAIL, "n": [EMAIL]}, url=f"x?q={EMAIL}")
    log.info("x", url="https://x/customers?filters=%7B%22emailAddress%22%3A%22canary.person%40shop.example%22%7D")
    log.warning("sent", password=SECRET, access_token=SECRET, client_secret=SECRET, headers={"Authorization": SECRET})
    header = f"header Authorization: Bearer {SECRET}"
    log.warning(header)
    log.warning("body grant_type=password&client_secret=S&x=1 then {'refresh_token': 'S'}".replace("S", SECRET))
    logging.getLogger("third.party").warning("person %s with password=%s", EMAIL, SECRET)
    log.unexpected("failed", ValueError(f"row of {EMAIL}, token: {SECRET}"))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"beware of {EMAIL}", stacklevel=1)
    written = out.getvalue()
    assert written.count("\n") >= 8
    assert "canary" not in written
    assert "shop.example" not in written


def test_a_path_of_a_secret_file_is_no_secret(out: io.StringIO) -> None:
    configure("json", "info", out)
    fields = {"client_secret_file": "/run/secrets/x", "token_expires_at_s": 5}
    Log("api").info("x", **fields)
    assert fields.items() <= lines(out)[0].items()


def test_a_line_forges_no_other(out: io.StringIO) -> None:
    configure("text", "info", out)
    Log("api").info("got", code="a\nFAKE error main: hacked\x1b[2J")
    assert out.getvalue().count("\n") == 1
    assert "\x1b" not in out.getvalue()


def test_an_uncaught_error_is_one_json_line_without_private_text(out: io.StringIO) -> None:
    configure("json", "info", out)
    thread = threading.Thread(target=lambda: 1 / len(()), name="sender-1")
    thread.start()
    thread.join()
    sys.excepthook(ValueError, ValueError(EMAIL), None)
    first, second = lines(out)
    assert first["thread"] == "sender-1"
    assert "ZeroDivisionError" in str(first["error"])
    assert "canary" not in str(second)


def test_httpx_writes_no_urls(out: io.StringIO) -> None:
    configure("json", "debug", out)
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as client:
        client.get("https://customer.example/customers?filters=x")
    assert "customer.example" not in out.getvalue()


def test_librdkafka_speaks_through_the_same_handler(out: io.StringIO) -> None:
    configure("json", "debug", out)
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": "127.0.0.1:1", "debug": "broker"}, logger=librdkafka_logger()
    )
    deadline_s = time.monotonic() + 5
    while not out.getvalue() and time.monotonic() < deadline_s:
        producer.poll(0.05)
    assert {line["log"] for line in lines(out)} == {"librdkafka"}


def test_a_flood_is_counted_not_written() -> None:
    now_s = [0.0]
    flood = Flood(lambda: now_s[0])

    def record(event: str) -> logging.LogRecord:
        return logging.LogRecord("segstream.api", logging.WARNING, "", 0, event, (), None)

    passed = sum(flood.filter(record("drop")) for _ in range(1_000))
    assert passed == logs.FLOOD_LINES_MAX
    assert flood.filter(record("other"))
    now_s[0] = logs.FLOOD_INTERVAL_S
    after = record("drop")
    assert flood.filter(after)
    assert after.__dict__["fields"] == {"lines_suppressed": 1_000 - logs.FLOOD_LINES_MAX}


def test_redaction_takes_time_in_proportion_to_the_text() -> None:
    started_s = time.perf_counter()
    for text in (
        "a" * 100_000,
        "a@" * 50_000,
        "a.@-." * 20_000,
        "password" * 20_000,
        "%40" * 30_000,
        "a%22" * 20_000,
        "token " * 9_000,
    ):
        assert len(redact(text)) <= 3 * logs.LENGTH_MAX
    assert time.perf_counter() - started_s < 1.0


def test_a_closed_stream_stops_nothing(out: io.StringIO) -> None:
    configure("json", "info", out)
    stream = logging.getLogger().handlers[0].stream  # type: ignore[attr-defined]
    other = io.StringIO()
    logging.getLogger().handlers[0].stream = other  # type: ignore[attr-defined]
    other.close()
    Log("main").info("goes nowhere")
    logging.getLogger().handlers[0].stream = stream  # type: ignore[attr-defined]
