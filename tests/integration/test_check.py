"""`segstream check` against an embedded broker and the sandbox: what it finds, what it advises, and its exit codes."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import confluent_kafka as ck
import pytest
from check_trial import SOURCE, Bench, failed, of

from stream.check import Findings, as_table, as_text
from stream.demo.broker import EmbeddedBroker
from stream.sandbox.config import SandboxConfig
from stream.sandbox.server import Sandbox


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker()
    yield broker
    broker.close()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SandboxConfig(segments=("gold", "silver"))) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    # the embedded broker answers no administrative request: not knowing must not take long here
    monkeypatch.setattr("stream.edge.probe.ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr("stream.edge.probe.FIRST_CALL_TIMEOUT_S", 3.0)


@pytest.fixture
def bench(broker: EmbeddedBroker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(broker, sandbox, tmp_path, capsys)


def test_what_fits_together_ends_with_0(bench: Bench) -> None:
    bench.some_rows()
    bench.row({"id": 1}, None, op="d", before={"id": 1, "segment": "", "customer": ""})
    bench.send({"id": 1}, None)
    code, found = bench.check()
    assert (code, failed(found)) == (0, [])
    assert of(found, "samples").text == "10 records: c 8, d 1, tombstone 1"
    assert of(found, "rows").text == "membership 8; 8 memberships in 1 segments: gold"
    assert of(found, "key").text == "(id)"
    assert "DEFAULT is seen" in of(found, "replica identity").text
    assert "ALTER TABLE public.segment_members REPLICA IDENTITY FULL;" in of(found, "replica identity").advice
    assert "unknown" in of(found, "retention").text
    assert of(found, "segments").level == "ok"


def test_it_leaves_no_trace(bench: Bench, broker: EmbeddedBroker) -> None:
    bench.some_rows()
    bench.settings["transactions"] = True
    bench.settings["state"]["create_topics"] = True
    code, found = bench.check()
    assert code == 0, found
    group = bench.settings["kafka"]["group.id"]
    for name in (group, f"{group}-check"):
        consumer = ck.Consumer({"bootstrap.servers": broker.address, "group.id": name})
        parts = consumer.committed([ck.TopicPartition(bench.topic, n) for n in range(4)], timeout=10)
        assert [part.offset for part in parts] == [ck.OFFSET_INVALID] * 4
        assert not [topic for topic in consumer.list_topics(timeout=10).topics if topic.startswith(group)]
        consumer.close()


def test_of_a_long_topic_both_ends_are_looked_at(bench: Bench) -> None:
    for i in range(1, 1_001):
        bench.row({"id": i}, {"id": i, "segment": "gold" if i <= 500 else "silver", "customer": f"c-{i}"})
    code, found = bench.check()
    assert code == 0
    assert of(found, "samples").text == "400 records: c 400"
    assert of(found, "rows").text.endswith("in 2 segments: gold, silver")


def test_a_wrong_secret_is_77(bench: Bench) -> None:
    bench.some_rows()
    (bench.folder / "secret").write_text("wrong")
    code, found = bench.check()
    assert (code, failed(found)) == (77, ["access"])
    assert "wrong" not in json.dumps(found)


def test_an_api_that_is_down_is_69(bench: Bench) -> None:
    bench.some_rows()
    bench.settings["retail_red"]["urls"] = dict.fromkeys(("auth", "segmentation", "customer"), "http://127.0.0.1:9")
    code, found = bench.check()
    assert (code, failed(found)) == (69, ["access"])


def test_another_merchant_is_a_matter_of_settings_or_rights(bench: Bench) -> None:
    bench.some_rows()
    bench.settings["retail_red"]["merchant"] = "10007"
    code, found = bench.check()
    assert code in (77, 78)
    assert failed(found) == ["access"]


def test_a_broker_that_is_down_is_69_and_the_api_is_still_looked_at(bench: Bench) -> None:
    bench.settings["kafka"]["bootstrap.servers"] = "127.0.0.1:9"
    code, found = bench.check()
    assert (code, failed(found)) == (69, ["brokers"])
    assert "Connection refused" in of(found, "brokers").text
    assert of(found, "access").level == "ok"


def test_a_property_that_the_client_refuses_is_78(bench: Bench) -> None:
    bench.settings["kafka"]["fetch.max.bytes"] = -5
    code, found = bench.check()
    assert (code, failed(found)) == (78, ["client"])


def test_a_topic_that_is_not_there_is_named_with_those_like_it(bench: Bench) -> None:
    bench.some_rows()
    bench.settings["tables"] = {bench.topic + "s": bench.table}
    code, found = bench.check()
    assert (code, failed(found)) == (65, ["topic"])
    assert bench.topic in of(found, "topic").advice


def test_a_missing_column_stops_run_so_it_is_65(bench: Bench) -> None:
    bench.some_rows()
    bench.table["member"] = {"id": "customer_id"}
    code, found = bench.check()
    assert (code, failed(found)) == (65, ["columns"])
    assert "its rows have: id, segment, customer" in of(found, "columns").text


@pytest.mark.parametrize("set_to", ["debezium", "unwrapped"])
def test_the_wrong_envelope_is_told_with_the_right_one(bench: Bench, set_to: str) -> None:
    right = {"debezium": "unwrapped", "unwrapped": "debezium"}[set_to]
    for i in range(1, 5):
        row = {"id": i, "segment": "gold", "customer": f"c-{i}"}
        if right == "debezium":
            bench.row({"id": i}, row)
        else:
            bench.send({"id": i}, row | {"__op": "c", "__deleted": "false"})
    bench.table["envelope"] = set_to
    code, found = bench.check()
    assert (code, failed(found)) == (78, ["envelope"])
    assert of(found, "envelope").advice == f"settings: envelope: {right}"


def test_a_keyless_table_is_65(bench: Bench) -> None:
    bench.row(None, {"segment": "gold", "customer": "c-1"})
    code, found = bench.check()
    assert (code, failed(found)) == (65, ["key"])
    assert '"message.key.columns": "public.segment_members:segment,customer"' in of(found, "key").advice


def test_json_with_and_without_schema_in_one_topic(bench: Bench) -> None:
    bench.some_rows()
    payload = {"op": "c", "before": None, "after": {"segment": "gold", "customer": "c-9"}, "source": SOURCE}
    bench.send({"id": 9}, {"schema": {"type": "struct", "fields": []}, "payload": payload})
    code, found = bench.check()
    assert code == 0
    assert of(found, "format").text.startswith("json 8, json with schema 1")
    assert "schemas.enable" in of(found, "format").advice
    assert of(found, "rows").text.startswith("membership 9")


def test_framed_values_without_a_registry_are_a_matter_of_settings(bench: Bench) -> None:
    bench.send({"id": 1}, b"\0\0\0\0\x07binary")
    code, found = bench.check()
    assert (code, failed(found)) == (78, ["format"])
    assert "registry" in of(found, "format").advice


def test_a_framing_that_the_bytes_exclude(bench: Bench) -> None:
    bench.send({"id": 1}, b"\0\0\0\0\0\0\0\0\x07binary")
    bench.settings["registry"] = {"url": "http://127.0.0.1:9", "timeout_s": 0.5}
    code, found = bench.check()
    assert code == 78
    assert of(found, "format").advice == "settings: framing: apicurio_int64"
    assert of(found, "answers").code == 69


def composite(bench: Bench, *, claim: str, deleted: Mapping[str, Any] | None = None) -> None:
    bench.table["partitioned_by"] = claim
    for i in range(1, 5):
        key = {"segment": "gold", "customer": f"c-{i}"}
        bench.row(key, key, partition=i % 4)
    if deleted is not None:
        bench.row(deleted, None, op="d", before={"segment": "", "customer": ""})


def test_keys_that_hold_the_membership_allow_several_instances(bench: Bench) -> None:
    composite(bench, claim="none")
    code, found = bench.check()
    assert code == 0
    assert "partitioned_by: membership" in of(found, "owner").advice


def test_a_claim_that_holds(bench: Bench) -> None:
    composite(bench, claim="membership", deleted={"segment": "gold", "customer": "c-1"})
    code, found = bench.check()
    assert code == 0
    assert of(found, "owner").text == "partitioned_by: membership holds in every sample"
    assert of(found, "replica identity").text == "the key alone says which membership ends"


def test_a_claim_that_a_surrogate_key_contradicts(bench: Bench) -> None:
    bench.some_rows()
    bench.table["partitioned_by"] = "membership"
    code, found = bench.check()
    assert (code, failed(found)) == (65, ["owner"])
    assert "no column customer" in of(found, "owner").text
    assert "message.key.columns" in of(found, "owner").advice


def test_keys_of_deletes_that_hold_stand_ins(bench: Bench) -> None:
    composite(bench, claim="membership", deleted={"segment": "", "customer": ""})
    code, found = bench.check()
    assert (code, failed(found)) == (65, ["owner"])
    assert of(found, "owner").advice == "ALTER TABLE public.segment_members REPLICA IDENTITY FULL;"


def test_a_segment_in_two_partitions_contradicts_by_segment(bench: Bench) -> None:
    composite(bench, claim="segment")
    code, found = bench.check()
    assert (code, failed(found)) == (65, ["owner"])


def test_full_is_claimed_but_not_so(bench: Bench) -> None:
    bench.some_rows()
    bench.row({"id": 1}, None, op="d", before={"id": 1, "segment": "", "customer": ""})
    bench.table["replica_identity"] = "full"
    code, found = bench.check()
    assert (code, failed(found)) == (65, ["replica identity"])
    assert of(found, "replica identity").advice == "ALTER TABLE public.segment_members REPLICA IDENTITY FULL;"


def test_full_is_so_but_not_claimed(bench: Bench) -> None:
    row = {"id": 1, "segment": "gold", "customer": "c-1"}
    bench.row({"id": 1}, row, op="u", before=row)
    code, found = bench.check()
    assert code == 0
    assert "replica_identity: full" in of(found, "replica identity").advice


def test_rows_that_would_become_letters(bench: Bench) -> None:
    bench.some_rows()
    bench.row({"id": 20}, {"segment": "gold", "customer": {"scale": 0, "value": "AQ=="}})
    bench.row({"id": 21}, {"segment": "a/b", "customer": "c"})
    code, found = bench.check()
    assert code == 0
    assert of(found, "rows").level == "warn"
    assert "segment_code 1" in of(found, "rows").advice
    assert "decimal.handling.mode" in of(found, "rows").advice


def test_only_letters_is_a_failure(bench: Bench) -> None:
    bench.row({"id": 1}, {"segment": "gold", "customer": None})
    code, found = bench.check()
    assert (code, failed(found)) == (65, ["rows"])


def test_segments_that_do_not_exist_are_named(bench: Bench) -> None:
    bench.some_rows()
    bench.row({"id": 30}, {"segment": "no-such", "customer": "c-1"})
    code, found = bench.check()
    assert code == 0
    assert "1 of 2 do not exist: no-such" in of(found, "segments", "warn").text


def test_no_start_and_no_offsets_is_78(bench: Bench) -> None:
    bench.some_rows()
    del bench.settings["start"]
    code, found = bench.check()
    assert (code, failed(found)) == (78, ["offsets"])


def commit(bench: Bench, offset: int) -> None:
    consumer = ck.Consumer({"bootstrap.servers": bench.broker.address, "group.id": bench.settings["kafka"]["group.id"]})
    consumer.commit(offsets=[ck.TopicPartition(bench.topic, 0, offset)], asynchronous=False)
    consumer.close()


def test_offsets_beyond_the_end(bench: Bench) -> None:
    bench.some_rows()
    assert bench.producer.flush(10) == 0
    commit(bench, 1_000)
    code, found = bench.check()
    assert code == 65
    assert "beyond the end" in of(found, "offsets").text
    assert "--delete-offsets" in of(found, "offsets").advice


def test_offsets_without_their_state(bench: Bench) -> None:
    bench.some_rows()
    assert bench.producer.flush(10) == 0
    commit(bench, 1)
    bench.settings["state"]["create_topics"] = True
    code, found = bench.check()
    assert code == 65
    assert "row state is gone" in of(found, "row state", "fail").text


def test_state_of_another_mapping(bench: Bench) -> None:
    bench.some_rows()
    assert bench.producer.flush(10) == 0
    commit(bench, 1)
    state = f"{bench.settings['kafka']['group.id']}-{bench.topic}-rows"
    bench.producer.produce(state, key=b"\0partition", value=b'{"v":1,"fingerprint":"other"}', partition=0)
    code, found = bench.check()
    assert code == 65
    assert "changed what a row says" in of(found, "row state", "fail").text


def test_a_pattern_without_topics_is_a_warning(bench: Bench) -> None:
    bench.settings["tables"] = {"^nothing-.*": bench.table}
    code, found = bench.check()
    assert code == 0
    assert of(found, "topic").level == "warn"


def test_nothing_is_wider_than_the_terminal_and_nothing_is_lost() -> None:
    from rich.console import Console  # noqa: PLC0415 - the one test that draws

    found = Findings()
    found.fail("shop.public.a_table_with_a_rather_long_name", "owner", "words " * 40, "ALTER TABLE public.x;" * 9)
    found.warn("kafka", "transactions", "x" * 300)
    for width in (40, 80, 200):
        console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123 - thrown away
        console.print(as_table(found))
        lines = console.export_text().splitlines()
        assert max(map(len, lines)) <= width
        assert "".join(lines).count("words") == 40
        console.file.close()
    assert as_text(found).count("words") == 40


def test_what_a_person_must_mend_wins_over_what_may_pass() -> None:
    found = Findings()
    assert found.exit_code == 0
    found.warn("kafka", "a", "")
    assert found.exit_code == 0
    for code in (65, 69, 77, 78):
        found.fail("kafka", "b", "", code=code)
        assert found.exit_code == code
