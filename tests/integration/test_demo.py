"""The whole demo, short and without a terminal: faults, kills, interruptions; and what it leaves behind: nothing."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import confluent_kafka as ck
import httpx
import pytest

from stream.demo.broker import EmbeddedBroker
from stream.demo.lag import Lag
from stream.demo.processes import GROUP, Consumer, Sandbox, settings_text
from stream.demo.run import Plan, demo, finish
from stream.demo.shop import TOPIC, Shop
from stream.errors import Unavailable

# ruff: noqa: S603 - our own commands

DEMO = [sys.executable, "-m", "stream", "demo", "--rate", "150"]
SHORT = Plan(duration_s=3, rate=100, seed=1)


def children(parent: int) -> set[int]:
    """The processes that this one started and that still run."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, mother = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(mother) == parent and state != "Z":
                found.add(int(folder.name))
    return found


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(what: Callable[[], bool], deadline_s: float = 20) -> None:
    until_s = time.monotonic() + deadline_s
    while not what():
        assert time.monotonic() < until_s, "it did not come to be in time"
        time.sleep(0.01)


@pytest.fixture
def nothing_left() -> Iterator[None]:
    before = children(os.getpid())
    yield
    assert children(os.getpid()) - before == set()


def interrupted_at(text: str) -> tuple[Callable[[str], None], list[str]]:
    """A `say` at which a person presses Ctrl-C when it says this, and what was said."""
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if text in line:
            raise KeyboardInterrupt

    return say, said


def test_it_ends_equal_after_faults_and_a_kill() -> None:
    done = subprocess.run(
        [*DEMO, "--duration-s", "8"], capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill -9" in done.stdout
    assert "429: 20% of requests" in done.stdout
    assert "5xx: 30% of requests" in done.stdout
    assert "members in sync" in done.stdout
    assert "lag     ?" not in done.stdout
    assert "sent within Retry-After 0, overlapping operations 0" in done.stdout.replace("\n ", "")
    assert max(map(len, done.stdout.splitlines())) <= 130
    assert done.stdout.splitlines()[-1].startswith("equal: ")


@pytest.mark.usefixtures("nothing_left")
def test_a_kill_in_the_middle_of_sending_ends_equal(tmp_path: Path) -> None:
    broker = EmbeddedBroker()
    # every answer takes a second, so that the kill finds requests that the sandbox has and has not answered
    sandbox = Sandbox(tmp_path, ("removal_delay_s=[0.1,0.8]", "slow_share=1.0", "slow_s=1.0"))
    consumer = Consumer(tmp_path)
    said: list[str] = []
    try:
        (tmp_path / "segstream.yaml").write_text(settings_text(broker.address, sandbox.url, tmp_path / "secret"))
        shop = Shop(broker.producer(), seed=3)
        for _ in range(600):
            shop.act()
        shop.flush()
        consumer.start()
        wait_for(lambda: any(sandbox.present().values()))  # some are through
        for _ in range(300):
            shop.act()
        shop.flush()
        wait_for(lambda: sandbox.rows_under_way() > 0)
        consumer.kill()
        cut = sandbox.stats()["in_flight_rows"]
        assert cut["open"] + cut["late"] > 0  # which may land without anybody to hear of it
        for _ in range(300):
            shop.act()
        shop.flush()
        assert sandbox.all_members() != shop.truth()
        consumer.start()
        assert finish(shop, consumer, sandbox, said.append, broker.check_whole) == 0, said
        assert sandbox.stats()["overlaps"] == 0
    finally:
        consumer.kill()
        sandbox.close()
        broker.close()
    assert said[-1].startswith("equal: ")


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_with_the_comparison(sign: signal.Signals) -> None:
    with subprocess.Popen([*DEMO, "--duration-s", "60"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout)
        while "members in sync" not in next(lines):
            pass
        process.send_signal(sign)
        rest = list(lines)
    assert process.returncode == 0
    assert rest[0].startswith("stopping")
    assert rest[-1].startswith("equal: ")


def test_the_live_view_and_its_keys_on_a_terminal() -> None:
    inside, outside = pty.openpty()
    termios.tcsetwinsize(outside, (24, 80))
    before = termios.tcgetattr(outside)
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    shown = bytearray()
    with subprocess.Popen(
        [*DEMO, "--duration-s", "60"], stdin=outside, stdout=outside, env=environment | {"TERM": "xterm-256color"}
    ) as process:  # fmt: skip

        def reads(what: str) -> bool:
            if select.select([inside], [], [], 0.05)[0]:
                shown.extend(os.read(inside, 65_536))
            return what.encode() in shown

        wait_for(lambda: reads("running"), 30)
        os.write(inside, b"13p")
        wait_for(lambda: reads("pause on"))
        os.write(inside, b"k")
        wait_for(lambda: reads("under way"))
        os.write(inside, b"q")
        wait_for(lambda: reads("consumer exit code"), 60)
        while process.poll() is None:
            reads("")
    text = shown.decode()
    assert process.returncode == 0, text[-2000:]
    view, plain = text.partition("\x1b[?1049h")[2].split("\x1b[?1049l")
    for event in ("429: 20% of requests", "row errors: 10% of rows", "the source pauses", "kill -9 with"):
        assert event in view, event
    assert "equal: " in plain
    assert "kill -9 1" in plain
    assert termios.tcgetattr(outside) == before
    os.close(inside)
    os.close(outside)


def test_what_it_started_ends_with_it_even_when_it_is_killed(tmp_path: Path) -> None:
    folder = os.environ | {"TMPDIR": str(tmp_path)}
    command = [*DEMO, "--duration-s", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=folder) as process:
        assert process.stdout is not None
        wait_for(lambda: len(children(process.pid)) == 2)
        started = children(process.pid)
        while "members in sync" not in process.stdout.readline():
            pass
        process.kill()
    wait_for(lambda: not any(map(runs, started)), deadline_s=5)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("moment", ["broker ", "the consumer starts", "comparing by the public GET"])
def test_ctrl_c_before_and_after_the_play_leaves_nothing_behind(moment: str) -> None:
    say, said = interrupted_at(moment)
    with pytest.raises(KeyboardInterrupt):
        demo(SHORT, say)
    assert moment in said[-1]


@pytest.mark.usefixtures("nothing_left")
def test_a_member_that_no_row_says_is_found_and_ends_it_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.demo.run.SETTLE_DEADLINE_S", 4.0)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "comparing by the public GET" not in line:
            return
        with httpx.Client(base_url=said[0].split()[3], trust_env=False) as client:
            answer = client.post(
                "/oauth/token", data={"grant_type": "client_credentials"}, auth=("sandbox", "sandbox-secret")
            )
            client.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
            stray = {"members": [{"id": "99999", "type": "customer"}]}
            while client.post("/v1/merchants/10006/segments/vip/members", json=stray).status_code != 201:
                pass  # one in a hundred fails

    assert demo(Plan(duration_s=3, rate=20, seed=1), say) == 1
    assert any(line.startswith("NOT EQUAL: ") for line in said)
    assert any(line.split()[0] == "vip" and "1 too many (" in line for line in said)


@pytest.mark.usefixtures("nothing_left")
def test_records_that_the_broker_drops_end_it_loudly() -> None:
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "members in sync" in line:
            flood = ck.Producer({"bootstrap.servers": said[0].split()[1], "log_level": 0})
            for _ in range(70):
                flood.produce("state.of.somebody", value=bytes(100_000), partition=0)
                flood.flush(10)

    with pytest.raises(Unavailable, match=r"dropped \d+ records of state\.of\.somebody\[0\]"):
        demo(Plan(duration_s=60, rate=20, seed=1), say)


def test_the_lag_is_known_while_nobody_consumes() -> None:
    broker = EmbeddedBroker()
    producer = broker.producer()
    lag = Lag(broker.address, GROUP, TOPIC)
    consumer = ck.Consumer({"bootstrap.servers": broker.address, "group.id": GROUP, "log_level": 0})
    try:
        for number in range(40):
            producer.produce(TOPIC, value=b"x", partition=number % 4)
        assert producer.flush(10) == 0
        assert lag.read() == 40
        consumer.commit(offsets=[ck.TopicPartition(TOPIC, 1, 7), ck.TopicPartition(TOPIC, 2, 10)], asynchronous=False)
        assert lag.read() == 23
    finally:
        lag.close()
        consumer.close()
        broker.close()
