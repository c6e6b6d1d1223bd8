"""What `segstream demo` does: start everything, stir, kill, stop, compare."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from stream.demo.broker import EmbeddedBroker
from stream.demo.lag import Lag
from stream.demo.processes import GROUP, Consumer, Sandbox, settings_text
from stream.demo.shop import TOPIC, Shop
from stream.demo.stage import Source, Stage

SETTLE_DEADLINE_S = 60.0
NAMED_MAX = 5
SETTLE_LINE_S = 3.0
CHANGES_BEFORE = 500
FAULTS = ("removal_delay_s=[0.1,0.8]", "error_share=0.01", "row_error_share=0.002")
Say = Callable[[str], None]
Members = Mapping[str, set[str]]


@dataclass(frozen=True)
class Plan:
    """How the demo runs. duration_s: how long changes come. rate: changes a second. keep: until Ctrl-C."""

    duration_s: float
    rate: float
    seed: int
    keep: bool = False
    picture: Path | None = None


def demo(plan: Plan, say: Say, console: Console | None = None) -> int:
    """Run it. 0 when the segments equal the table at the end, 1 when they differ. Raises SegstreamError.

    console: a terminal for the live view; None: plain lines through `say`. A KeyboardInterrupt ends the play, and the
    comparison follows; before and after the play it is raised, and nothing is left behind.
    """
    with ExitStack() as ended:
        folder = Path(ended.enter_context(tempfile.TemporaryDirectory(prefix="segstream-demo-")))
        broker = EmbeddedBroker()
        ended.callback(broker.close)
        sandbox = Sandbox(folder, FAULTS)
        ended.callback(sandbox.close)
        lag = Lag(broker.address, GROUP, TOPIC)
        ended.callback(lag.close)
        consumer = Consumer(folder)
        ended.callback(consumer.kill)
        shop = Shop(broker.producer(), plan.seed)
        (folder / "segstream.yaml").write_text(settings_text(broker.address, sandbox.url, folder / "secret"))
        say(f"broker {broker.address}  sandbox {sandbox.url}")
        say(f"{plan.rate:g} changes/s for {plan.duration_s:g} s, seed {plan.seed}")
        for _ in range(CHANGES_BEFORE):
            shop.act()
        shop.flush()
        stage = Stage(shop, consumer, sandbox, lag, say, watch=broker.check_whole)
        stage.play(plan.duration_s, plan.rate, keep=plan.keep, console=console, picture=plan.picture)
        return finish(shop, consumer, sandbox, say, broker.check_whole)


def differences(truth: Members, found: Members) -> dict[str, tuple[set[str], set[str]]]:
    """Of each segment that differs: the members that are missing, and those that are too many."""
    return {
        code: (truth.get(code, set()) - found.get(code, set()), found.get(code, set()) - truth.get(code, set()))
        for code in sorted({*truth, *found})
        if truth.get(code, set()) != found.get(code, set())
    }


def named(what: str, members: set[str]) -> str:
    """How many, and who: the first few."""
    some = f" ({', '.join(sorted(members)[:NAMED_MAX])}{', …' if len(members) > NAMED_MAX else ''})" if members else ""
    return f"{len(members)} {what}{some}"


def verdict(truth: Members, found: Members, consumer_code: int, changes: str, say: Say) -> int:
    """Say how the segments compare with the table. 0 when they are equal and the consumer ended with 0, else 1."""
    differ = differences(truth, found)
    for code in sorted({*truth, *found}):
        missing, extra = differ.get(code, (set(), set()))
        mark = f"DIFFERS: {named('missing', missing)}, {named('too many', extra)}" if code in differ else "equal"
        say(f"  {code:14s} {len(truth.get(code, ())):6d} members  {mark}")
    say(
        f"{'NOT EQUAL' if differ else 'equal'}: {sum(map(len, truth.values()))} members after {changes}, "
        f"consumer exit code {consumer_code}"
    )
    return 1 if differ or consumer_code else 0


def finish(source: Source, consumer: Consumer, sandbox: Sandbox, say: Say, watch: Callable[[], None]) -> int:
    """Wait until the segments equal the table, end the consumer, and compare by the public GET."""
    consumer.check_alive()
    sandbox.calm()  # what keys switched on would only make the last minute longer
    truth = source.truth()
    say("waiting for what is under way, and then comparing by the public GET")
    began_s = said_s = time.monotonic()
    while (differ := differences(truth, sandbox.all_members())) and time.monotonic() - began_s < SETTLE_DEADLINE_S:
        consumer.check_alive()
        if time.monotonic() - said_s >= SETTLE_LINE_S:
            said_s = time.monotonic()
            say(f"  {sum(len(missing) + len(extra) for missing, extra in differ.values())} memberships differ still")
        time.sleep(0.25)
    code = consumer.stop()
    watch()
    # once more, after the consumer ended: nothing of it may still change anything
    time.sleep(1.0)
    result = verdict(source.truth(), sandbox.all_members(), code, source.summary(), say)
    if result:
        say(consumer.log.read_text()[-3000:])
    return result
