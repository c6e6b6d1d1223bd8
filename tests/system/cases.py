"""The tables that the system tests replicate: how each is laid out, connected, mapped, and what is true of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

Kind = Literal["pair", "tier"]
Encoding = Literal["json", "json_schemas", "avro"]

UNWRAP: Final = "io.debezium.transforms.ExtractNewRecordState"
ROUTE: Final = "io.debezium.transforms.partitions.PartitionRouting"


@dataclass(frozen=True)
class Case:
    """One layout. `{table}` in ddl, truth and alterations is the table's name.

    kind: pair, a row a membership (segment_code, customer_id); tier, a row a customer whose segment is tier-{tier}.
    surrogate: the primary key is an id of its own, and several rows may say the same membership unless unique.
    soft: deleted_at ends a membership as a delete does.
    alterations: schema changes that are made midway, in order.
    key_alteration: the last of them, which changes the record key's schema: in Avro, and in JSON with schemas, the same
    key has other bytes from there on, so Connect sends it to another partition, where nothing orders it with before.
    """

    name: str
    ddl: str
    truth: str
    table: dict[str, Any]
    alterations: tuple[str, ...]
    kind: Kind = "pair"
    surrogate: bool = False
    unique: bool = False
    soft: bool = False
    connector: dict[str, str] = field(default_factory=dict)
    key_alteration: str = ""

    @property
    def may_be_shared(self) -> bool:
        """Whether several instances may share its topic."""
        return self.table.get("partitioned_by", "none") != "none"


_PAIR: Final = {"segment": {"column": "segment_code"}, "member": {"id": "customer_id"}}
_PAIR_TRUTH: Final = "select distinct segment_code, customer_id from {table}"
# note is stored out of line when it is long, so that updates of other columns bring Debezium's placeholder
_REST: Final = "note text, points int not null default 0, legacy text default 'old'"
_STORAGE: Final = "alter table {table} alter column note set storage external"
_COMPOSITE: Final = (
    "create table {table}(segment_code text not null, customer_id text not null, "
    f"{_REST}, primary key (segment_code, customer_id)); {_STORAGE}"
)
_SURROGATE: Final = (
    "create table {table}(id serial primary key, segment_code text not null, customer_id text not null, "
    f"{_REST}); {_STORAGE}; create index on {{table}}(segment_code, customer_id)"
)
_FULL: Final = "; alter table {table} replica identity full"
_ALTER_REST: Final = (
    "alter table {table} add column extra text not null default 'x'",
    "alter table {table} drop column legacy",
    "alter table {table} alter column points type bigint",
)
_ALTER_ID: Final = "alter table {table} alter column id type bigint"

_ALL: Final = (
    Case("composite", _COMPOSITE, _PAIR_TRUTH, _PAIR | {"partitioned_by": "membership"}, _ALTER_REST),
    Case("surrogate", _SURROGATE, _PAIR_TRUTH, _PAIR, _ALTER_REST, surrogate=True, key_alteration=_ALTER_ID),
    Case(
        "surrogate_full", _SURROGATE + _FULL, _PAIR_TRUTH, _PAIR | {"replica_identity": "full"}, _ALTER_REST,
        surrogate=True, key_alteration=_ALTER_ID,
    ),
    # the surrogate key is replaced in the record's key; only safe with FULL and the constraint
    Case(
        "keyed", _SURROGATE + _FULL + "; alter table {table} add unique (segment_code, customer_id)", _PAIR_TRUTH,
        _PAIR | {"replica_identity": "full", "partitioned_by": "membership"},
        (*_ALTER_REST, _ALTER_ID), surrogate=True, unique=True,
        connector={"message.key.columns": "public.{table}:segment_code,customer_id"},
    ),
    # Routed records only: the transform leaves tombstones to the default partitioner, so there must be none.
    Case(
        "routed", _COMPOSITE, _PAIR_TRUTH, _PAIR | {"partitioned_by": "segment"}, _ALTER_REST,
        connector={
            "tombstones.on.delete": "false",
            "transforms": "route",
            "transforms.route.type": ROUTE,
            "transforms.route.partition.payload.fields": "change.segment_code",
            "transforms.route.partition.topic.num": "4",
        },
    ),
    Case(
        "tier",
        "create table {table}(customer_id int primary key, tier text, "
        f"{_REST}); {_STORAGE}; create index on {{table}}(tier)",
        "select 'tier-' || tier, customer_id::text from {table} where tier is not null",
        {
            "segment": {"template": "tier-{tier}"},
            "member": {"id": "customer_id"},
            "present": {"column": "tier", "is_not": None},
        },
        _ALTER_REST,
        kind="tier", key_alteration="alter table {table} alter column customer_id type bigint",
    ),
    Case(
        "soft", _COMPOSITE + "; alter table {table} add column deleted_at timestamptz",
        _PAIR_TRUTH + " where deleted_at is null",
        _PAIR | {"present": {"column": "deleted_at", "is": None}, "partitioned_by": "membership"}, _ALTER_REST,
        soft=True,
    ),
    Case(
        "soft_surrogate", _SURROGATE + "; alter table {table} add column deleted_at timestamptz",
        _PAIR_TRUTH + " where deleted_at is null",
        _PAIR | {"present": {"column": "deleted_at", "is": None}}, _ALTER_REST,
        surrogate=True, key_alteration=_ALTER_ID, soft=True,
    ),
    Case(
        "unwrapped", _COMPOSITE, _PAIR_TRUTH, _PAIR | {"envelope": "unwrapped", "partitioned_by": "membership"},
        _ALTER_REST,
        connector={
            "transforms": "unwrap",
            "transforms.unwrap.type": UNWRAP,
            "transforms.unwrap.delete.tombstone.handling.mode": "tombstone",
        },
    ),
    # rewritten deletes carry Debezium's stand-ins for the columns outside the key
    Case(
        "unwrapped_rewrite", _SURROGATE, _PAIR_TRUTH, _PAIR | {"envelope": "unwrapped"}, _ALTER_REST,
        surrogate=True, key_alteration=_ALTER_ID,
        connector={
            "transforms": "unwrap",
            "transforms.unwrap.type": UNWRAP,
            "transforms.unwrap.delete.tombstone.handling.mode": "rewrite",
            "transforms.unwrap.add.fields": "op,table,source.ts_ms,source.lsn",
        },
    ),
)  # fmt: skip

CASES: Final = {case.name: case for case in _ALL}
