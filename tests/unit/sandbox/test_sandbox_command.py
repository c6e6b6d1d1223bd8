"""The command, the process, files, and the wire below the routes."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from sandbox_trial import Trial

from stream.errors import Unavailable
from stream.sandbox import Sandbox, SandboxConfig, SandboxProcess, command, store
from stream.sandbox.state import Shop

LINES = """{"customer":{"id":"1","emailAddress":"a@x.com"}}
{"segment":{"code":"vip","name":"VIP","description":"","type":"fixed","status":"active","rules":null}}

{"members":{"segment":"vip","ids":["1","2"]}}
"""


def test_a_process_loads_serves_and_saves(tmp_path: Path) -> None:
    (tmp_path / "in").write_text(LINES)
    (tmp_path / "secret").write_text("s3\n")
    saved = tmp_path / "out"
    arguments = ["--load", str(tmp_path / "in"), "--save", str(saved), "--client-secret-file", str(tmp_path / "secret")]
    with SandboxProcess(*arguments, "--merchant", "7", "--fault", "present_add=409", "--segment", "new") as sandbox:
        http = httpx.Client(base_url=sandbox.url, trust_env=False)
        form = {"grant_type": "client_credentials"}
        token = http.post("/oauth/token", auth=("sandbox", "s3"), data=form).json()["access_token"]
        body = {"members": [{"id": "2", "type": "customer"}, {"id": "3", "type": "customer"}]}
        path, headers = "/v1/merchants/7/segments/vip/members", {"authorization": f"Bearer {token}"}
        assert [error["entityId"] for error in http.post(path, json=body, headers=headers).json()["errors"]] == ["2"]
        http.close()
    assert sandbox.process is not None
    assert sandbox.process.returncode == 0
    shop = Shop()
    store.load(shop, saved)
    assert shop.segments["vip"].customers.ids == {"1", "2", "3"}
    assert shop.segments["vip"].name == "VIP"
    assert "new" in shop.segments
    assert shop.customers["1"]["emailAddress"] == "a@x.com"


def test_what_is_saved_loads_the_same(tmp_path: Path) -> None:
    (tmp_path / "in").write_text(LINES)
    first, second = Shop(), Shop()
    store.load(first, tmp_path / "in")
    first.segments["vip"].customers.add({f"m{number}" for number in range(2_500)})
    store.save(first, tmp_path / "out")
    store.load(second, tmp_path / "out")
    assert list(store.lines(first)) == list(store.lines(second))
    assert len(list(store.lines(first))) == 5


@pytest.mark.parametrize("line", [
        "x", "{}", '{"members":{"segment":"none","ids":[]}}', '{"customer":{}}', "[]",
        '{"members":{"segment":"vip","ids":[4711]}}', '{"members":{"segment":"vip","ids":"abc"}}',
        '{"members":{"segment":"vip","ids":["*"]}}', '{"segment":{"code":5}}', '{"segment":{"code":"a","type":"foo"}}',
        '{"customer":{"id":4711}}', '{"customer":{"id":"a","emailAddress":5}}', '{"customer":{"id":"a","status":"gone"}}',
    ],
)  # fmt: skip
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "in").write_text(LINES + line)
    with pytest.raises(ValueError, match="in:5: "):
        store.load(Shop(), tmp_path / "in")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--fault", "nonsense=1"], 78, "no such fault"),
        (["--fault", "error_share=2"], 78, "share from 0 to 1"),
        (["--fault", "error_share"], 2, "NAME=VALUE"),
        (["--load", "/nowhere"], 69, "nowhere"),
        (["--port", "99999"], 78, "0 to 65535"),
        (["--latency-ms", "-1"], 78, "latency_s"),
    ],
)
def test_mistakes_end_with_a_line_and_a_code(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, text: str
) -> None:
    assert command.main(["--port", "0", *arguments]) == code
    assert text in capsys.readouterr().err


def test_the_faults_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list-faults"]) == 0
    assert "removal_delay_s=[0.0,0.0]" in capsys.readouterr().out


def test_fault_values_from_the_command_line() -> None:
    assert command._fault("removal_delay_s=[1,2]") == ("removal_delay_s", [1, 2])
    assert command._fault("delete_body=400") == ("delete_body", "400")
    assert command._fault("filters_ignored=true") == ("filters_ignored", True)
    assert command._fault('poison_ids=["a"]') == ("poison_ids", ["a"])


def test_a_process_that_cannot_start_says_so() -> None:
    with pytest.raises(Unavailable, match="78"), SandboxProcess("--fault", "nonsense=1"):
        pass


def test_a_port_that_is_taken() -> None:
    with Sandbox() as sandbox:
        port = int(sandbox.url.rpartition(":")[2])
        with pytest.raises(OSError, match=str(port)), Sandbox(SandboxConfig(port=port)):
            pass


def test_it_ends_on_sigint_with_connections_open() -> None:
    argv = [sys.executable, "-m", "stream.sandbox", "--port", "0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own module
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)):
            process.send_signal(signal.SIGINT)
            assert process.wait(5) == 0


# the wire


def talk(trial: Trial, *parts: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", int(trial.sandbox.url.rpartition(":")[2])), timeout=3) as wire:
        for part in parts:
            wire.sendall(part)
        got = b""
        while more := wire.recv(65536):
            got += more
    return got


def chunk(text: str) -> str:
    return f"{len(text):x}\r\n{text}\r\n"


def test_chunked_bodies_and_requests_sent_ahead(trial: Trial) -> None:
    head = "POST /v1/merchants/10006/segments/vip/members HTTP/1.1\r\nhost: x\r\nauthorization: "
    head += f"{trial.http.headers['authorization']}\r\ntransfer-encoding: chunked\r\n"
    row = '{"members":[{"id":"%s","type":"customer"}]}'
    first = f"{head}\r\n{chunk(row[:16])}{chunk(row[16:] % 'abc')}{chunk('')}"
    second = f"{head}connection: close\r\n\r\n{chunk(row % 'de')}{chunk('')}"
    answers = talk(trial, (first + second).encode())
    assert answers.count(b"HTTP/1.1 201") == 2
    assert trial.members() == {"abc", "de"}


def test_nonsense_on_the_wire(trial: Trial) -> None:
    assert talk(trial, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert talk(trial, b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000 + b"\r\n\r\n").startswith(b"HTTP/1.1 4")


def test_a_client_that_waits_for_leave_to_send(trial: Trial) -> None:
    head = b"POST /_sandbox/faults HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: close\r\n"
    answer = talk(trial, head + b"content-length: 2\r\n\r\n", b"{}")
    assert answer.startswith(b"HTTP/1.1 100")
    assert b"HTTP/1.1 200" in answer


def test_head_has_no_body(trial: Trial) -> None:
    assert talk(trial, b"HEAD /none HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").endswith(b"\r\n\r\n")


def test_more_than_it_holds_is_cut_off(trial_with: Callable[..., Trial]) -> None:
    trial = trial_with(buffer_bytes_max=1_000)
    answer = talk(trial, b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\n" + b"y" * 5000)
    assert answer.startswith(b"HTTP/1.1 413")


def test_idle_and_too_many_connections_are_closed(trial_with: Callable[..., Trial]) -> None:
    trial = trial_with(idle_s=0.2)
    assert talk(trial, b"") == b""
    few = trial_with(connections_max=1)  # the client of the trial has it
    got = b""
    with suppress(ConnectionError):
        got = talk(few, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert got == b""
