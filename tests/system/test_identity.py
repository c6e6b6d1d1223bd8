# ruff: noqa: S608 - SQL is made of its own names; values travel as parameters
"""The whole way, where rows name customers by email, number or reference, and segments come to exist: one thing after another."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from club import Club
from people import PeopleShop
from shop import READY_S, Instance, Segments, await_equal, settings
from stack.stack import Stack, json_converters
from test_identity_seeds import await_settled

QUICK_IDENTITY = {"missing_retry_s": 1, "missing_retry_cap_s": 2, "retries_per_s": 20}


class Named:
    """A table whose rows name segment and customer themselves. Rows are known by their id."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.name = name
        self.topic = f"{name}.public.{name}"
        self._stack = stack
        stack.create_topic(self.topic)
        stack.sql(f"create table {name}(id int primary key, code text not null, email text, number bigint)")
        stack.connect(name, {"table.include.list": f"public.{name}", **json_converters()})

    def insert(self, key: int, code: str, email: str | None = None, number: int | None = None) -> None:
        self._stack.sql(f"insert into {self.name} values (%s, %s, %s, %s)", (key, code, email, number))

    def update(self, key: int, **columns: Any) -> None:
        for column, value in columns.items():
            self._stack.sql(f"update {self.name} set {column} = %s where id = %s", (value, key))

    def delete(self, key: int) -> None:
        self._stack.sql(f"delete from {self.name} where id = %s", [key])

    def tables(self, *member: dict[str, str]) -> dict[str, Any]:
        return {self.topic: {"segment": {"column": "code"}, "member": list(member)}}

    def drop(self) -> None:
        self._stack.delete_connector(self.name)
        self._stack.sql(f"drop table {self.name}")


def always(members: Segments) -> Callable[[], Segments]:
    return lambda: members


def await_pending(instance: Instance, count: int, reason: str) -> None:
    def is_so() -> bool:
        return instance.metric("segstream_pending_rows", reason=reason) == count

    instance.server.wait(is_so, READY_S, f"have {count} rows pending for {reason}: {instance.state()}")


def test_rows_that_name_customers_by_number_and_email(stack: Stack, tmp_path: Path) -> None:
    table = Named(stack, "direct")
    with PeopleShop(stack, tmp_path, "direct_shop", faults={"unknown_customer": "404"}) as shop:
        shop.create_segment("gold")
        shop.put("a", "a@example.com", "1")
        shop.put("b", "b@example.com")
        shop.put("guest", "guest@example.com", guest=True)
        shop.put("guest-b", "b@example.com", guest=True)
        table.insert(1, "gold", "nobody@example.com", 1)  # the number is preferred
        table.insert(2, "gold", " B@Example.com ", 2)  # nobody has the number: the email counts
        table.insert(3, "gold", "guest@example.com")
        table.insert(4, "gold", "late@example.com")
        member = {"number": "number"}, {"email": "email"}
        values = settings(stack, shop, table.tables(*member), "direct", identity=QUICK_IDENTITY)
        with Instance(tmp_path, "one", values) as one:
            await_equal(shop, always({"gold": {"a", "b"}}), running=one)
            await_pending(one, 2, "customer_missing")
            shop.put("late", "late@example.com")
            await_equal(shop, always({"gold": {"a", "b", "late"}}), running=one)
            table.update(2, email="nobody2@example.com")  # nobody is meant any more: that ends at once
            await_equal(shop, always({"gold": {"a", "late"}}), running=one)
            table.update(2, email="b@example.com")
            table.update(1, number=None, email=None)  # so does a row that names nobody
            await_equal(shop, always({"gold": {"b", "late"}}), running=one)
            table.update(1, number=1)
            await_equal(shop, always({"gold": {"a", "b", "late"}}), running=one)
            one.kill()

            shop.delete_person("b")
            shop.put("anew", "b@example.com")
            table.delete(4)
            one.start()
            await_equal(shop, always({"gold": {"a"}}), running=one)
            shop.create_segment("club")
            table.insert(5, "club", "b@example.com")
            await_equal(shop, always({"gold": {"a"}, "club": {"anew"}}), running=one)
            await_pending(one, 1, "customer_missing")
            one.stop()
        assert not [event for event in shop.history("gold", "guest") if event["op"] == "add"]
        assert not [event for event in shop.history("gold", "guest-b") if event["op"] == "add"]
    table.drop()


def test_a_segment_is_created_when_members_need_it_but_not_when_somebody_deleted_it(
    stack: Stack, tmp_path: Path
) -> None:
    table = Named(stack, "wanting")
    with PeopleShop(stack, tmp_path, "wanting_shop") as shop:
        for person in "abc":
            shop.put(person, f"{person}@example.com")
        table.insert(1, "new-one", "a@example.com")
        values = settings(
            stack,
            shop,
            table.tables({"email": "email"}),
            "wanting",
            identity=QUICK_IDENTITY,
            segments={"create_missing": True},
        )
        with Instance(tmp_path, "one", values) as one:
            await_equal(shop, always({"new-one": {"a"}}), running=one)
            shop.delete_segment("new-one")
            table.insert(2, "new-one", "b@example.com")
            await_pending(one, 2, "segment_deleted")  # who was in it is in it no more
            assert "new-one" not in shop.segments()
            one.stop()
            table.insert(3, "new-one", "c@example.com")
            table.insert(4, "other", "c@example.com")
            one.start()
            await_equal(shop, always({"other": {"c"}}), running=one)
            await_pending(one, 3, "segment_deleted")
            assert "new-one" not in shop.segments()
            shop.create_segment("new-one")
            wanted = {"new-one": {"a", "b", "c"}, "other": {"c"}}
            await_equal(shop, always(wanted), running=one)
            one.stop()
    table.drop()


def test_references_while_their_connector_restarts_and_their_topic_is_made_anew(stack: Stack, tmp_path: Path) -> None:
    with PeopleShop(stack, tmp_path, "anew") as shop:
        club = Club(stack, shop, "json", seed=1, on_delete="keep")
        club.create()
        club.connect()
        club.await_place()
        values = settings(stack, shop, group=shop.name, **club.settings)
        with Instance(tmp_path, "one", values) as one:
            club.start(60, writers=2, pause_s=0.1)
            one.await_ready()
            stack.restart_connect()
            club.join()
            club.finish()
            club.caught_up()
            await_equal(shop, club.wanted, running=one, source_state=club.state)

            club.disconnect()
            club.recreate_topic("customers")
            club.connect({"snapshot.mode": "always"})
            club.run(60, writers=2, pause_s=0.05)
            club.finish()
            club.caught_up()
            await_equal(shop, club.wanted, running=one, source_state=club.state)
            await_settled(club, one)
            # by its id, or by an offset that is gone, whichever is noticed first
            assert f"{club.topic('customers')}: " in one.server.log.read_text()
            assert "it is read anew, from the beginning" in one.server.log.read_text()
            one.stop()
    club.drop()


def test_a_registry_that_is_away_holds_everything_up_and_nothing_is_skipped(stack: Stack, tmp_path: Path) -> None:
    with PeopleShop(stack, tmp_path, "schemaless") as shop:
        club = Club(stack, shop, "avro", seed=2, on_delete="keep")
        club.create()
        club.connect()
        values = settings(stack, shop, group=shop.name, **club.settings)
        with Instance(tmp_path, "one", values) as one:
            await_equal(shop, club.wanted, running=one, source_state=club.state)
            one.server.pause()  # it must not meet the new schemas while the registry still answers
            for reference in ("customers", "memberships", "segments"):
                stack.sql(f"alter table {club.name}_{reference} add column extra text default 'x'")
            club.run(30, writers=2)
            club.caught_up()
            stack.registry.server.kill()
            one.server.resume()
            sent = shop.stats()["rows_changed"]
            club.run(30, writers=2)  # the connector knows its schemas
            club.caught_up()
            time.sleep(2)
            assert club.wanted() != shop.members()
            one.kill()
            one.start()
            time.sleep(4)
            assert shop.stats()["rows_changed"] == sent, "something was sent of what nobody could read"
            assert one.metric("segstream_dead_letters_total") == 0
            stack.registry.start()
            stack.registry.wait()
            club.finish()
            club.caught_up()
            await_equal(shop, club.wanted, running=one, source_state=club.state)
            await_settled(club, one)
            assert one.metric("segstream_dead_letters_total") == 0
            one.stop()
    club.drop()
