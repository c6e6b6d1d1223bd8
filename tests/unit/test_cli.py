"""The command line: what is printed where, and the exit codes."""

import argparse
import importlib
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import yaml

from stream import cli, errors
from stream.errors import AuthError, SegstreamError, Unavailable
from stream.settings import Settings

MINIMAL = """\
kafka: {bootstrap.servers: "kafka:9092", group.id: g}
retail_red: {merchant: 1, client_id: c, client_secret_file: /run/secrets/s}
tables: {t: {segment: {constant: s}, member: {id: i}}}
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SEGSTREAM_")]:
        monkeypatch.delenv(name)


def command(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `segstream version` fail with the error."""

    def fail(_: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr("stream.cli.version.main", fail)


def test_settings_prints_a_file_that_loads(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["settings"]) == 0
    assert set(yaml.safe_load(capsys.readouterr().out)) == set(Settings.model_fields)
    assert cli.main(["settings", "--schema"]) == 0
    assert '"$schema"' in capsys.readouterr().out


def test_version_names_what_a_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    assert "librdkafka" in capsys.readouterr().out


@pytest.mark.parametrize(
    "kind", [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SegstreamError)]
)
def test_every_error_of_ours_is_one_line_and_its_exit_code(
    kind: type[SegstreamError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(monkeypatch, kind("it is so", advice="do that"))
    assert cli.main(["version"]) == kind.exit_code
    assert capsys.readouterr().err == "segstream: it is so\nsegstream: do that\n"


def test_exit_codes_are_those_that_are_documented() -> None:
    documented = {"UsageError": 2, "SettingsError": 78, "DataError": 65, "Unavailable": 69, "Unfinished": 75}
    documented |= {"AuthError": 77, "Fenced": 75}
    assert {name: getattr(errors, name).exit_code for name in documented} == documented


def test_errors_are_redacted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command(monkeypatch, Unavailable("no answer for canary@shop.example"))
    cli.main(["version"])
    command(monkeypatch, AuthError("refused: client_secret=canary"))
    cli.main(["version"])
    command(monkeypatch, RuntimeError("row of canary@shop.example"))
    assert cli.main(["version"]) == 70
    err = capsys.readouterr().err
    assert "RuntimeError" in err
    assert "this is a bug" in err
    assert "canary@" not in err
    assert "secret=canary" not in err


def test_an_interrupt_is_130_and_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command(monkeypatch, KeyboardInterrupt())
    assert cli.main(["version"]) == 130
    assert capsys.readouterr().err == ""


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "stream", "settings"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(timeout=30) == cli.EXIT_BROKEN_PIPE
        assert process.stderr.read() == b""


def test_wrong_settings_are_78_with_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(MINIMAL + "bach: {}\nkafka_secret_files: {sasl.pasword: /x}\n")
    assert cli.main(["run", "-c", str(path)]) == 78
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"segstream: {path}:5: kafka_secret_files.sasl.pasword: '/x' is no secret property; ")
    assert lines[1] == f"segstream: {path}:4: bach: is no setting; did you mean batch?"
    assert len(lines) == 3


def test_run_without_settings_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run"]) == 2
    assert "-c segstream.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("by_variable", [True, False])
def test_run_hands_the_settings_to_the_loop(by_variable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001 - a parameter of the test
    seen: list[tuple[Settings, bool]] = []
    loop = types.ModuleType("stream.loop")
    loop.run = lambda settings, *, dry_run: seen.append((settings, dry_run)) or 75  # type: ignore[attr-defined,func-returns-value]
    monkeypatch.setitem(sys.modules, "stream.loop", loop)
    monkeypatch.setattr("stream.edge.logs.configure", lambda *_: None)
    path = tmp_path / "s.yaml"
    path.write_text(MINIMAL)
    monkeypatch.setenv("SEGSTREAM_DRAIN_S", "40")
    if by_variable:
        monkeypatch.setenv("SEGSTREAM_CONFIG", str(path))
    arguments = [] if by_variable else ["-c", str(path)]
    assert cli.main(["run", *arguments, "--dry-run", "--set", "batch.linger_s=1", "-X", "client.id=me"]) == 75
    ((settings, dry_run),) = seen
    assert (settings.batch.linger_s, settings.kafka["client.id"], settings.drain_s, dry_run) == (1, "me", 40, True)


def test_the_sandbox_gets_its_arguments_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    module = types.ModuleType("stream.sandbox.command")
    module.main = lambda argv: seen.append(argv) or 3  # type: ignore[attr-defined,func-returns-value]
    monkeypatch.setitem(sys.modules, "stream.sandbox.command", module)
    monkeypatch.setattr(importlib.import_module("stream.sandbox"), "command", module, raising=False)
    assert cli.main(["sandbox", "--port", "0", "--help", "--fault", "a=b"]) == 3
    assert seen == [["--port", "0", "--help", "--fault", "a=b"]]


@pytest.mark.parametrize(("argv", "code"), [([], 2), (["nothing"], 2), (["settings", "--no"], 2), (["--help"], 0)])
def test_usage(argv: list[str], code: int) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == code


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_exists(name: str) -> None:
    module = importlib.import_module(f"stream.cli.{name}")
    assert callable(module.add)
    assert callable(module.main)
