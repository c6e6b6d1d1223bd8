"""The settings files that the documents quote load, and the documents quote them as they are."""

import re
from pathlib import Path

import pytest

from stream import wiring
from stream.settings import load

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
QUOTED = {
    block
    for path in DOCUMENTS
    for block in re.findall(r"^```yaml\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
}


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_loads(path: Path) -> None:
    settings = load(path, {})
    tables = wiring.Tables(settings)
    for topic in settings.tables:
        assert tables.spec(topic).mapping.columns
        assert tables.decoding(topic).topic == topic


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_quoted_as_it_is(path: Path) -> None:
    assert path.read_text() in QUOTED, f"quote examples/{path.name} in a document, as it is"


def test_whole_settings_files_in_documents_are_examples() -> None:
    whole = {block for block in QUOTED if "retail_red:" in block and "tables:" in block}
    assert whole == {path.read_text() for path in EXAMPLES}
