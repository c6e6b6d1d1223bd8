"""Twenty seeds over the table layouts: concurrent transactions, a schema that changes midway, and everything that restarts.

In each the consumer is restarted, killed except under KIP-848, and doubled while several connections write. In every fourth,
which are others in the next twenty seeds, the connector is killed and repeats. In JSON without schemas, and elsewhere in
every other round of the layouts, the record key's schema changes too. At the end the shop equals a SELECT.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from cases import CASES, Encoding
from shop import Instance, Shop, await_equal, settings
from source import Source
from stack.stack import Stack

SEEDS = 20
ENCODINGS: tuple[Encoding, ...] = ("json", "avro", "json_schemas")


def test_after_everything_that_restarts_the_shop_is_equal(stack: Stack, tmp_path: Path, seed: int) -> None:
    names = list(CASES)
    turn = seed // len(names)
    case, encoding = names[seed % len(names)], ENCODINGS[(seed + turn) % 3]
    repeats = (seed + turn) % 4 == 0
    chance = random.Random(seed)
    source = Source(stack, case, encoding, seed=seed, name=f"seed_{seed}", alter_key=turn % 2 == 1)
    source.create(rows=30)
    source.connect()
    if repeats:
        source.await_place()
    faults = {"latency_s": 0.005, "removal_delay_s": [0.0, 0.3], "error_share": 0.02, "row_error_share": 0.005}
    with Shop(tmp_path, source.segments, faults=faults) as shop:
        values = settings(stack, shop, source.tables, group=source.name)
        # with KIP-848 the broker sets the session, 45 s: nobody is killed there, or the test would wait that long
        kip_848 = seed % 5 == 1
        if kip_848:
            for name in ("session.timeout.ms", "heartbeat.interval.ms"):
                values["kafka"].pop(name, None)
            values["kafka"]["group.protocol"] = "consumer"
        with Instance(tmp_path, "one", values) as one:
            source.start(120, pause_s=0.03)
            time.sleep(chance.uniform(0.5, 2.0))
            if kip_848:
                one.await_ready().stop()
            else:
                one.kill()
            one.start()
            with Instance(tmp_path, "two", values) as two:
                time.sleep(chance.uniform(0.5, 1.5))
                if repeats:
                    stack.restart_connect()
                if chance.random() < 0.5 and not kip_848:
                    two.kill()
                else:
                    two.await_ready().stop()
            source.join()
            shop.end_faults()
            # a connector that was killed may need its time; what comes after is the program's alone
            source.caught_up()
            await_equal(shop, source.truth, running=one, beside=[two], source_state=source.state)
            # the shop may have been equal before: a process that still starts has nothing to drain, and does not
            one.await_ready().stop()
    source.drop()
