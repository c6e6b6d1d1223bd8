"""How settings name customers and segments by something else, and what of that is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from stream.errors import SettingsError
from stream.settings import Settings, Table, annotated_defaults, json_schema, load

BASE: dict[str, Any] = {
    "kafka": {"bootstrap.servers": "kafka:9092", "group.id": "segstream-shop"},
    "retail_red": {"merchant": "10006", "client_id": "segstream", "client_secret_file": "/run/secrets/retail-red"},
    "start": "beginning",
}
CUSTOMERS = {"topic": "shop.customers", "key": "id", "email": "email", "number": "customer_no"}
SEGMENTS = {"topic": "shop.segments", "key": "id", "code": "code"}
BY_REFERENCES = {
    "segment": {"reference": "segments", "by": "segment_id"},
    "member": {"reference": "customers", "by": "customer_id"},
}

Read = Callable[..., Settings]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read settings with this table, and these top-level keys beside it."""

    def read(table: dict[str, Any] | None = None, **more: Any) -> Settings:
        table = {"segment": {"column": "code"}, "member": {"id": "c"}, **(table or {})}
        path = tmp_path / "segstream.yaml"
        tree = {**BASE, "tables": {"shop.members": table}, **more}
        path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
        Draft202012Validator(json_schema()).validate(tree)
        return load(path, {})

    return read


@pytest.fixture
def problem(tmp_path: Path) -> Callable[..., str]:
    """The one line that these settings are refused with, without the file's name and line."""

    def problem(table: dict[str, Any] | None = None, **more: Any) -> str:
        table = {"segment": {"column": "code"}, "member": {"id": "c"}, **(table or {})}
        path = tmp_path / "segstream.yaml"
        path.write_text(yaml.safe_dump({**BASE, "tables": {"shop.members": table}, **more}), encoding="utf-8")
        with pytest.raises(SettingsError) as caught:
            load(path, {})
        (line,) = str(caught.value).splitlines()
        place, _, text = line.partition(": ")
        assert place.rpartition(":")[2].isdecimal(), line
        return text

    return problem


@pytest.mark.parametrize(
    ("member", "terms"),
    [
        ({"id": "c"}, (("id", "c"),)),
        ({"email": "mail"}, (("email", "mail"),)),
        ({"number": "no"}, (("number", "no"),)),
        ([{"number": "no"}, {"email": "mail"}, {"id": "c"}], (("number", "no"), ("email", "mail"), ("id", "c"))),
        ([{"email": "mail"}, {"email": "other"}], (("email", "mail"), ("email", "other"))),
    ],
)
def test_a_member_becomes_terms_in_order(read: Read, member: Any, terms: Any) -> None:
    assert read({"member": member}).tables["shop.members"].terms == terms


def test_references_become_terms_and_one_column(read: Read) -> None:
    settings = read(BY_REFERENCES, references={"customers": CUSTOMERS, "segments": SEGMENTS})
    table = settings.tables["shop.members"]
    assert table.terms == (("ref:customers", "customer_id"),)
    assert (table.segment.reference, table.segment.parts) == ("segments", (("column", "segment_id"),))
    assert read().tables["shop.members"].segment.reference is None
    assert table.references == (("segment", "segments"), ("member", "customers"))
    assert settings.references["customers"].terms == (("number", "customer_no"), ("email", "email"))
    assert settings.references["segments"].terms == ()


def test_what_a_reference_prefers(read: Read) -> None:
    def terms(**more: Any) -> list[str]:
        table = {"member": {"reference": "customers", "by": "customer_id"}}
        (reference,) = read(table, references={"customers": CUSTOMERS | more}).references.values()
        return [kind for kind, _ in reference.terms]

    assert terms(id="red_id") == ["id", "number", "email"]
    assert terms(prefer=["email", "number"]) == ["email", "number"]


@pytest.mark.parametrize(
    ("member", "says"),
    [
        ({}, "holds not exactly one of id, email, number, reference"),
        ({"id": "c", "email": "mail"}, "holds not exactly one of id, email, number, reference"),
        ({"reference": "customers"}, "has only one of reference and by"),
        ({"email": "mail", "by": "c"}, "has only one of reference and by"),
        ({"mail": "mail"}, "member.mail: is no setting; did you mean email?"),
        ([], "member: is empty"),
        ([{"id": c} for c in "abcde"], "member: has more than 4 entries"),
        ([{"id": "a"}, {"id": "a"}], "member: lists the same column twice"),
        (
            [{"reference": "a", "by": "x"}, {"reference": "b", "by": "y"}],
            "member: lists more than one reference",
        ),
        ("email", "member: 'email' is not a list"),
        ([{"id": "a"}, {"idd": "b"}], "tables.shop.members.member.1.idd: is no setting; did you mean id?"),
    ],
)
def test_members_that_are_refused(problem: Callable[..., str], member: Any, says: str) -> None:
    assert says in problem({"member": member})


@pytest.mark.parametrize(
    "segment",
    [
        {},
        {"reference": "segments"},
        {"by": "x"},
        {"column": "a", "reference": "segments", "by": "x"},
        {"constant": "a", "by": "x"},
    ],
)
def test_segments_that_are_refused(problem: Callable[..., str], segment: Any) -> None:
    text = problem({"segment": segment}, references={"segments": SEGMENTS})
    assert text.startswith("tables.shop.members.segment: ")
    assert "exactly one of" in text or "only one of reference and by" in text


@pytest.mark.parametrize(
    ("references", "says"),
    [
        ({}, "tables.shop.members.member: names a reference customers, but there are no references"),
        ({"Customers": CUSTOMERS}, "references.Customers: is no name of a reference"),
        ({"1st": CUSTOMERS}, "references.1st: is no name of a reference"),
        (
            {"customers": {"topic": "t", "key": "k", "code": "c"}},
            "tables.shop.members.member: needs one of id, number, email in references.customers",
        ),
        ({"customers": CUSTOMERS, "more": SEGMENTS}, "references.more: is used by no table"),
        ({"customers": {"topic": "t", "key": "k"}}, "references.customers: holds none of code, id, number, email"),
        ({"customers": {"topic": "t", "email": "c"}}, "references.customers.key: is required: the column that other"),
        ({"customers": CUSTOMERS | {"topic": "^shop.*"}}, "references.customers.topic: '^shop.*' holds characters"),
        (
            {"customers": CUSTOMERS | {"topic": "segstream-shop-letters"}},
            "references.customers.topic: 'segstream-shop-letters' is one of this program's own topics",
        ),
        (
            {"customers": CUSTOMERS | {"prefer": ["email"]}},
            "references.customers.prefer: lists not each of id, number, email that has a column once (number, email)",
        ),
        ({"customers": CUSTOMERS | {"prefer": ["email", "id"]}}, "references.customers.prefer: lists not each"),
        ({"customers": CUSTOMERS | {"prefer": ["email", "email"]}}, "references.customers.prefer: lists not each"),
        ({"customers": CUSTOMERS | {"prefer": ["mail", "number"]}}, "is not allowed; allowed: id, number, email"),
        ({"customers": CUSTOMERS | {"framing": "avro"}}, "references.customers.framing: 'avro' is not allowed"),
        ({"customers": CUSTOMERS | {"replica_identity": "full"}}, "replica_identity: is no setting"),
    ],
)
def test_references_that_are_refused(problem: Callable[..., str], references: Any, says: str) -> None:
    assert says in problem({"member": {"reference": "customers", "by": "customer_id"}}, references=references)


def test_an_unknown_reference_is_told_what_there_is(problem: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    table = {"segment": {"reference": "segmnts", "by": "s"}, "member": {"reference": "customers", "by": "c"}}
    more = {"references": {"customers": CUSTOMERS, "segments": SEGMENTS}}
    path.write_text(yaml.safe_dump({**BASE, "tables": {"t": table}, **more}), encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load(path, {})
    first, second = str(caught.value).splitlines()
    assert first.endswith(
        "tables.t.segment: names a reference segmnts, which is not among them: customers, segments; did you mean segments?"
    )
    assert second.endswith("references.segments: is used by no table")
    no_code = problem({"segment": {"reference": "c", "by": "s"}}, references={"c": CUSTOMERS})
    assert no_code.endswith("needs references.c.code, the column of the segment's code")


def test_two_references_of_one_topic_read_it_alike(read: Read, problem: Callable[..., str]) -> None:
    table = {"segment": {"reference": "a", "by": "s"}, "member": {"reference": "b", "by": "c"}}
    shared = {"a": {"topic": "t", "key": "k", "code": "c"}, "b": {"topic": "t", "key": "k", "email": "e"}}
    assert len(read(table, references=shared).references) == 2
    shared["b"]["format"] = "json"
    text = problem(table, references=shared)
    assert text == "references.b.format: 'json' is not that of references.a, which reads the same topic"


@pytest.mark.parametrize(
    ("segments", "says"),
    [
        ({"topic": "shop.segments"}, "segments: has only one of topic and code"),
        ({"code": "code"}, "segments: has only one of topic and code"),
        ({"name": "name"}, "segments.name: 'name' means nothing without a topic"),
        ({"on_delete": "delete"}, "segments.on_delete: 'delete' means nothing without a topic"),
        ({"present": {"column": "a", "is": 1}}, "segments.present: means nothing without a topic"),
        ({"replica_identity": "full"}, "segments.replica_identity: is no setting"),
        ({"topic": "shop.members", "code": "c"}, "'shop.members' is also a topic of the table shop.members"),
        ({"topic": "segstream-shop-x-rows", "code": "c"}, "is one of this program's own topics"),
        ({"topic": "^shop", "code": "c"}, "segments.topic: '^shop' holds characters that are not allowed"),
        ({"on_delete": "drop"}, "segments.on_delete: 'drop' is not allowed; allowed: keep, deactivate, delete"),
        ({"create_missing": "maybe"}, "segments.create_missing: 'maybe' is not true or false"),
    ],
)
def test_segment_tables_that_are_refused(problem: Callable[..., str], segments: Any, says: str) -> None:
    assert says in problem(segments=segments)


def test_the_table_of_segments_is_no_table_by_a_pattern(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "pattern.yaml"
    table = {"segment": {"constant": "a"}, "member": {"id": "c"}}
    tree = {**BASE, "tables": {r"^shop\.seg": table}, "segments": {"topic": "shop.segments", "code": "code"}}
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    with pytest.raises(SettingsError, match=r"segments\.topic: 'shop\.segments' is also a topic of the table \^shop"):
        load(path, {})
    segments = read(
        {"segment": {"reference": "segments", "by": "s"}},
        references={"segments": SEGMENTS},
        segments={"topic": "shop.segments", "code": "code", "present": {"column": "live", "is": True}},
    ).segments
    assert (segments.topic, segments.present[0].values, segments.on_delete) == ("shop.segments", (True,), "keep")


@pytest.mark.parametrize(
    ("identity", "says"),
    [
        ({"emails": "upper"}, "identity.emails: 'upper' is not allowed; allowed: lower, exact"),
        ({"tie_break": "first"}, "identity.tie_break: 'first' is not allowed"),
        ({"missing_retry_s": 60, "missing_retry_cap_s": 30}, "60 is above identity.missing_retry_cap_s, 30"),
        ({"retries_per_s": 0}, "identity.retries_per_s: 0 is out of range; allowed: 0.01 to 100"),
        ({"cache_max": 10}, "identity.cache_max: 10 is out of range"),
        ({"found_ttl": 10}, "identity.found_ttl: is no setting; did you mean found_ttl_s?"),
    ],
)
def test_identities_that_are_refused(problem: Callable[..., str], identity: Any, says: str) -> None:
    assert says in problem(identity=identity)


@pytest.mark.parametrize(
    ("knob", "value", "says"),
    [
        ("filter_parameter", "query", "is not allowed; allowed: filters, filter"),
        ("lookup_values_max", 1_001, "is out of range; allowed: 1 to 1000"),
        ("lookup_url_bytes_max", 100, "is out of range; allowed: 512 to 16000"),
        ("lookup_slots", 33, "is out of range; allowed: 1 to 32"),
    ],
)
def test_limits_of_lookups(problem: Callable[..., str], knob: str, value: Any, says: str) -> None:
    text = problem(retail_red=BASE["retail_red"] | {knob: value})
    assert text.startswith(f"retail_red.{knob}: {value!r} {says}")


def test_membership_partitions_need_a_member_that_stays_the_same(read: Read, problem: Callable[..., str]) -> None:
    def table(member: Any) -> dict[str, Any]:
        return {"member": member, "partitioned_by": "membership"}

    for member in ({"id": "c"}, {"number": "no"}):
        assert read(table(member)).tables["shop.members"].partitioned_by == "membership"
    for member, what in (
        ({"email": "mail"}, "an email"),
        ({"reference": "customers", "by": "c"}, "a reference"),
        ([{"id": "c"}, {"number": "no"}], "one of a list"),
    ):
        references = {"customers": CUSTOMERS} if what == "a reference" else {}
        text = problem(table(member), references=references)
        assert text.startswith("tables.shop.members.partitioned_by: 'membership' cannot be membership"), text
        assert f"where the member is {what}" in text
        assert text.endswith("use none, and run one instance")
        read({"member": member, "partitioned_by": "segment"}, references=references)


def test_start_in_the_middle_needs_members_by_id(read: Read, problem: Callable[..., str]) -> None:
    table = {"member": {"id": "c"}, "partitioned_by": "membership"}
    assert read(table, start="end").start == "end"
    text = problem(table | {"member": {"number": "no"}}, start="end")
    assert (
        text
        == "start: 'end' can only be beginning: the member of table shop.members is not by id, unseen rows may count"
    )


def test_the_defaults_of_identities_and_lookups(read: Read) -> None:
    s = read()
    own = s.identity
    assert (own.emails, own.tie_break, own.found_ttl_s, own.cache_max) == ("lower", "none", 3_600, 500_000)
    assert (own.missing_retry_s, own.missing_retry_cap_s, own.retries_per_s) == (30, 21_600, 1.0)
    api = s.retail_red
    assert (api.filter_parameter, api.lookup_values_max) == ("filters", 100)
    assert (api.lookup_url_bytes_max, api.lookup_slots) == (4_000, 2)
    assert (s.segments.create_missing, s.segments.on_delete, s.references) == (False, "keep", {})


def test_every_key_of_a_table_and_of_a_reference_is_shown() -> None:
    shown = annotated_defaults()
    for name, field in Table.model_fields.items():
        assert f"    {field.alias or name}: " in shown or f"    # {field.alias or name}: " in shown, name
    for key in ("topic", "key", "code", "id", "number", "email", "prefer", "envelope", "format", "framing"):
        assert f"#   {key}:" in shown, key
