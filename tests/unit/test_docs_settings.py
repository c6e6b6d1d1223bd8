"""Settings that the documents name exist, and the defaults that they give are those of the program."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from stream.settings import Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FREE = {"kafka", "kafka_secret_files", "tables", "references"}
"""Sections whose keys are names of the operator's own, or librdkafka's."""

COLUMNS = {"segments.id"}
"""Of a database's table, not of the settings."""

UNITS = {"": 1, " s": 1, " hour": 3600, " hours": 3600, " h": 3600, " MB": 1_000_000}
MISSING = object()


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models(inner)


def fields(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The path and the default of each setting, sections included."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        yield (*path, key), field.default
        if not path and key in FREE:
            continue
        for inner in models(field.annotation):
            yield from fields(inner, (*path, key))


PATHS = dict(fields(Settings))
BY_NAME: dict[str, list[Any]] = defaultdict(list)
for _path, _default in PATHS.items():
    BY_NAME[_path[-1]].append(_default)


def default(text: str) -> Any:
    """Of a setting as a document names it, with its section or without; MISSING when it is not one, or not the only one."""
    path = tuple(text.split("."))
    if len(path) > 1:
        return PATHS.get(path, MISSING)
    found = BY_NAME.get(text, [])
    return found[0] if len(found) == 1 else MISSING


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_setting_that_is_named_with_its_section_exists(document: Path) -> None:
    sections = {path[0] for path in PATHS} - FREE
    named = set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)(?::[^`]*)?`", document.read_text()))
    unknown = {text for text in named if text.split(".")[0] in sections and tuple(text.split(".")) not in PATHS}
    assert unknown - COLUMNS == set()


def stated() -> list[tuple[str, str, float]]:
    """The documents' `name` (5 s): document, name, value."""
    found = []
    for document in DOCUMENTS:
        for name, number, unit in re.findall(r"`([a-z_.]+)`\s\(([\d,.]*\d)( ?[a-zA-Z]*)\b", document.read_text()):
            if default(name) is not MISSING:
                assert unit in UNITS, f"{document.name}: {name}: {unit!r}"
                found.append((document.name, name, float(number.replace(",", "")) * UNITS[unit]))
    return found


def test_documents_state_defaults() -> None:
    assert len(stated()) >= 10


@pytest.mark.parametrize(("document", "name", "value"), stated())
def test_a_default_that_is_stated_is_the_program_s(document: str, name: str, value: float) -> None:
    assert default(name) == value, document
