# ruff: noqa: S603, T201 - a script that runs package clients and prints
"""Installs what the system tests run against: Kafka, Connect, Debezium, a schema registry, PostgreSQL.

    python tests/stack/install.py          (or: make stack)

Everything comes through the package clients' own settings: apt-get (as root only), mvn, pip. What is there already is
left alone, so a second run costs nothing. Anything that cannot be installed ends it with 69 and the command to run.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stack import kit

DEPENDENCY: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
STEP_S: Final = 1200
# what Connect's Avro converter needs of the many jars in the wheel; the rest would shadow Connect's own
AVRO_JARS: Final = re.compile(
    r"(kafka-connect-avro-converter|kafka-connect-avro-data|kafka-avro-serializer|kafka-schema-serializer"
    r"|kafka-schema-converter|kafka-schema-registry-client|common-utils|avro-1|guava|failureaccess|commons-compress"
    r"|swagger-annotations|jackson|jakarta\.ws\.rs)[^/]*\.jar"
)


class InstallError(Exception):
    pass


def say(text: str) -> None:
    print(f"stack: {text}", flush=True)


def step(argv: list[str], advice: str) -> None:
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "MAVEN_OPTS": os.environ.get("MAVEN_OPTS", "-Xmx512m")}
    try:
        done = subprocess.run(
            argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=STEP_S, check=False
        )
    except FileNotFoundError as error:
        raise InstallError(f"{argv[0]} is not there. {advice}") from error
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"{' '.join(argv)} did not end within {STEP_S} s. {advice}") from error
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-30:])
        raise InstallError(f"{' '.join(argv)} ended with {done.returncode}. {advice}\n{tail}")


def from_debian() -> None:
    wanted = {
        "postgresql": kit.postgres_bin() is not None,
        # only the folders that mvn fills need it
        "maven": shutil.which("mvn") is not None or not any(_poms_to_fill()),
    }
    packages = [name for name, present in wanted.items() if not present]
    if not packages:
        return
    command = f"apt-get update && apt-get install -y --no-install-recommends {' '.join(packages)}"
    if shutil.which("apt-get") is None:
        raise InstallError(
            f"missing: {', '.join(packages)}; this machine has no apt-get, install them by its own means"
        )
    if os.geteuid() != 0:
        raise InstallError(f"missing: {', '.join(packages)}; as root run: {command}")
    say(f"apt-get installs {', '.join(packages)}")
    advice = f"Run by hand: {command}"
    step(["apt-get", "-qq", "update"], advice)
    step(["apt-get", "-qq", "-y", "--no-install-recommends", "install", *packages], advice)


def _poms_to_fill() -> list[str]:
    return [name for name, recipe in kit.RECIPES.items() if recipe.endswith(".xml") and _is_due(name, recipe)]


def _is_due(name: str, recipe: str) -> bool:
    return not kit.is_filled(kit.CACHE / name, recipe)


def from_maven(name: str, recipe: str, into: Path) -> None:
    goal = "unpack-dependencies" if name == "registry" else "copy-dependencies"
    step(
        [
            "mvn", "--batch-mode", "--quiet", "--strict-checksums", "--file", str(kit.HERE / recipe),
            f"{DEPENDENCY}:{goal}", f"-DoutputDirectory={into}",
            f"-DmarkersDirectory={into / '.unpacked'}",  # else it writes a target/ beside the pom
        ],
        "Is Maven able to reach its repository?",
    )  # fmt: skip


def from_pip(recipe: str, into: Path) -> None:
    pip = next((argv for argv in ([sys.executable, "-m", "pip"], ["pip3"]) if _runs([*argv, "--version"])), None)
    if pip is None:
        raise InstallError(f"{sys.executable} has no pip. Run: apt-get install -y python3-pip")
    step(
        [
            *pip, "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes",
            "--requirement", str(kit.HERE / recipe), "--dest", str(into),
        ],
        "Is pip able to reach its index?",
    )  # fmt: skip


def _runs(argv: list[str]) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def wheel(folder: Path) -> Path:
    (found,) = folder.glob("*.whl")
    return found


def fill_avro(recipe: str, into: Path) -> None:
    with tempfile.TemporaryDirectory(dir=kit.CACHE) as down:
        from_pip(recipe, Path(down))
        with zipfile.ZipFile(wheel(Path(down))) as archive:
            for member in archive.namelist():
                jar = member.rpartition("/")[2]
                if AVRO_JARS.fullmatch(jar):
                    (into / jar).write_bytes(archive.read(member))


def fill_java(recipe: str, into: Path) -> None:
    with tempfile.TemporaryDirectory(dir=kit.CACHE) as down:
        from_pip(recipe, Path(down))
        with zipfile.ZipFile(wheel(Path(down))) as archive:
            archive.extractall(into)  # its digest was checked against the requirement file
    for program in [*into.glob("**/bin/*"), *into.glob("**/lib/jspawnhelper")]:
        program.chmod(0o755)  # zipfile drops the modes


def fill(name: str, recipe: str) -> None:
    """Fill a folder aside and move it into place, so that a run that was cut short leaves nothing half there."""
    started = time.monotonic()
    say(f"{name}: getting what {recipe} lists")
    folder = kit.CACHE / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=kit.CACHE, prefix=".filling-"))
    aside.chmod(0o755)  # PostgreSQL's user and others read it
    try:
        if name == "java":
            fill_java(recipe, aside)
        elif recipe.endswith(".xml"):
            from_maven(name, recipe, aside)
        else:
            fill_avro(recipe, aside)
        files = sum(1 for path in aside.rglob("*") if path.is_file())
        if files == 0:
            raise InstallError(f"{name}: {recipe} brought nothing")
        (aside / ".stamp").write_text(kit.stamp(recipe))
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    say(f"{name}: {files} files in {time.monotonic() - started:.0f} s")


def install() -> None:
    """Raises InstallError, which names what is missing and the command."""
    kit.CACHE.mkdir(parents=True, exist_ok=True)
    with (kit.CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second run waits for the first
        for leftover in kit.CACHE.glob(".filling-*"):
            shutil.rmtree(leftover)
        from_debian()
        if kit.java() is None:
            fill("java", kit.JAVA_RECIPE)
        for name, recipe in kit.RECIPES.items():
            if _is_due(name, recipe):
                fill(name, recipe)
        kit.kit()


def main() -> int:
    started = time.monotonic()
    try:
        install()
    except (InstallError, kit.StackMissing) as error:
        print(f"stack: {error}", file=sys.stderr)
        return 69
    say(f"complete, in {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
