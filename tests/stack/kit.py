"""Where the parts of the stack lie once `install.py` has run, and which of them are missing. Needs the stdlib alone."""
# ruff: noqa: S603 - it runs programs of its own installation

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
CACHE: Final = HERE.parents[1] / ".cache" / "stack"
JAVA_MIN: Final = 21  # the registry's floor; Kafka and Connect run on it as well

# folder in the cache -> the committed file that says what is in it
RECIPES: Final = {
    "kafka": "pom-kafka.xml",
    "plugins/debezium": "pom-debezium.xml",
    "plugins/avro": "requirements-avro.txt",
    "registry": "pom-registry.xml",
}
JAVA_RECIPE: Final = "requirements-java.txt"


class StackMissing(RuntimeError):
    """A part of the stack is not installed. Says which, and the command that installs it."""


@dataclass(frozen=True)
class Kit:
    """Folders and programs of a complete installation."""

    java: Path
    postgres_bin: Path
    kafka: Path
    plugins: Path
    registry: Path


def stamp(recipe: str) -> str:
    """What a finished folder carries: a digest of the recipe that filled it, so that a changed recipe fills it anew."""
    return hashlib.sha256((HERE / recipe).read_bytes()).hexdigest()


def is_filled(folder: Path, recipe: str) -> bool:
    try:
        return (folder / ".stamp").read_text() == stamp(recipe)
    except FileNotFoundError:
        return False


def java() -> Path | None:
    """A Java of JAVA_MIN or newer: of JAVA_HOME, of the system, or the one that the installer brought."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    homes += sorted(Path("/usr/lib/jvm").glob("*"), reverse=True)
    for home in homes:
        if (home / "bin" / "java").exists() and _major(home) >= JAVA_MIN:
            return home / "bin" / "java"
    if is_filled(CACHE / "java", JAVA_RECIPE):
        return next((CACHE / "java").glob("**/bin/java"), None)
    return None


def _major(home: Path) -> int:
    try:
        release = (home / "release").read_text()
    except OSError:  # no release file: ask it
        release = subprocess.run(
            [home / "bin" / "java", "-version"], capture_output=True, text=True, check=False
        ).stderr
    found = re.search(r'(?:JAVA_VERSION=|version )"(\d+)', release)
    return int(found[1]) if found else 0


def postgres_bin() -> Path | None:
    """The folder of the newest PostgreSQL server: Debian's packages keep it out of PATH."""
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if versions:
        return max(versions, key=lambda path: float(path.parent.name))
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def kit() -> Kit:
    """The installation. Raises StackMissing."""
    missing = [name for name, recipe in RECIPES.items() if not is_filled(CACHE / name, recipe)]
    found_java, found_postgres = java(), postgres_bin()
    missing += [] if found_java else [f"java (a Java of {JAVA_MIN} or newer)"]
    missing += [] if found_postgres else ["postgresql"]
    if missing or not found_java or not found_postgres:
        raise StackMissing(f"parts of the stack are not installed: {', '.join(missing)}. Run: make stack")
    return Kit(found_java, found_postgres, CACHE / "kafka", CACHE / "plugins", CACHE / "registry")
