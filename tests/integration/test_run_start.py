"""What a user of `segstream run` sees when it cannot start: one line that says why, an exit code, and no traceback."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.demo.broker import EmbeddedBroker

PATIENCE_S = 40.0


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker()
    producer = broker.producer()
    producer.produce("shop.public.members", key=b'{"id":1}', value=None)
    assert producer.flush(10) == 0
    yield broker
    broker.close()


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "secret").write_text("not-so-secret")
    return {
        "kafka": {"bootstrap.servers": "127.0.0.1:9", "group.id": "g"},
        "retail_red": {"merchant": "1", "client_id": "c", "client_secret_file": str(tmp_path / "secret")},
        "start": "beginning",
        "transactions": False,
        "state": {"create_topics": False, "verify_topics": False},
        "tables": {"shop.public.members": {"segment": {"constant": "s"}, "member": {"id": "customer"}}},
        "metrics": {"host": "127.0.0.1", "port": 0},
        "log": {"format": "json"},
    }


class Run:
    """`segstream run` as a process; its lines as they come."""

    def __init__(self, folder: Path, settings: dict[str, Any], *arguments: str) -> None:
        path = folder / "settings.yaml"
        path.write_text(json.dumps(settings))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SEGSTREAM_")}
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "stream", "run", "-c", str(path), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        )  # fmt: skip
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))
        self.process.stdout.close()

    def ends(self) -> int:
        """Its exit code; a run that hangs is a failure."""
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._reader.join(PATIENCE_S)

    def says(self, text: str) -> str:
        """Wait for the first line that holds this."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for line in list(self.lines):
                if text in line:
                    return line
            assert self.process.poll() is None, self.lines
            time.sleep(0.05)
        self.process.kill()
        raise AssertionError(f"{text!r} was not said: {self.lines}")

    @property
    def errors(self) -> list[str]:
        """What is for the person who started it."""
        return [line.strip() for line in self.lines if line.startswith("segstream: ")]


def check_form(run: Run, lines_max: int = 10) -> None:
    """Every line is a log line of ours or for people: nothing that a library printed past the log, and never a traceback."""
    for line in run.lines:
        assert line.startswith(("{", "segstream: ")), run.lines
    assert len(run.lines) <= lines_max, run.lines
    assert "not-so-secret" not in "".join(run.lines)


def test_brokers_that_do_not_answer(tmp_path: Path, settings: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cases = {
            "down": ("127.0.0.1:9", [], "Connection refused"),
            "down, dry run": ("127.0.0.1:9", ["--dry-run"], "Connection refused"),
            "down, transactions": ("127.0.0.1:9", ["--set", "transactions=true"], "Connection refused"),
            "accepts, never answers": (f"127.0.0.1:{silent.getsockname()[1]}", [], ""),
            "does not resolve": ("no-such-host.invalid:9092", [], "no-such-host.invalid"),
        }
        started = time.monotonic()
        runs: dict[str, Run] = {}
        for name, (address, arguments, _) in cases.items():
            (tmp_path / name).mkdir()
            settings["kafka"]["bootstrap.servers"] = address
            runs[name] = Run(tmp_path / name, settings, *arguments)
        codes = {name: run.ends() for name, run in runs.items()}
        passed_s = time.monotonic() - started
    assert codes == dict.fromkeys(cases, 69)
    assert passed_s < 30
    for name, run in runs.items():
        assert "no broker answers" in run.errors[0], name
        assert cases[name][2] in run.errors[0], name
        assert "bootstrap.servers" in run.errors[1], name
        check_form(run)


def test_a_missing_start(tmp_path: Path, settings: dict[str, Any], broker: EmbeddedBroker) -> None:
    settings["kafka"] |= {"bootstrap.servers": broker.address, "group.id": "missing-start"}
    del settings["start"]
    run = Run(tmp_path, settings)
    assert run.ends() == 78
    assert "start is not set" in run.errors[0]
    assert "start: beginning" in run.errors[1]
    check_form(run, lines_max=20)


def test_a_topic_that_is_not_there_is_waited_for_and_said(
    tmp_path: Path, settings: dict[str, Any], broker: EmbeddedBroker
) -> None:
    settings["kafka"] |= {"bootstrap.servers": broker.address, "group.id": "wrong-topic"}
    settings["tables"] = {"shop.public.member": settings["tables"]["shop.public.members"]}
    run = Run(tmp_path, settings)
    line = json.loads(run.says("does not exist"))
    assert line["topic"] == "shop.public.member"
    assert line["there_are"] == ["shop.public.members"]
    run.process.send_signal(signal.SIGTERM)
    assert run.ends() == 0
    check_form(run, lines_max=20)


@pytest.mark.parametrize("name", ["hash secret", "kafka secret"])
def test_a_secret_file_that_is_not_there(tmp_path: Path, settings: dict[str, Any], name: str) -> None:
    missing = str(tmp_path / "nowhere")
    if name == "hash secret":
        settings["state"]["hash_secret_file"] = missing
    else:
        settings["kafka_secret_files"] = {"sasl.password": missing}
    run = Run(tmp_path, settings)
    assert run.ends() == 78
    assert missing in run.errors[0]
    check_form(run)


def test_a_property_that_the_client_refuses(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings["kafka"]["fetch.max.bytes"] = -5
    run = Run(tmp_path, settings)
    assert run.ends() == 78
    assert "fetch.max.bytes" in run.errors[0]
    check_form(run)


def test_a_metrics_port_that_is_taken(tmp_path: Path, settings: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings["metrics"]["port"] = taken.getsockname()[1]
        run = Run(tmp_path, settings)
        assert run.ends() == 69
    assert str(settings["metrics"]["port"]) in run.errors[0]
    check_form(run)
