"""What brokers tell about topics that the embedded one does not: clean-up, retention, rights, creation."""

from typing import Any

import pytest

from stream.check import places
from stream.check.findings import Finding, Findings
from stream.edge.probe import Answer, Sampled, TopicFacts

ALL = frozenset({"read", "write", "describe"})


def facts(partitions: int = 2, operations: frozenset[str] | None = ALL, **config: str) -> TopicFacts:
    return TopicFacts(partitions, {name.replace("_", "."): value for name, value in config.items()}, operations, "id")


def source(of: TopicFacts, **sampled: Any) -> list[Finding]:
    found = Findings()
    places.source(found, "s.public.t", of, Sampled([], **({"low": {0: 0, 1: 0}, "high": {0: 5, 1: 6}} | sampled)))
    return found.lines


def own(
    of: TopicFacts, what: str = "row state", answer: Answer | None = None, *, create: bool = True, verify: bool = True
) -> Finding:
    found = Findings()
    places.own(found, "g-rows", what, 2, of, answer, create=create, verify=verify)
    (line,) = found.lines
    return line


def test_a_compacted_source_is_right() -> None:
    assert [line.level for line in source(facts(cleanup_policy="compact"))] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("config", "low", "level"),
    [
        ({"cleanup_policy": "delete", "retention_ms": "604800000"}, 0, "warn"),
        ({"cleanup_policy": "delete", "retention_ms": "-1"}, 0, "ok"),
        ({"cleanup_policy": "delete", "retention_ms": "-1", "retention_bytes": "1000"}, 0, "warn"),
        ({"cleanup_policy": "delete", "retention_ms": "-1"}, 3, "warn"),
        ({"cleanup_policy": "compact,delete", "retention_ms": "1"}, 0, "warn"),
    ],
)
def test_what_may_be_gone_is_a_warning(config: dict[str, str], low: int, level: str) -> None:
    line = source(facts(**config), low={0: low, 1: 0})[-1]
    assert (line.what, line.level) == ("retention", level)
    assert level == "ok" or "cleanup.policy=compact" in line.advice


def test_of_a_broker_that_tells_nothing_the_missing_head_is_seen() -> None:
    unknown = TopicFacts(2, None, None, None)
    assert source(unknown)[-1].level == "ok"
    assert source(unknown, low={0: 4, 1: 0})[-1].level == "warn"


def test_a_source_that_may_not_be_read() -> None:
    line = source(facts(cleanup_policy="compact", operations=frozenset({"describe"})))[1]
    assert (line.what, line.code) == ("read", 77)
    line = source(facts(cleanup_policy="compact"), why="denied", denied=True)[1]
    assert (line.what, line.code) == ("read", 77)
    line = source(facts(cleanup_policy="compact"), why="no leader")[1]
    assert (line.what, line.code) == ("read", 69)


@pytest.mark.parametrize(
    ("of", "answer", "level", "code"),
    [
        (facts(cleanup_policy="compact"), None, "ok", 0),
        (facts(3, cleanup_policy="compact"), None, "fail", 65),
        (facts(cleanup_policy="delete"), None, "fail", 65),
        (facts(operations=frozenset({"read"}), cleanup_policy="compact"), None, "fail", 77),
        (facts(operations=None, cleanup_policy="compact"), None, "ok", 0),
        (facts(0), Answer(works=True), "ok", 0),
        (facts(0), Answer(None), "ok", 0),
        (facts(0), Answer(works=False, why="no", denied=True), "fail", 77),
        (facts(0), Answer(works=False, why="replication factor"), "fail", 69),
    ],
)
def test_the_row_state_s_topic(of: TopicFacts, answer: Answer | None, level: str, code: int) -> None:
    line = own(of, answer=answer)
    assert (line.level, line.code) == (level, code)


def test_letters_may_have_any_partition_count_and_a_deleting_policy_is_a_warning() -> None:
    assert own(facts(7, cleanup_policy="compact"), "letters").level == "ok"
    assert own(facts(cleanup_policy="delete"), "letters").level == "warn"


def test_a_topic_that_may_not_be_created_by_settings_comes_with_its_command() -> None:
    assert own(facts(0), create=False).level == "fail"
    line = own(facts(0), create=False, verify=False)
    assert line.level == "warn"
    assert line.advice.startswith("kafka-topics --create --topic g-rows --partitions 2")


@pytest.mark.parametrize(
    ("of", "create", "level", "code"),
    [
        (facts(0), True, "ok", 0),
        (facts(0), False, "ok", 0),
        (facts(1, cleanup_policy="compact"), True, "ok", 0),
        (facts(4, operations=None, cleanup_policy="compact"), True, "ok", 0),
        (TopicFacts(1, None, None, None), True, "ok", 0),
        (facts(1, cleanup_policy="delete"), True, "fail", 65),
        (facts(1, operations=frozenset({"write"}), cleanup_policy="compact"), True, "fail", 77),
    ],
)
def test_the_control_topic_need_not_be_there(of: TopicFacts, create: bool, level: str, code: int) -> None:  # noqa: FBT001 - a case
    found = Findings()
    places.control(found, "g-control", of, create=create)
    (line,) = found.lines
    assert (line.level, line.code) == (level, code)
    assert ("kafka-topics --create" in line.advice) is (not create)
