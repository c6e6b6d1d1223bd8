# ruff: noqa: S603 - runs the pinned tools with arguments of its own
"""The image and what goes into it. No engine builds it here: its steps are checked, and run where they need none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
BIN = Path(sys.executable).parent
HASHED = ("--require-hashes", "--only-binary", ":all:", "-r")


def test_hadolint_has_nothing_to_say() -> None:
    program = BIN / "hadolint"
    assert program.exists(), f"{program} is missing: run `make .venv`"
    done = subprocess.run([program, DOCKERFILE], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_runs_as_nobody_from_a_base_that_can_be_changed() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["65532:65532"]
    assert len(re.findall(r"^ARG BASE=", text, re.MULTILINE)) == 1
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${BASE}"}
    assert "--require-hashes" in text
    # after the last FROM nothing is run: what is shipped is what the first stage made
    assert "RUN" not in text.rpartition("FROM")[2]


def test_the_build_sees_only_what_it_copies() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ignored[0] == "*"
    let_in = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = set(re.findall(r"^COPY (?!--from)(\S+?)/? ", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE))
    assert copied == let_in


@pytest.mark.parametrize("name", ["run", "dev"])
def test_every_requirement_is_pinned_by_hash_and_names_no_host(name: str) -> None:
    text = (ROOT / f"requirements/{name}.txt").read_text(encoding="utf-8")
    pins = re.findall(r"^([a-z0-9._-]+)==\S+.*\\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE)) > 10
    assert "://" not in text
    assert "index" not in re.sub(r"#.*", "", text)


def test_the_test_environment_has_the_versions_that_are_shipped() -> None:
    def pins(name: str) -> dict[str, str]:
        text = (ROOT / f"requirements/{name}.txt").read_text(encoding="utf-8")
        return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))

    assert pins("run").items() <= pins("dev").items()


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do what the image's first stage does: an environment of run.txt alone, with the package copied and compiled."""
    home = tmp_path_factory.mktemp("image") / "segstream"
    uv = BIN / "uv"
    assert uv.exists(), f"{uv} is missing: run `make .venv`"
    for arguments in (
        ["venv", "--quiet", "--python", sys.executable, str(home)],
        [
            "pip",
            "install",
            "--quiet",
            "--python",
            str(home / "bin/python"),
            *HASHED,
            str(ROOT / "requirements/run.txt"),
        ],
    ):
        done = subprocess.run([uv, *arguments], capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
    (site,) = home.glob("lib/python3*/site-packages")
    shutil.copytree(ROOT / "stream", site / "stream", ignore=shutil.ignore_patterns("__pycache__"))
    python = home / "bin/python"
    subprocess.run(
        [python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", site / "stream"],
        check=True,
        timeout=120,
    )
    return python


def python(shipped: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [shipped, *arguments], capture_output=True, text=True, check=False, timeout=60, cwd="/", env=environment
    )


def test_what_is_shipped_is_enough_to_import_every_module(shipped: Path) -> None:
    code = (
        "import importlib, pkgutil, stream\n"
        "found = pkgutil.walk_packages(stream.__path__, 'stream.')\n"
        "names = [module.name for module in found if not module.name.endswith('__main__')]\n"
        "assert 'stream.settings.model' in names\n"
        "[importlib.import_module(name) for name in names]\n"
        "print(len(names), stream.__file__)\n"
    )
    done = python(shipped, "-c", code)
    assert done.returncode == 0, done.stderr
    assert str(shipped.parents[1]) in done.stdout


def test_the_entry_point_answers(shipped: Path) -> None:
    assert python(shipped, "-m", "stream", "version").stdout.startswith("segstream ")
    assert python(shipped, "-m", "stream", "settings").returncode == 0
    without_settings = python(shipped, "-m", "stream", "run")
    assert (without_settings.returncode, without_settings.stderr.count("\n")) == (2, 2)


def test_the_package_is_compiled(shipped: Path) -> None:
    (site,) = shipped.parents[1].glob("lib/python3*/site-packages")
    sources = {path.stem for path in (site / "stream/settings").glob("*.py")}
    compiled = {path.name.partition(".")[0] for path in (site / "stream/settings/__pycache__").glob("*.pyc")}
    assert sources == compiled
