"""What docs/map-your-tables.md says of each example, played: rows as Debezium writes them, and who is in which segment then."""

from __future__ import annotations

from collections.abc import Callable

from avro_trial import Avro
from debezium_trial import Table
from shop_trial import Shop

Play = Callable[[Shop], None]

CASES: dict[str, tuple[str, Play]] = {}
"""By name: the file under examples/, and what is played with it."""

MEMBERS = "shop.public.segment_members"


def case(file: str) -> Callable[[Play], Play]:
    def noted(play: Play) -> Play:
        CASES[play.__name__] = (file, play)
        return play

    return noted


def become(shop: Shop, *members: str, of: str = "gold") -> None:
    shop.until(lambda: shop.members(of) == set(members), 60.0)


@case("first.yaml")
def email_as_the_member(shop: Shop) -> None:
    rows = Table(shop.producer, MEMBERS, "id")
    shop.customer("c-1", "max@example.com")
    shop.customer("c-2", "eva@example.com")
    shop.customer("g-3", "guest@example.com", isAnonymous=True)
    rows.insert(id=1, segment_code="gold", email="Max@Example.com")
    rows.insert(id=2, segment_code="gold", email="nobody@example.com")
    rows.insert(id=3, segment_code="gold", email="guest@example.com")
    shop.begin()
    shop.until(lambda: shop.members() == {"c-1"} and shop.pending("customer_missing") == 2, 60.0)
    # he changes his address at retail.red, which the row does not know: the removal still uses his id
    shop.customer("c-1", "max@elsewhere.example")
    rows.update(1, email="eva@example.com")
    become(shop, "c-2")
    # the guest registers
    shop.customer("c-3", "guest@example.com")
    become(shop, "c-2", "c-3")
    rows.update(3, segment_code="silver")
    become(shop, "c-2")
    become(shop, "c-3", of="silver")
    rows.delete(1)
    become(shop)
    # who is unknown ends at once what the row said before
    rows.update(3, email="gone@example.com")
    become(shop, of="silver")


@case("first.yaml")
def email_in_the_key(shop: Shop) -> None:
    rows = Table(shop.producer, MEMBERS, "segment_code", "email")
    shop.customer("c-1", "max@example.com")
    shop.customer("c-2", "eva@example.com")
    rows.insert(segment_code="gold", email="max@example.com")
    rows.insert(segment_code="gold", email="eva@example.com")
    shop.begin()
    become(shop, "c-1", "c-2")
    # both ways of spelling mean one customer: the first delete does not end the membership
    rows.insert(segment_code="gold", email="MAX@example.com")
    rows.delete("gold", "max@example.com")
    # a new address is another row, perhaps of another partition
    shop.customer("c-2", "eva@elsewhere.example")
    rows.update("gold", "eva@example.com", email="eva@elsewhere.example")
    rows.insert(segment_code="silver", email="eva@elsewhere.example")
    become(shop, "c-2", of="silver")
    become(shop, "c-1", "c-2")
    rows.delete("gold", "MAX@example.com")
    become(shop, "c-2")


@case("composite-key.yaml")
def composite_key(shop: Shop) -> None:
    rows = Table(shop.producer, MEMBERS, "segment_code", "customer_id")
    for name in ("c-1", "c-2"):
        shop.customer(name)
        rows.insert(segment_code="gold", customer_id=name)
    shop.begin()
    become(shop, "c-1", "c-2")
    rows.update("gold", "c-2", segment_code="silver")
    rows.delete("gold", "c-1")
    become(shop)
    become(shop, "c-2", of="silver")


@case("surrogate-key.yaml")
def surrogate_key(shop: Shop) -> None:
    rows = Table(shop.producer, MEMBERS, "id", identity="full")
    for name in ("c-1", "c-2", "c-3"):
        shop.customer(name)
    rows.insert(id=1, segment_code="gold", customer_id="c-1")
    rows.insert(id=2, segment_code="gold", customer_id="c-1")
    rows.insert(id=3, segment_code="gold", customer_id="c-2")
    shop.begin()
    become(shop, "c-1", "c-2")
    rows.delete(1)
    rows.update(3, customer_id="c-3")
    become(shop, "c-1", "c-3")
    rows.delete(2)
    become(shop, "c-3")


@case("tier-column.yaml")
def tier_column(shop: Shop) -> None:
    rows = Table(shop.producer, "shop.public.customers", "id")
    for name in ("c-1", "c-2"):
        shop.customer(name)
    rows.insert(id="c-1", tier="gold")
    rows.insert(id="c-2", tier=None)
    shop.begin()
    become(shop, "c-1", of="tier-gold")
    rows.update("c-1", tier="silver")
    rows.update("c-2", tier="gold")
    become(shop, "c-2", of="tier-gold")
    become(shop, "c-1", of="tier-silver")
    rows.update("c-1", tier=None)
    rows.delete("c-2")
    become(shop, of="tier-silver")
    become(shop, of="tier-gold")


@case("table-per-segment.yaml")
def table_per_segment(shop: Shop) -> None:
    newsletter, vip = (Table(shop.producer, f"shop.public.{name}", "customer_id") for name in ("newsletter", "vip"))
    for name in ("c-1", "c-2"):
        shop.customer(name)
        newsletter.insert(customer_id=name)
    vip.insert(customer_id="c-2")
    shop.begin()
    become(shop, "c-1", "c-2", of="newsletter")
    become(shop, "c-2", of="vip")
    newsletter.delete("c-2")
    become(shop, "c-1", of="newsletter")
    become(shop, "c-2", of="vip")


@case("soft-delete.yaml")
def soft_delete(shop: Shop) -> None:
    rows = Table(shop.producer, MEMBERS, "segment_code", "customer_id")
    for number, status in enumerate(("active", "trial", "paused"), 1):
        shop.customer(f"c-{number}")
        rows.insert(segment_code="gold", customer_id=f"c-{number}", deleted_at=None, status=status)
    shop.begin()
    become(shop, "c-1", "c-2")
    rows.update("gold", "c-1", deleted_at="2026-11-24T06:00:00Z")
    rows.update("gold", "c-3", status="active")
    become(shop, "c-2", "c-3")
    rows.update("gold", "c-1", deleted_at=None)
    become(shop, "c-1", "c-2", "c-3")


@case("shared-by-shop.yaml")
def shared_by_shop(shop: Shop) -> None:
    rows = Table(shop.producer, "crm.public.segment_members", "shop_id", "segment_code", "customer_id")
    for name in ("c-1", "c-2"):
        shop.customer(name)
    rows.insert(shop_id=7, segment_code="gold", customer_id="c-1")
    rows.insert(shop_id=8, segment_code="gold", customer_id="c-2")
    shop.begin()
    become(shop, "c-1")
    rows.insert(shop_id=7, segment_code="gold", customer_id="c-2")
    rows.delete(7, "gold", "c-1")
    become(shop, "c-2")


@case("shared-by-shop.yaml")
def shared_by_shop_and_the_other_shop_deletes(shop: Shop) -> None:
    rows = Table(shop.producer, "crm.public.segment_members", "shop_id", "segment_code", "customer_id")
    for name in ("c-1", "c-2"):
        shop.customer(name)
        for number in (7, 8):
            rows.insert(shop_id=number, segment_code="gold", customer_id=name)
    shop.begin()
    become(shop, "c-1", "c-2")
    for name in ("c-1", "c-2"):
        rows.delete(8, "gold", name)
        shop.customer(f"{name}-later")
        rows.insert(shop_id=7, segment_code="gold", customer_id=f"{name}-later")
    shop.until(lambda: shop.members() >= {"c-1-later", "c-2-later"}, 60.0)
    for _ in range(20):
        shop.loops[0].once()
    assert shop.members() == {"c-1", "c-2", "c-1-later", "c-2-later"}


@case("unwrapped.yaml")
def unwrapped_rows(shop: Shop) -> None:
    rows = Table(shop.producer, MEMBERS, "segment_code", "customer_id", unwrapped=True)
    for name in ("c-1", "c-2"):
        shop.customer(name)
        rows.insert(segment_code="gold", customer_id=name)
    shop.begin()
    become(shop, "c-1", "c-2")
    rows.delete("gold", "c-1")
    become(shop, "c-2")


@case("routed-by-segment.yaml")
def routed_by_segment(shop: Shop) -> None:
    rows = Table(shop.producer, MEMBERS, "segment_code", "line_no", identity="full", route=("segment_code",))
    for number in (1, 2, 3):
        shop.customer(f"c-{number}")
        rows.insert(segment_code="gold", line_no=number, customer_id=f"c-{number}")
    shop.begin()
    become(shop, "c-1", "c-2", "c-3")
    rows.update("gold", 1, customer_id="c-2")
    rows.update("gold", 3, segment_code="silver")
    become(shop, "c-2")
    become(shop, "c-3", of="silver")
    rows.delete("gold", 2)
    rows.delete("silver", 3)
    become(shop, of="silver")
    become(shop, "c-2")


@case("several-tables.yaml")
def several_tables(shop: Shop) -> None:
    rows = Table(shop.producer, MEMBERS, "id")
    imported = Table(shop.producer, "shop.public.imported_members", "id")
    for name in ("4711", "4712"):
        shop.customer(name)
    rows.insert(id=1, segment_code="gold", customer_id=4711)
    imported.insert(id=1, list="gold", customer_no="4711")
    imported.insert(id=2, list="gold", customer_no="4712")
    shop.begin()
    become(shop, "4711", "4712")
    rows.delete(1)
    imported.delete(2)
    become(shop, "4711")
    imported.delete(1)
    become(shop)


@case("avro.yaml")
def avro_values(shop: Shop) -> None:
    with Avro({"segment_code": "string", "customer_id": "string"}) as avro:
        shop.settings["registry"] = {"url": avro.url}
        rows = Table(shop.producer, MEMBERS, "segment_code", "customer_id", write=avro.write)
        for name in ("c-1", "c-2"):
            shop.customer(name)
            rows.insert(segment_code="gold", customer_id=name)
        shop.begin()
        become(shop, "c-1", "c-2")
        rows.delete("gold", "c-1")
        become(shop, "c-2")


@case("customer-number.yaml")
def customer_number(shop: Shop) -> None:
    rows = Table(shop.producer, MEMBERS, "segment_code", "customer_no")
    shop.customer("c-1", number="10001")
    shop.customer("c-2", number="10002")
    for number in (10001, 10002, 10003):
        rows.insert(segment_code="gold", customer_no=number)
    shop.begin()
    shop.until(lambda: shop.members() == {"c-1", "c-2"} and shop.pending("customer_missing") == 1, 60.0)
    rows.delete("gold", 10001)
    shop.customer("c-3", number="10003")
    become(shop, "c-2", "c-3")


@case("number-then-email.yaml")
def number_then_email(shop: Shop) -> None:
    rows = Table(shop.producer, "shop.public.subscriptions", "id")
    shop.customer("c-1", "max@example.com", "10001")
    shop.customer("c-2", "eva@example.com")
    shop.customer("c-3", "eva@elsewhere.example", "10003")
    rows.insert(id=1, list="weekly", customer_no="10001", email="old@example.com")
    rows.insert(id=2, list="weekly", customer_no=None, email="max@example.com")
    rows.insert(id=3, list="weekly", customer_no="10003", email="eva@example.com")
    rows.insert(id=4, list="weekly", customer_no="99999", email="eva@example.com")
    shop.begin()
    # the list did not exist; rows 1 and 2 mean the same customer, row 4's number finds nobody and its email does
    become(shop, "c-1", "c-2", "c-3", of="weekly")
    rows.delete(1)
    rows.update(3, customer_no=None)
    become(shop, "c-1", "c-2", of="weekly")
    rows.delete(2)
    rows.delete(4)
    become(shop, "c-2", of="weekly")


@case("references.yaml")
def references(shop: Shop) -> None:
    segments = Table(shop.producer, "shop.public.segments", "id")
    customers = Table(shop.producer, "shop.public.customers", "id")
    rows = Table(shop.producer, MEMBERS, "segment_id", "customer_id")
    shop.customer("c-1", number="10001")
    shop.customer("c-2", "eva@example.com")
    segments.insert(id=7, code="gold")
    customers.insert(id=41, number="10001", email="max@example.com")
    customers.insert(id=42, number=None, email="eva@example.com")
    rows.insert(segment_id=7, customer_id=41)
    rows.insert(segment_id=7, customer_id=42)
    rows.insert(segment_id=7, customer_id=43)
    shop.begin()
    shop.until(lambda: shop.members() == {"c-1", "c-2"} and shop.pending("customer_reference") == 1, 60.0)
    # the rows stay as they are: what they point to changes
    shop.customer("c-2", "eva@elsewhere.example")
    customers.update(42, email="eva@elsewhere.example")
    shop.customer("c-3", "new@example.com")
    customers.insert(id=43, number=None, email="new@example.com")
    become(shop, "c-1", "c-2", "c-3")
    customers.update(41, number="10009", email="nobody@example.com")
    shop.until(lambda: shop.pending("customer_missing") == 1, 60.0)
    assert shop.members() == {"c-1", "c-2", "c-3"}
    shop.customer("c-9", number="10009")
    become(shop, "c-2", "c-3", "c-9")
    # a cascade deletes the parent first
    customers.delete(43)
    rows.delete(7, 43)
    become(shop, "c-2", "c-9")


@case("table-of-segments.yaml")
def table_of_segments(shop: Shop) -> None:
    segments = Table(shop.producer, "shop.public.segments", "id")
    rows = Table(shop.producer, MEMBERS, "segment_id", "email")
    shop.customer("c-1", "max@example.com")
    segments.insert(id=7, code="club", title="The club", about=None, archived_at=None)
    segments.insert(id=8, code="old", title="Old", about=None, archived_at="2026-01-01T00:00:00Z")
    rows.insert(segment_id=7, email="max@example.com")
    loop = shop.begin()
    become(shop, "c-1", of="club")
    assert (shop.named("club"), shop.named("old")) == ("The club", None)
    segments.update(7, title="Our club")
    shop.until(lambda: shop.named("club") == "Our club", 60.0)
    # another code is said, and moves nobody
    segments.update(7, code="club2")
    shop.until(lambda: loop.beside.tables["segments"].get("7") == ("club2",), 60.0)
    segments.update(7, code="club", title="The club")
    shop.until(lambda: shop.named("club") == "The club", 60.0)
    assert (shop.members("club"), shop.named("club2")) == ({"c-1"}, None)
    segments.update(7, archived_at="2026-11-24T06:00:00Z")
    shop.until(lambda: shop.status("club") == "inactive", 60.0)
    segments.update(7, archived_at=None)
    shop.until(lambda: shop.status("club") == "active", 60.0)
    assert shop.members("club") == {"c-1"}
    rows.delete(7, "max@example.com")
    segments.delete(7)
    become(shop, of="club")
    shop.until(lambda: shop.status("club") == "inactive", 60.0)
