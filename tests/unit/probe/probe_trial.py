"""A sandbox with a few customers, and the survey run against it."""

import time
from pathlib import Path
from typing import Any

from stream import wiring
from stream.sandbox import Sandbox
from stream.sandbox.config import CLIENT_SECRET
from stream.settings import Settings
from stream.survey import Finding, Findings, Plan, survey

CUSTOMERS = 40
GUESTS = 3


def shop(customers: int = CUSTOMERS, guests: int = GUESTS) -> list[dict[str, Any]]:
    people = [
        {
            "id": f"c{number:04}-aaaa",
            "emailAddress": f"Max{number}@example.com",
            "externalCustomerNumber": str(10_000 + number),
        }
        for number in range(customers)
    ]
    return people + [{"id": f"g{number}", "emailAddress": "g@x.com", "isAnonymous": True} for number in range(guests)]


def fill(sandbox: Sandbox, customers: list[dict[str, Any]]) -> None:
    sandbox.call(lambda app: [app.shop.put_customer(customer) for customer in customers] and None)


def settings(sandbox: Sandbox | str, folder: Path, **retail_red: Any) -> Settings:
    secret = folder / "secret"
    secret.write_text(CLIENT_SECRET)
    url = sandbox if isinstance(sandbox, str) else sandbox.url
    return Settings.model_validate(
        {
            "kafka": {"bootstrap.servers": "kafka:9092", "group.id": "g"},
            "retail_red": {
                "merchant": "10006",
                "client_id": "sandbox",
                "client_secret_file": str(secret),
                "urls": {"auth": url, "segmentation": url, "customer": url},
                **retail_red,
            },
            "tables": {"t": {"segment": {"constant": "s"}, "member": {"id": "i"}}},
        }
    )


def quick(seconds: float) -> None:
    time.sleep(min(seconds, 0.02))


def plan(known: Settings, members_max: int = 1_000, wait_s: float = 0.4) -> Plan:
    return Plan(wiring.api_config(known), known.retail_red, members_max, wait_s)


def ask(
    sandbox: Sandbox, folder: Path, members_max: int = 1_000, wait_s: float = 0.4, **retail_red: Any
) -> dict[str, Finding]:
    """Each finding by its name; the segment must be gone afterwards."""
    found = survey(plan(settings(sandbox, folder, **retail_red), members_max, wait_s), wait=quick)
    assert found.error is None, found.error
    assert segments(sandbox) == {"vip"}
    return by_name(found)


def by_name(found: Findings) -> dict[str, Finding]:
    named = {line.name: line for line in found.lines}
    assert len(named) == len(found.lines), [line.name for line in found.lines]
    return named


def segments(sandbox: Sandbox) -> set[str]:
    return sandbox.call(lambda app: set(app.shop.segments))
