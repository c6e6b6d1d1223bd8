# ruff: noqa: S608 - SQL is made of its own names; values travel as parameters
"""The shop with customers: the sandbox's, and beside each what the test knows of it, in tables of the source's database.

A customer who is written here stands in the sandbox first. `people` holds them as they are, `people_past` each identity that one
of them ever had: so the truth is one SELECT, joined with the source's own tables.
"""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shop import REQUEST_S, SECRET, Segments, Shop
from stack.stack import Stack

DDL = """
create table {name}_people(id text primary key, email text, number text, anonymous bool not null, deleted bool not null);
create table {name}_people_past(id text, email text, number text)
"""


class PeopleShop(Shop):
    """name begins the names of its tables."""

    def __init__(self, stack: Stack, folder: Path, name: str, *, faults: Mapping[str, Any] | None = None) -> None:
        super().__init__(folder, (), faults=faults)
        self.name = name
        self._stack = stack
        stack.sql(DDL.replace("{name}", name))

    def end_faults(self) -> None:
        super().end_faults()
        self.set_faults(unknown_customer="404")

    def put(self, person: str, email: str | None = None, number: str | None = None, *, guest: bool = False) -> None:
        """Add this customer, or change who it is."""
        one = {"id": person, "emailAddress": email, "externalCustomerNumber": number, "isAnonymous": guest}
        self._request("POST", "/_sandbox/customers", {"customers": [one]})
        with self._stack.postgres.connect() as connection:
            connection.execute(
                f"insert into {self.name}_people values (%s, %s, %s, %s, false) on conflict (id) do update"
                " set email = excluded.email, number = excluded.number",
                (person, email, number, guest),
            )
            if not guest:
                connection.execute(
                    f"insert into {self.name}_people_past values (%s, %s, %s)",
                    (person, email, number),
                )

    def delete_person(self, person: str) -> None:
        """As somebody closes their account."""
        self._request("DELETE", f"/_sandbox/customers/{person}")
        with self._stack.postgres.connect() as connection:
            connection.execute(f"update {self.name}_people set deleted = true where id = %s", (person,))

    def create_segment(self, code: str) -> None:
        """As somebody does it by hand at retail.red."""
        self._request("PUT", f"/_sandbox/segments/{code}")

    def delete_segment(self, code: str) -> None:
        """As somebody does it by hand at retail.red."""
        basic = base64.b64encode(f"tests:{SECRET}".encode()).decode()
        form = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
        token = self._request("POST", "/oauth/token", b"grant_type=client_credentials", form)["access_token"]
        path = f"/v1/merchants/10006/segments/{code}"
        self._request("DELETE", path, headers={"Authorization": f"Bearer {token}"})

    def segments(self) -> dict[str, dict[str, Any]]:
        """Each segment as the API shows it, with its members' ids."""
        found: dict[str, dict[str, Any]] = {}
        with urllib.request.urlopen(f"{self.url}/_sandbox/state", timeout=REQUEST_S) as answer:  # noqa: S310 - its own
            for line in answer.read().splitlines():
                entry = json.loads(line)
                if "segment" in entry:
                    found[entry["segment"]["code"]] = entry["segment"] | {"members": set()}
                elif "members" in entry:
                    found[entry["members"]["segment"]]["members"] |= set(entry["members"]["ids"])
        return found

    def members(self) -> Segments:
        """Without those whose accounts are closed: nothing tells segstream so, and nobody sees them."""
        gone = {one for (one,) in self._stack.sql(f"select id from {self.name}_people where deleted")}
        return {code: left for code, one in self.segments().items() if (left := one["members"] - gone)}
