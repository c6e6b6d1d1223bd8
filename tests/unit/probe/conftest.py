from collections.abc import Iterator

import pytest
from probe_trial import fill, shop

from stream.sandbox import Sandbox, SandboxConfig
from stream.sandbox.faults import FAULTS


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(SandboxConfig(segments=("vip",))) as sandbox:
        fill(sandbox, shop())
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    """With nothing switched, whatever the test before it switched."""
    shared.faults(**{name: fault.default for name, fault in FAULTS.items()})
    return shared
