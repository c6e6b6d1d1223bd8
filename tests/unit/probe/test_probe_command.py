"""`segstream probe` as a person meets it: it asks first, prints, writes a new file, and cleans up after Ctrl-C."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from probe_trial import segments, settings

from stream import cli
from stream.sandbox import Sandbox
from stream.settings import load

LIMIT_S = 60


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SEGSTREAM_")]:
        monkeypatch.delenv(name)


def file(sandbox: Sandbox, folder: Path, **retail_red: Any) -> str:
    path = folder / "segstream.yaml"
    known = settings(sandbox, folder, **retail_red)
    tree = {
        "kafka": known.kafka,
        "retail_red": {
            "merchant": "10006",
            "client_id": "sandbox",
            "client_secret_file": str(folder / "secret"),
            "urls": known.retail_red.urls.model_dump(),
            **retail_red,
        },
        "tables": {"t": {"segment": {"constant": "s"}, "member": {"id": "i"}}},
    }
    path.write_text(yaml.safe_dump(tree))
    return str(path)


def probe(sandbox: Sandbox, folder: Path, *more: str, **retail_red: Any) -> list[str]:
    return ["probe", "-c", file(sandbox, folder, **retail_red), "--wait-s", "1", *more]


def test_without_a_terminal_it_wants_yes(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sandbox.stats()["requests"]
    assert cli.main(probe(sandbox, tmp_path)) == 2
    assert "--yes" in capsys.readouterr().err
    assert sandbox.stats()["requests"] == before


def test_lines_and_a_fragment(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox.faults(members_max=13, filters_ignored=True, filter_accepted=True)
    assert cli.main(probe(sandbox, tmp_path, "--yes")) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "change   members in a request: 13 work; 14 are refused" in out
    assert "-> retail_red.members_max should be 13" in out
    assert "2 to change" in out
    assert "  members_max: 13  # was 500\n" in out
    assert "  filter_parameter: filter  # was filters\n" in out


def test_no_identity_is_printed(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(probe(sandbox, tmp_path, "--yes"))
    cli.main(probe(sandbox, tmp_path, "--yes", "--json"))
    out = capsys.readouterr().out.lower()
    people = sandbox.call(lambda app: list(app.shop.customers.values()))
    assert len(people) > 40
    for person in people:
        assert not any(
            str(person.get(key, "@@@")).lower() in out for key in ("id", "emailAddress") if len(person["id"]) > 3
        )
    assert "@" not in out


def test_json(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox.faults(members_max=13)
    assert cli.main(probe(sandbox, tmp_path, "--yes", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    (line,) = [line for line in found["findings"] if line["name"] == "members in a request"]
    assert (line["level"], line["setting"], line["is_set"], line["write"]) == (
        "change", "retail_red.members_max", 500, 13,
    )  # fmt: skip
    assert (found["exit_code"], found["left"], found["error"], found["change"]) == (0, None, None, 1)
    assert found["requests"] > 100


def test_the_written_file_is_new_and_its_settings_load(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.faults(members_max=13, background_known=False, body_bytes_max=20_000)
    written = tmp_path / "found.yaml"
    arguments = probe(sandbox, tmp_path, "--yes", "--write", str(written), run_in_background=True)
    assert cli.main(arguments) == 0
    text = written.read_text()
    assert "# was 500" in text
    found = yaml.safe_load(text)["retail_red"]
    assert (found["members_max"], found["run_in_background"]) == (13, None)
    path = tmp_path / "segstream.yaml"
    tree = yaml.safe_load(path.read_text())
    tree["retail_red"].update(found)
    path.write_text(yaml.safe_dump(tree))
    assert load(path, {}).retail_red.members_max == 13
    # once those are set, nothing has to change
    capsys.readouterr()
    assert cli.main(["probe", "-c", str(path), "--yes", "--wait-s", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["change"] == 0
    # and it is never written over
    before = sandbox.stats()["requests"]
    assert cli.main(["probe", "-c", str(path), "--yes", "--write", str(written)]) == 2
    assert sandbox.stats()["requests"] == before
    assert written.read_text() == text


def test_nothing_to_change_is_written_too(sandbox: Sandbox, tmp_path: Path) -> None:
    written = tmp_path / "found.yaml"
    assert cli.main(probe(sandbox, tmp_path, "--yes", "--write", str(written))) == 0
    assert "# Nothing has to change." in written.read_text()
    assert yaml.safe_load(written.read_text()) is None


def test_what_is_in_the_way_is_65(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(delete_body="202")
    assert cli.main(probe(sandbox, tmp_path, "--yes")) == 65


@pytest.mark.parametrize("more", [["--members-max", "0"], ["--members-max", "10001"], ["--wait-s", "0"]])
def test_limits_of_the_arguments(more: list[str], sandbox: Sandbox, tmp_path: Path) -> None:
    assert cli.main([*probe(sandbox, tmp_path, "--yes"), *more]) == 2


def test_a_wrong_secret_is_one_line(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = probe(sandbox, tmp_path, "--yes")
    (tmp_path / "secret").write_text("wrong")
    assert cli.main(arguments) == 77
    err = capsys.readouterr().err
    assert "refused the credentials" in err
    assert "Traceback" not in err


# ---- as a process, on a terminal -----------------------------------------------------------------------------------------


class Terminal:
    """The command with stdin and stderr on a terminal of its own."""

    def __init__(self, arguments: list[str]) -> None:
        self.own, theirs = pty.openpty()
        command = [sys.executable, "-m", "stream", *arguments]
        self.process = subprocess.Popen(command, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own module
        os.close(theirs)
        self.seen = ""

    def until(self, text: str) -> None:
        end = time.monotonic() + LIMIT_S
        while text not in self.seen:
            assert time.monotonic() < end, f"{text} did not come: {self.seen}"
            self.seen += os.read(self.own, 4_096).decode()

    def end(self) -> tuple[int, str]:
        out, _ = self.process.communicate(timeout=LIMIT_S)
        os.close(self.own)
        return self.process.returncode, out


def test_no_is_no(sandbox: Sandbox, tmp_path: Path) -> None:
    before = sandbox.stats()["requests"]
    terminal = Terminal(probe(sandbox, tmp_path))
    terminal.until("Go on? [y/N]")
    for told in ("merchant 10006", sandbox.url, "segstream-probe-", "up to 1000 customers", "requests"):
        assert told in terminal.seen
    os.write(terminal.own, b"n\n")
    code, out = terminal.end()
    assert (code, out) == (75, "")
    assert sandbox.stats()["requests"] == before


def test_yes_goes_on(sandbox: Sandbox, tmp_path: Path) -> None:
    terminal = Terminal(probe(sandbox, tmp_path, "--json"))
    terminal.until("Go on? [y/N]")
    os.write(terminal.own, b"y\n")
    terminal.until("deleting the throw-away segment")
    code, out = terminal.end()
    assert code == 0
    assert json.loads(out)["change"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_cleans_up_and_a_second_one_does_not_hinder_it(
    number: signal.Signals, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.faults(removal_delay_s=[1, 1])
    terminal = Terminal(probe(sandbox, tmp_path, "--yes"))
    terminal.until("DELETE bodies")
    assert len(segments(sandbox)) == 2
    terminal.process.send_signal(number)
    terminal.until("deleting the throw-away segment")
    terminal.process.send_signal(number)
    code, out = terminal.end()
    assert code == 130
    assert "filter parameter: filters works" in out
    assert segments(sandbox) == {"vip"}


def test_the_help_says_what_it_touches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["probe", "--help"])
    assert "Touches no other segment" in " ".join(capsys.readouterr().out.split())
