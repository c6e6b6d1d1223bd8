"""`segstream segments` against an embedded broker and the sandbox, beside the rows that a loop stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shop_trial import Shop

from stream import cli, wiring
from stream.core.model import Call, Definition
from stream.demo.broker import EmbeddedBroker
from stream.edge.api import RetailRed
from stream.edge.control import control_topic
from stream.inventory import gather
from stream.inventory.gather import Room
from stream.settings import Settings


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker()
    yield broker
    broker.close()


class Bench:
    """A shop, its settings file, and the command."""

    def __init__(self, shop: Shop, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.shop = shop
        self.folder = folder
        self.capsys = capsys
        shop.settings["tables"] = {
            shop.topic("members"): {"segment": {"reference": "segments", "by": "segment"}, "member": {"email": "email"}}
        }
        shop.settings["references"] = {"segments": {"topic": shop.topic("segments"), "key": "id", "code": "code"}}
        shop.settings["segments"] = {"topic": shop.topic("segments"), "code": "code", "name": "title"}
        for number in (1, 2, 3):
            shop.customer(f"c-{number}", f"m{number}@example.com")
        shop.write("segments", 7, {"code": "gold", "title": "Golden"})
        shop.write("segments", 8, {"code": "blue", "title": "Blue"})
        for number, segment in ((1, 7), (2, 7), (3, 8), (4, 8), (5, 9)):
            shop.write("members", number, {"segment": segment, "email": f"m{number}@example.com"})

    @property
    def control(self) -> str:
        return control_topic(self.shop.settings["kafka"]["group.id"])

    def run(self) -> None:
        """A loop comes, does everything, and goes."""
        shop = self.shop
        loop = shop.begin()
        shop.until(lambda: shop.members("gold") == {"c-1", "c-2"} and shop.members("blue") == {"c-3"})
        shop.until(lambda: +loop.engine.pending() == {"customer_missing": 1, "segment_reference": 1})
        shop.stop()

    def by_hand(self, steps: Callable[[RetailRed], list[Any]]) -> None:
        """Somebody else's changes at retail.red."""
        api = RetailRed(wiring.api_config(Settings.model_validate(self.shop.settings)))
        try:
            assert all(one.kind in ("done", "answered") for one in steps(api))
        finally:
            api.close()

    def command(self, *arguments: str) -> tuple[int, Any]:
        path = self.folder / "settings.yaml"
        path.write_text(json.dumps(self.shop.settings))
        self.capsys.readouterr()
        code = cli.main(["segments", "-c", str(path), *arguments])
        out, err = self.capsys.readouterr()
        return code, json.loads(out) if "--json" in arguments and not err else out + err

    def lines(self) -> tuple[int, dict[str, dict[str, Any]]]:
        code, found = self.command("--json")
        return code, {line["code"]: line for line in found["segments"]}


@pytest.fixture
def bench(broker: EmbeddedBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Bench]:
    shop = Shop(broker, tmp_path, segments=("gold", "by-hand"))
    yield Bench(shop, tmp_path, capsys)
    shop.close()


@pytest.mark.parametrize("in_memory", [True, False])
def test_what_a_loop_left_is_equal_and_what_differs_is_told(
    bench: Bench,
    in_memory: bool,  # noqa: FBT001 - a case
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[gather.Room] = []
    if not in_memory:
        monkeypatch.setattr(gather, "LOOK_EVERY", 1)
        monkeypatch.setattr(gather, "Room", lambda _folder, _max: made.append(Room(bench.folder, 0)) or made[-1])
    bench.run()
    code, lines = bench.lines()
    assert all(room.spilled for room in made)
    assert len(made) == (not in_memory)
    assert code == 0
    assert {one: (line["source"], line["told"], line["wanted"], line["there"]) for one, line in lines.items()} == {
        "gold": ("named", 2, 2, "fixed"),
        "blue": ("named", 1, 1, "fixed"),
        "by-hand": ("-", 0, 0, "fixed"),
    }
    assert lines["blue"]["notes"] == ["pending 1"]
    assert lines["by-hand"]["notes"] == ["extra"]
    bench.by_hand(
        lambda api: [
            api.define(Definition(0, "delete", "blue", "")),
            api.define(Definition(0, "define", "gold", "By hand")),
            api.send(Call(1, "remove", "gold", ("c-2",))),
        ]
    )
    bench.shop.until(lambda: bench.shop.members("gold") == {"c-1"})
    code, lines = bench.lines()
    assert code == 65
    assert lines["blue"]["differences"] == ["missing"]
    assert lines["gold"]["differences"] == ["name differs", "count -1"]
    code, text = bench.command()
    assert code == 65
    assert text.splitlines()[0].split()[0] == "CODE"
    assert "1 rows wait for their segment's row" in text


def test_before_the_first_start_only_segments_are_compared(bench: Bench) -> None:
    code, text = bench.command()
    assert code == 65
    assert "no row state yet" in text
    gold = next(line for line in text.splitlines() if line.startswith("gold"))
    assert gold.split()[1:4] == ["named", "?", "fixed"]


def test_accepting_moves_and_refusals_say_why(bench: Bench) -> None:
    shop = bench.shop
    code, text = bench.command("--accept", "a/b")
    assert (code, "no segment code" in text) == (2, True)
    bench.run()
    code, text = bench.command("--accept", "golden")
    assert code == 65
    assert "no reference shows golden" in text
    assert "--force" in text
    shop.write("segments", 7, {"code": "golden", "title": "Golden"}, "u")
    code, text = bench.command("--accept", "golden")
    # the embedded broker makes topics when they are written to, and no other way
    assert code == 65
    assert f"kafka-topics --create --topic {bench.control} --partitions 1" in text
    bench.shop.producer.produce(bench.control, key=b"nothing", value=None, partition=0)
    assert bench.shop.producer.flush(10) == 0
    code, told = bench.command("--accept", "golden", "--json")
    assert code == 0
    assert told["moves"] == [{"reference": "segments", "key": "7", "from": "gold", "rows": 2}]
    assert (told["named"], told["there"], told["topic"]) == (True, "missing", bench.control)
    code, text = bench.command("--accept", "golden")
    assert code == 0
    assert "reference segments, key 7: 2 rows move from gold to golden" in text
    assert "golden is created first" in text
    assert "at once" in text
    shop.begin()
    shop.until(lambda: shop.members("golden") == {"c-1", "c-2"} and not shop.members("gold"))
    shop.stop()
    code, lines = bench.lines()
    assert code == 0
    assert (lines["golden"]["told"], lines["golden"]["count"]) == (2, 2)
    code, text = bench.command("--accept", "golden")
    assert (code, "no stored row moves to golden now" in text) == (0, True)


def test_a_forced_acceptance_and_a_dynamic_code(bench: Bench) -> None:
    shop = bench.shop
    shop.producer.produce(bench.control, key=b"nothing", value=None, partition=0)
    assert shop.producer.flush(10) == 0
    code, text = bench.command("--accept", "platinum", "--force")
    assert code == 0
    assert "does not exist at retail.red: who moves waits" in text
    shop.sandbox.call(lambda app: setattr(app.shop.segments["by-hand"], "type", "dynamic"))
    code, text = bench.command("--accept", "by-hand")
    assert code == 65
    shop.write("segments", 7, {"code": "by-hand", "title": "x"}, "u")
    code, text = bench.command("--accept", "by-hand")
    assert (code, "is dynamic" in text) == (65, True)
    assert bench.command("--force")[0] == 2


def test_nothing_to_accept_where_no_code_can_change(bench: Bench) -> None:
    del bench.shop.settings["references"], bench.shop.settings["segments"]
    bench.shop.settings["tables"] = {
        bench.shop.topic("members"): {"segment": {"column": "segment"}, "member": {"email": "email"}}
    }
    code, text = bench.command("--accept", "gold")
    assert code == 65
    assert "no code can change" in text


def test_a_topic_that_is_not_there_and_what_does_not_answer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = bench.shop.settings
    settings["segments"]["topic"] = bench.shop.topic("nothing")
    code, text = bench.command()
    assert (code, "does not exist" in text) == (65, True)
    settings["retail_red"]["urls"] = dict.fromkeys(("auth", "segmentation", "customer"), "http://127.0.0.1:9")
    monkeypatch.setattr("stream.edge.api.READ_WAIT_S_MAX", 0.1)
    assert bench.command()[0] == 69
