"""What the settings accept, refuse and say."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from stream.core.mapping import SEGMENT_CODE
from stream.errors import SettingsError
from stream.settings import Condition, Segment, Settings, annotated_defaults, json_schema, json_schema_text, load

ROOT = Path(__file__).parents[3]
MINIMAL = """\
kafka: {bootstrap.servers: "kafka:9092", group.id: segstream-shop}
retail_red: {merchant: "10006", client_id: segstream, client_secret_file: /run/secrets/retail-red}
tables:
  shop.public.members:
    segment: {column: segment_code}
    member: {id: customer_id}
"""


class Read(Protocol):
    def __call__(self, text: str, env: dict[str, str] | None = None, overrides: Sequence[str] = ()) -> Settings: ...


class Told(Protocol):
    def __call__(self, text: str, env: dict[str, str] | None = None, overrides: Sequence[str] = ()) -> list[str]: ...


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(text: str, env: dict[str, str] | None = None, overrides: Sequence[str] = ()) -> Settings:
        path = tmp_path / "segstream.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path, env or {}, overrides)

    return read


@pytest.fixture
def problems(read: Read, tmp_path: Path) -> Told:
    def problems(text: str, env: dict[str, str] | None = None, overrides: Sequence[str] = ()) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            read(text, env, overrides)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None or caught.value.__suppress_context__
        return str(caught.value).replace(f"{tmp_path}/", "").splitlines()

    return problems


def test_a_minimal_file_has_the_defaults_that_the_parts_rely_on(read: Read) -> None:
    s = read(MINIMAL)
    assert (s.batch.linger_s, s.batch.idle_s, s.commit_interval_s, s.drain_s) == (0.5, 0.1, 0.5, 25)
    assert (s.window.records_max, s.window.bytes_max, s.window.age_s) == (500_000, 268_435_456, 60)
    assert (s.retail_red.members_max, s.retail_red.slots, s.retail_red.api_timeout_s) == (500, 8, 10)
    assert (s.letters_topic, s.metrics.port, s.start, s.registry) == ("segstream-shop-letters", 9464, None, None)
    assert s.kafka["partition.assignment.strategy"] == "cooperative-sticky"
    assert 0 < s.lease_s < s.session_timeout_s == 45


def test_the_annotated_defaults_load_and_are_the_defaults(read: Read) -> None:
    shown = annotated_defaults()
    loaded = read(shown)
    for name in Settings.model_fields:
        if name not in ("kafka", "retail_red", "tables", "start"):
            assert getattr(loaded, name) == getattr(read(MINIMAL), name), name
    written = yaml.safe_load(shown)
    assert set(written) == set(Settings.model_fields)
    assert set(written["retail_red"]) == set(type(loaded.retail_red).model_fields)


def test_every_knob_is_described_and_every_number_is_bounded() -> None:
    schema = json_schema()
    for name, model in {**schema["$defs"], "Settings": schema}.items():
        for key, knob in model["properties"].items():
            assert knob.get("description"), f"{name}.{key} has no description"
            kinds = [knob, *knob.get("anyOf", [])]
            # text may be written as a number; that is no quantity
            quantities = [kind for kind in kinds if kind.get("type") in ("integer", "number")]
            if not any(kind.get("type") == "string" for kind in kinds):
                assert all({"minimum", "maximum"} <= set(kind) for kind in quantities), f"{name}.{key} has no limit"


def test_the_committed_schema_is_the_code() -> None:
    assert (ROOT / "schemas/settings.schema.json").read_text(encoding="utf-8") == json_schema_text(), (
        "regenerate it: make schemas"
    )


def test_the_schema_accepts_what_loads_and_refuses_typos() -> None:
    validator = Draft202012Validator(json_schema())
    for text in (MINIMAL, annotated_defaults()):
        validator.validate(yaml.safe_load(text))
    wrong = yaml.safe_load(MINIMAL)
    wrong["kafka"]["enable.auto.commit"] = True
    wrong["bach"] = {}
    wrong["retail_red"]["slots"] = 900
    found = {(*error.path, error.validator) for error in validator.iter_errors(wrong)}
    assert found == {("kafka", "additionalProperties"), ("additionalProperties",), ("retail_red", "slots", "maximum")}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("bach: {}", "segstream.yaml:7: bach: is no setting; did you mean batch?"),
        (
            "batch: {lingr_s: 1}",
            "segstream.yaml:7: batch.lingr_s: is no setting; did you mean linger_s?",
        ),
        (
            "commit_interval_s: soon",
            (
                "segstream.yaml:7: commit_interval_s: 'soon' is not a number; allowed: 0.05 to 60 "
                "(seconds between two commits)"
            ),
        ),
        (
            "metrics:\n  port: 70000",
            (
                "segstream.yaml:8: metrics.port: 70000 is out of range; allowed: 0 to 65535 "
                "(port to listen on; 0: any free one)"
            ),
        ),
        ("log: {format: xml}", "segstream.yaml:7: log.format: 'xml' is not allowed; allowed: auto, text, json"),
        ("log: verbose", "segstream.yaml:7: log: 'verbose' is not a group of keys"),
        ("window: {records_max: true}", "segstream.yaml:7: window.records_max: true is not a number"),
        (
            "window: {age_s: .nan}",
            (
                "segstream.yaml:7: window.age_s: '.nan' is not a number; allowed: 1 to 86400 "
                "(seconds after which what is stuck is stored as it is, to let the offsets go on)"
            ),
        ),
        (
            "start: tomorrow",
            "segstream.yaml:7: start: 'tomorrow' is none of beginning, end, or a time such as 2026-01-31T06:00:00Z",
        ),
        (
            "start: 2026-01-31T06:00:00",
            (
                "segstream.yaml:7: start: '2026-01-31T06:00:00' has no time zone: end it with Z "
                "or an offset such as +02:00"
            ),
        ),
        ("drain_s: 10", "segstream.yaml:7: drain_s: 10 is not above retail_red.api_timeout_s, 10"),
        ("drain_s: 300", "segstream.yaml:7: drain_s: 300 is not below max.poll.interval.ms, 300 s"),
        ("batch: {linger_s: 0.05}", "segstream.yaml:7: batch.idle_s: is above batch.linger_s, 0.05"),
        (
            "letters: {topic: shop.public.members}",
            "segstream.yaml:7: letters.topic: 'shop.public.members' is also a table's topic, shop.public.members",
        ),
        (
            "registry: {url: 'ftp://x'}",
            "segstream.yaml:7: registry.url: 'ftp://x' is not an http or https URL with a host",
        ),
        ("drain_s: 30\ndrain_s: 40", "segstream.yaml:8: drain_s is written twice, first in line 7"),
        ("drain_s: !!python/object:os.system x", None),
        ("drain_s: [", None),
        ("\tdrain_s: 1", None),
    ],
)
def test_one_line_names_place_key_value_and_what_is_allowed(problems: Told, line: str, expected: str | None) -> None:
    found = problems(MINIMAL + line + "\n")
    assert len(found) == 1, found
    assert found[0].startswith("segstream.yaml:")
    if expected is not None:
        assert found == [expected]


def test_all_problems_are_told_at_once(problems: Told) -> None:
    found = problems(MINIMAL.replace("10006", "a/b") + "bach: {}\nlog: {level: loud}\n")
    assert [line.split(" ")[0] for line in found] == ["segstream.yaml:2:", "segstream.yaml:8:", "segstream.yaml:7:"]


@pytest.mark.parametrize("text", ["", "{}", "# nothing\n"])
def test_an_empty_file_is_told_what_is_required(problems: Told, text: str) -> None:
    found = problems(text)
    assert [line.split(": ")[1] for line in found] == ["kafka", "retail_red", "tables"]


@pytest.mark.parametrize("text", ["- a\n", "text", "\x00", "a: &a [*a]\n", "{" * 5_000])
def test_what_is_no_mapping_is_one_line(problems: Told, text: str) -> None:
    assert len(problems(text)) == 1


def test_a_missing_file_is_one_line() -> None:
    with pytest.raises(SettingsError, match=r"^/nowhere/segstream.yaml: cannot be read: No such file or directory$"):
        load(Path("/nowhere/segstream.yaml"), {})


def test_aliases_cannot_multiply_without_limit(problems: Told) -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert any("more than 100000 values" in line for line in problems("\n".join(lines)))


@pytest.mark.parametrize(
    "where",
    [
        ("client_id: segstream", "client_id: segstream, client_secret: HUSH"),
        ("client_id: segstream", "client_id: segstream, password: HUSH"),
        ("group.id: segstream-shop", "group.id: segstream-shop, sasl.password: HUSH"),
        ("group.id: segstream-shop", "group.id: segstream-shop, ssl.key.pem: HUSH"),
        ("group.id: segstream-shop", "group.id: segstream-shop, sasl.jaas.config: HUSH"),
        ("client_id: segstream", "client_id: segstream, urls: {auth: 'https://user:HUSH@x.example'}"),
    ],
)
def test_no_error_shows_a_secret(problems: Told, where: tuple[str, str]) -> None:
    found = problems(MINIMAL.replace(*where))
    assert found
    assert "HUSH" not in "\n".join(found)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("enable.auto.commit", "false", "may not be set"),
        ("enable.auto.offset.store", "false", "may not be set"),
        ("auto.offset.reset", "earliest", "use start"),
        ("isolation.level", "read_uncommitted", "may not be set"),
        ("transactional.id", "x", "may not be set"),
        ("enable.idempotence", "false", "may not be set"),
        ("plugin.library.paths", "x.so", "load code"),
        ("ssl.engine.location", "x.so", "load code"),
        ("sasl.kerberos.kinit.cmd", "rm", "shell command"),
        ("enable.ssl.certificate.verification", "false", "can only be true"),
        ("ssl.endpoint.identification.algorithm", "none", "can only be https"),
        ("partition.assignment.strategy", "range", "cooperative-sticky"),
        ("session.timeout.ms", "soon", "milliseconds"),
        ("bootstrap.server", "x", "did you mean bootstrap.servers?"),
        ("client.id", "[1]", "not a string"),
    ],
)
def test_kafka_properties_that_may_not_be_set(problems: Told, key: str, value: str, says: str) -> None:
    found = problems(MINIMAL.replace("group.id:", f"{key}: {value}, group.id:"))
    assert len(found) == 1
    assert found[0].startswith(f"segstream.yaml:1: kafka.{key}: ")
    assert says in found[0]


def test_whole_numbers_may_be_written_as_helm_writes_them(read: Read) -> None:
    s = read(
        MINIMAL.replace("group.id:", "max.poll.interval.ms: 3e+05, group.id:") + "window: {bytes_max: 2.68435456e+08}"
    )
    assert s.kafka["max.poll.interval.ms"] == 300_000
    assert type(s.kafka["max.poll.interval.ms"]) is int
    assert s.window.bytes_max == 268_435_456


def test_the_letters_topic_is_a_topics_name(problems: Told) -> None:
    assert "letters.topic" in problems(MINIMAL + "letters: {topic: a b}")[0]


def test_the_new_group_protocol_leaves_assignment_to_the_broker(read: Read, problems: Told) -> None:
    new = MINIMAL.replace("group.id:", "group.protocol: consumer, group.id:")
    assert "partition.assignment.strategy" not in read(new).kafka
    found = problems(new.replace("group.id:", "session.timeout.ms: 6000, group.id:"))
    assert "decided by the broker" in found[0]


def test_yaml_keeps_text_that_looks_like_something_else(read: Read) -> None:
    s = read(
        MINIMAL.replace('"10006"', "010006").replace("client_id: segstream", "client_id: 12")
        + "    present: [{column: country, in: [no, on, 22:22, 1_000, 2026-01-01, 0x1F, null, true, 7]}]\n"
    )
    assert (s.retail_red.merchant, s.retail_red.client_id) == ("010006", "12")
    (condition,) = s.tables["shop.public.members"].present
    assert condition.values == ("no", "on", "22:22", "1_000", "2026-01-01", "0x1F", None, True, 7)


@pytest.mark.parametrize(
    ("written", "test", "values"),
    [
        ({"is": None}, "in", (None,)),
        ({"is_not": None}, "not_in", (None,)),
        ({"is": "x"}, "in", ("x",)),
        ({"is": True}, "in", (True,)),
        ({"in": ["a", 1]}, "in", ("a", 1)),
        ({"not_in": [None]}, "not_in", (None,)),
    ],
)
def test_conditions_become_one_shape(written: dict[str, Any], test: str, values: tuple[Any, ...]) -> None:
    condition = Condition.model_validate({"column": "c", **written})
    assert (condition.test, condition.values) == (test, values)


@pytest.mark.parametrize("written", [{}, {"is": None, "in": [1]}, {"in": []}, {"is": None, "is_not": None}])
def test_conditions_are_exactly_one_test(written: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"exactly one|lists no value"):
        Condition.model_validate({"column": "c", **written})


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ({"column": "code"}, (("column", "code"),)),
        ({"constant": "newsletter"}, (("text", "newsletter"),)),
        ({"constant": 2026}, (("text", "2026"),)),
        ({"template": "tier-{tier}"}, (("text", "tier-"), ("column", "tier"))),
        ({"template": "{a}{b}.x"}, (("column", "a"), ("column", "b"), ("text", ".x"))),
    ],
)
def test_segments_become_parts(written: dict[str, Any], parts: tuple[tuple[str, str], ...]) -> None:
    assert Segment.model_validate(written).parts == parts


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"column": "a", "constant": "b"},
        {"constant": "a#b"},
        {"constant": "a/b"},
        {"constant": ".."},
        {"constant": "x" * 129},
        {"template": "no-columns"},
        {"template": "{a.__class__}{}"},
        {"template": "{a!r}"},
        {"template": "{{a}}"},
        {"template": "{}"},
        {"template": "{a b}"},
        {"template": "{0}"},
        {"template": "{a:x}"},
        {"template": "a{"},
        {"template": "}"},
        {"template": "a}{b"},
    ],
)
def test_segments_that_could_change_a_path_or_a_format_are_refused(written: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Segment"):
        Segment.model_validate(written)


@given(st.text(max_size=20))
def test_a_constant_is_accepted_only_if_the_mapping_accepts_it_as_a_code(text: str) -> None:
    try:
        Segment.model_validate({"constant": text})
    except ValueError:
        return
    assert SEGMENT_CODE.fullmatch(text)


def test_https_unless_loopback_or_allowed(read: Read, problems: Told) -> None:
    def at(url: str, more: str = "") -> str:
        return MINIMAL.replace("client_id: segstream", f"client_id: segstream, urls: {{auth: '{url}'}}{more}")

    for url in ("http://127.0.0.1:1", "http://localhost:1/", "http://[::1]:1", "https://x.example/base/"):
        assert read(at(url)).retail_red.urls.auth == url.rstrip("/")
    for url in ("http://x.example", "http://127.0.0.1.x.example", "http://localhost.x.example", "http://0.0.0.0"):
        (line,) = problems(at(url))
        assert "retail_red.urls.auth" in line
        assert "plain http" in line
    assert read(at("http://x.example", ", allow_http: true")).retail_red.urls.auth == "http://x.example"


def test_a_registry_password_does_not_travel_in_clear(read: Read, problems: Told) -> None:
    text = MINIMAL + "registry: {url: 'http://registry:8081', username: u, password_file: /p}\n"
    assert "would carry a password over http" in problems(text)[0]
    assert read(text.replace("http:", "https:")).registry is not None
    assert "only one of" in problems(text.replace(", password_file: /p", ""))[0]


def test_start_in_the_middle_needs_rows_that_stand_alone(read: Read, problems: Told) -> None:
    for start in ("end", "2026-01-31T06:00:00Z"):
        assert "unseen rows" in problems(f"{MINIMAL}start: {start}\n")[0]
        read(f"{MINIMAL}    partitioned_by: membership\nstart: {start}\n")
    moment = read(f"{MINIMAL}    partitioned_by: membership\nstart: 2026-01-31T08:00:00+02:00\n").start
    assert moment == datetime(2026, 1, 31, 6, tzinfo=UTC)


def test_the_environment_wins_over_the_file_and_overrides_over_both(read: Read) -> None:
    environment = {
        "SEGSTREAM_BATCH__LINGER_S": "2",
        "SEGSTREAM_KAFKA__BOOTSTRAP_SERVERS": "other:9092",
        "SEGSTREAM_KAFKA__MAX_POLL_INTERVAL_MS": "60000",
        "SEGSTREAM_RETAIL_RED__MERCHANT": "77",
        "SEGSTREAM_RETAIL_RED__URLS__AUTH": "https://auth.example",
        "SEGSTREAM_LOG": "{level: debug}",
        "SEGSTREAM_SERVICE_HOST": "10.0.0.1",
        "SEGSTREAM_PORT_9464_TCP_ADDR": "10.0.0.1",
        "SEGSTREAM_SERVICE_PORT_METRICS": "9464",
        "OTHER": "1",
    }
    s = read(MINIMAL, environment, ["batch.linger_s=3", "kafka.client.id=a=b"])
    assert s.batch.linger_s == 3
    assert s.kafka["bootstrap.servers"] == "other:9092"
    assert s.kafka["client.id"] == "a=b"
    assert s.max_poll_interval_s == 60
    assert s.retail_red.merchant == "77"
    assert s.retail_red.urls.auth == "https://auth.example"
    assert s.log.level == "debug"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        (
            "SEGSTREAM_BATCH__LINGR_S",
            "1",
            "environment SEGSTREAM_BATCH__LINGR_S: batch.lingr_s: is no setting; did you mean linger_s?",
        ),
        (
            "SEGSTREAM_BATCH_LINGER_S",
            "1",
            (
                "environment SEGSTREAM_BATCH_LINGER_S: no such setting; names are "
                "SEGSTREAM_<SECTION>__<KEY>, two underscores between"
            ),
        ),
        (
            "SEGSTREAM_DRAIN_S",
            "5",
            "environment SEGSTREAM_DRAIN_S: drain_s: 5 is not above retail_red.api_timeout_s, 10",
        ),
        (
            "SEGSTREAM_KAFKA__SASL_PASSWORD",
            "HUSH",
            (
                "environment SEGSTREAM_KAFKA__SASL_PASSWORD: kafka.sasl.password: "
                "(hidden) is a secret: put it in a file and write kafka_secret_files: {sasl.password: /path/to/file}"
            ),
        ),
        (
            "SEGSTREAM_TABLES__A__FORMAT",
            "json",
            (
                "environment SEGSTREAM_TABLES__A__FORMAT: topics cannot be spelled in a "
                "variable's name; write them in the file"
            ),
        ),
        (
            "SEGSTREAM_DRAIN_S__X",
            "5",
            (
                "environment SEGSTREAM_DRAIN_S__X: drain_s: is not a number; allowed: 1 to 3600 "
                "(seconds to finish on a stop or when partitions move away)"
            ),
        ),
    ],
)
def test_what_is_wrong_in_the_environment_is_told_by_its_name(
    problems: Told, variable: str, value: str, expected: str | None
) -> None:
    assert problems(MINIMAL, {variable: value}) == [expected]


@pytest.mark.parametrize("override", ["", "=1", "batch", "drain_s=x", "nothing.here=1", "retail_red.slots.x=1"])
def test_what_is_wrong_on_the_command_line_is_one_line(problems: Told, override: str) -> None:
    (line,) = problems(MINIMAL, None, [override])
    assert line.startswith("command line")


def test_without_a_file_the_environment_alone_will_do() -> None:
    s = load(
        None,
        {
            "SEGSTREAM_KAFKA": "{bootstrap.servers: 'kafka:9092', group.id: g}",
            "SEGSTREAM_RETAIL_RED": "{merchant: 10006, client_id: c, client_secret_file: /s}",
            "SEGSTREAM_TABLES": "{t: {segment: {constant: s}, member: {id: i}}}",
        },
    )
    assert s.group_id == "g"


def test_kafka_secrets_are_files_of_known_names(read: Read, problems: Told) -> None:
    assert read(MINIMAL + "kafka_secret_files: {sasl.password: /p}\n").kafka_secret_files == {
        "sasl.password": Path("/p")
    }
    assert "is no secret property" in problems(MINIMAL + "kafka_secret_files: {sasl.passwort: /p}\n")[0]


def test_topics_and_patterns(read: Read, problems: Told) -> None:
    read(MINIMAL.replace("shop.public.members", r'"^shop\\.public\\..*"'))
    assert "no topic name" in problems(MINIMAL.replace("shop.public.members", "shop/members"))[0]
    assert "no valid pattern" in problems(MINIMAL.replace("shop.public.members", '"^shop("'))[0]


def test_a_line_for_a_condition_written_without_a_list(problems: Told) -> None:
    (line,) = problems(MINIMAL + "    present:\n      column: deleted_at\n      iss: null\n      is: null\n")
    assert line == "segstream.yaml:9: tables.shop.public.members.present.iss: is no setting; did you mean is?"


@given(st.text(max_size=200))
def test_no_text_makes_loading_crash(text: str) -> None:
    path = Path("/dev/shm/segstream-settings-fuzz.yaml")  # noqa: S108 - tmp_path is shared by Hypothesis' examples
    path.write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(SettingsError):
        load(path, {})


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_override_makes_loading_crash(key: str, value: str) -> None:
    with pytest.raises(SettingsError):
        load(None, {"SEGSTREAM_" + key.replace("\0", ""): value}, [f"{key}={value}"])
