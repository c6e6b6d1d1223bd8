"""The whole way, each table layout: from commits in PostgreSQL to the shop's segments, with nothing going wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from cases import CASES, Encoding
from shop import Instance, Shop, await_equal, settings
from source import Source
from stack.stack import Stack

ENCODINGS: tuple[Encoding, ...] = ("avro", "json", "json_schemas")


@pytest.mark.parametrize(("case", "encoding"), [(name, ENCODINGS[i % 3]) for i, name in enumerate(CASES)])
def test_the_shop_becomes_equal_and_stays_so(stack: Stack, tmp_path: Path, case: str, encoding: Encoding) -> None:
    source = Source(stack, case, encoding, seed=2, name=f"walk_{case}")
    source.create(rows=50)
    source.connect()
    with Shop(tmp_path, source.segments) as shop:
        values = settings(stack, shop, source.tables, group=source.name)
        with Instance(tmp_path, "first", values) as instance:
            instance.await_ready()
            await_equal(shop, source.truth, running=instance, source_state=source.state)  # the snapshot
            source.run(200, pause_s=0.01)
            await_equal(shop, source.truth, running=instance, source_state=source.state)
            instance.stop()

        source.run(50, alter=False)  # nobody listens
        with Instance(tmp_path, "second", values) as instance:
            await_equal(shop, source.truth, running=instance, source_state=source.state)
            instance.stop()
        assert not shop.stats()["overlaps"], "operations of one membership were in flight at once"
    source.drop()
