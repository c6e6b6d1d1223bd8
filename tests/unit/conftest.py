"""Its being here puts this folder on the import path of the tests below it: they share engine_hand and api_trial."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from api_trial import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for client in made.clients:
        client.close()
    for server in made.servers:
        server.close()
