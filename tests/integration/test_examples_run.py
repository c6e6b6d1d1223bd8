"""Every example under examples/ does what docs/map-your-tables.md says: broker, loop and sandbox in this process.

The examples are played beside each other, as most of their time is waiting for a group to form.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from example_cases import CASES
from shop_trial import Shop

from stream.demo.broker import EmbeddedBroker

EXAMPLES = Path(__file__).parents[2] / "examples"
AT_ONCE = 6
SEGMENTS = ("gold", "silver", "tier-gold", "tier-silver", "newsletter", "vip")
"""There at retail.red already; every other one is created or missed."""


def play(name: str, folder: Path) -> None:
    file, acts = CASES[name]
    broker = EmbeddedBroker()
    shop = Shop(broker, folder, segments=SEGMENTS, faults={"unknown_customer": "404"})
    try:
        shop.settings = shop.aimed(yaml.safe_load((EXAMPLES / file).read_text()))
        acts(shop)
    finally:
        shop.close()
        broker.close()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    with ThreadPoolExecutor(AT_ONCE, "example") as threads:
        yield {name: threads.submit(play, name, tmp_path_factory.mktemp("example")) for name in CASES}


def test_every_example_is_played() -> None:
    assert {file for file, _ in CASES.values()} == {path.name for path in EXAMPLES.glob("*.yaml")}


@pytest.mark.parametrize(
    "name",
    CASES,
)
def test_an_example_does_what_is_said_of_it(name: str, played: dict[str, Future[None]]) -> None:
    played[name].result()
