from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sandbox_trial import Trial


@pytest.fixture
def trial() -> Iterator[Trial]:
    with Trial() as running:
        yield running


@pytest.fixture
def trial_with() -> Iterator[Callable[..., Trial]]:
    running: list[Trial] = []

    def start(**config: Any) -> Trial:
        running.append(Trial(**config).__enter__())
        return running[-1]

    yield start
    for one in running:
        one.__exit__(None, None, None)
