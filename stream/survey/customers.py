"""What the customer service does with filters, pages and long questions. Only reads; nobody's data is kept or shown."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from stream.survey.findings import Findings
from stream.survey.talk import Reply, Talk, Unclear, largest
from stream.survey.throwaway import quoted

PAGE_MAX: Final = 1_000
GATHERED_PAGE: Final = 200
ROWS: Final = 10
WINDOW_MAX: Final = 20_000
VALUES_MAX: Final = 1_000
URL_BYTES_MAX: Final = 16_000
URL_GRAIN: Final = 16
SPACE: Final = "%20"

Row = dict[str, Any]


@dataclass(slots=True)
class Customers:
    """The questions about customers, and what they taught for those that follow."""

    talk: Talk
    found: Findings
    parameter: str = ""
    page_rows: int = 100
    first: list[Row] = field(default_factory=list)
    sample: Row = field(default_factory=dict)
    url_bytes: int = URL_BYTES_MAX

    def ask(self, tree: object, rows: int = ROWS, *, parameter: str = "", offset: int = 0, pad: int = 0) -> Reply:
        return self.talk.ask("GET", "customer", "/customers", self.query(tree, rows, parameter, offset, pad))

    def query(self, tree: object, rows: int, parameter: str = "", offset: int = 0, pad: int = 0) -> str:
        """The encoded query; tree None: no filter. pad: blanks inside the filter's JSON, three bytes each."""
        query = f"limit={rows if tree is None else min(rows, self.page_rows)}" + (f"&offset={offset}" if offset else "")
        if tree is None:
            return query
        text = quoted(msgspec.json.encode(tree).decode())
        return f"{query}&{parameter or self.parameter}={text[:3]}{SPACE * pad}{text[3:]}"

    # ---- which parameter -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The first page, as long as it comes by itself, without any filter."""
        reply = self.talk.ask("GET", "customer", "/customers").sure()
        rows = rows_of(reply)
        if rows is None:
            raise Unclear(f"the customers cannot be listed: {reply.said}")
        self.first = rows
        if not rows:
            raise Unclear("the shop has no customer")
        plain = [row for row in rows if not row.get("isAnonymous") and row.get("status", "active") == "active"]
        full = [row for row in plain if _text(row, "emailAddress") and _text(row, "externalCustomerNumber")]
        self.sample = (full or [row for row in plain if _text(row, "emailAddress")] or plain or rows)[0]

    def ask_parameter(self) -> None:
        name = "filter parameter"
        says = {parameter: self._parameter(parameter) for parameter in ("filters", "filter")}
        text = "; ".join(f"{parameter} {said}" for parameter, said in says.items())
        working = [parameter for parameter, said in says.items() if said == "works"]
        is_set = self.found.settings.filter_parameter
        if not working:
            advice = "customers cannot be found by email or number; tables whose member is an id do not need it"
            self.found.fail(name, text, advice)
            return
        self.parameter = is_set if is_set in working else working[0]
        self.found.value(name, text, "filter_parameter", self.parameter)

    def _parameter(self, parameter: str) -> str:
        nobody = self.ask({"id": str(uuid.uuid4())}, parameter=parameter).sure()
        somebody = self.ask({"id": self.sample["id"]}, parameter=parameter).sure()
        for reply in (nobody, somebody):
            if not reply.ok:
                return f"is refused ({reply.said})"
        none, one = rows_of(nobody), rows_of(somebody)
        if none is None or one is None:
            return "gives an answer that holds no list"
        if none:
            return "is ignored: it gives customers that were not asked for"
        if not one:
            return "finds not even a customer that is there"
        return "works" if {row["id"] for row in one} == {self.sample["id"]} else "gives others than were asked for"

    # ---- what may be filtered by ---------------------------------------------------------------------------------------

    def ask_guests(self) -> None:
        name = "guests"
        advice = "nothing: guests are also recognised by what each customer says"
        self._needs_parameter()
        without, only = self._list({"isAnonymous": False}, self.page_rows), self._list({"isAnonymous": True})
        if any(row.get("isAnonymous") is True for row in without) or any(not row.get("isAnonymous") for row in only):
            self.found.note(name, "isAnonymous in a filter is ignored", advice)
        elif only:
            self.found.note(name, "isAnonymous: false leaves guests out")
        else:
            self.found.unknown(name, "there is no guest among the customers to tell by")

    def ask_email_case(self) -> None:
        name = "case of emails"
        self._needs_parameter()
        email = _text(self.sample, "emailAddress")
        other = email.upper() if email.upper() != email else email.lower()
        if not email or other == email:
            raise Unclear("no customer seen has an email with letters")
        if not self._list({"emailAddress": email}):
            raise Unclear("a customer's own email does not find it")
        emails = [text for row in self.first if (text := _text(row, "emailAddress"))]
        capitals = sum(text != text.lower() for text in emails)
        seen = f"{capitals} of {len(emails)} emails seen hold capitals"
        if any(_text(row, "emailAddress") == email for row in self._list({"emailAddress": other})):
            self.found.note(name, f"makes no difference; {seen}")
        else:
            advice = "" if not capitals else "such a customer is found where the table writes its email the same"
            self.found.note(name, f"makes a difference; {seen}", advice)

    # ---- pages -----------------------------------------------------------------------------------------------------------

    def ask_page(self) -> None:
        said = ""

        def works(size: int) -> bool:
            nonlocal said
            reply = self.ask(None, size).sure()
            rows, total = rows_of(reply), total_of(reply)
            if not reply.ok:
                said = reply.said
            elif rows is None:
                said = "its answer cannot be read"
            elif total is not None and len(rows) < min(size, total):
                said = f"it gives only {len(rows)}"
            else:
                return True
            return False

        if works(PAGE_MAX):
            good = PAGE_MAX
        else:
            good, _ = largest(1, PAGE_MAX, works)
        self.page_rows = min(self.page_rows, good) if good else self.page_rows
        if not good:
            raise Unclear(f"even limit=1 is refused ({said})")
        if good == PAGE_MAX:
            self.found.note("customers: limit", f"{good} works, which is what segstream asks for")
        else:
            text = f"{good} works; {good + 1} does not ({said})"
            advice = f"segstream asks for {PAGE_MAX}: it cannot find customers by email or number"
            self.found.fail("customers: limit", text, advice)

    def ask_paging(self) -> None:
        reply = self.ask(None, 1).sure()
        counted = "no totalItemCount is stated" if total_of(reply) is None else "meta.totalItemCount counts them"
        first, second = rows_of(reply), rows_of(self.ask(None, 1, offset=1).sure())
        if len(self.first) < 2:
            raise Unclear("there are too few customers to turn a page")
        moved = first and second and first[0]["id"] != second[0]["id"]
        self.found.note("customers: paging", f"offset is {'honoured' if moved else 'ignored'}; {counted}")

    def ask_window(self) -> None:
        said = ""

        def works(size: int) -> bool:
            nonlocal said
            reply = self.ask(None, 1, offset=size - 1).sure()
            said = said if reply.ok else reply.said
            return reply.ok

        good, bad = largest(100, WINDOW_MAX, works)
        text = f"{good} works; {bad} is refused ({said})" if bad else f"{good} works; more was not asked"
        self.found.note("customers: offset + limit", text)

    # ---- long questions ----------------------------------------------------------------------------------------------

    def ask_url(self) -> None:
        """How long a URL may be: blanks in the filter's JSON make it long and change nothing."""
        self._needs_parameter()
        said, own = "", self.sample["id"]
        nobody = str(uuid.uuid4())

        def tree(longer: int) -> dict[str, Any]:
            return {"id": {"$in": [own, nobody + "x" * longer]}}

        bare = self.talk.target_bytes("customer", "/customers", self.query(tree(0), ROWS))

        def works(size: int) -> bool:
            nonlocal said
            blanks, rest = divmod(max(0, size - bare), len(SPACE))
            reply = self.ask(tree(rest), pad=blanks)
            fits = holds_only(reply, {own})
            said = said if fits else (reply.said if not reply.ok else "another answer than to the short question")
            return fits

        good, bad = largest(max(512, bare), URL_BYTES_MAX, works, lambda _: URL_GRAIN)
        if not good:
            raise Unclear(f"even the shortest question is not answered ({said})")
        text = f"{good} work; {bad} do not ({said})" if bad else f"{good} work; more was not asked"
        self.found.limit("URL bytes", text, "lookup_url_bytes_max", good, refused=bool(bad), more="")
        self.url_bytes = good

    def ask_values(self) -> None:
        """How many values $in takes, with the shortest values that nobody has."""
        self._needs_parameter()
        key = next((k for k in ("externalCustomerNumber", "emailAddress") if _text(self.sample, k)), "id")
        own, said, too_long = _text(self.sample, key), "", False

        def tree(size: int) -> dict[str, Any]:
            return {key: {"$in": [own, *(f"~{number:x}" for number in range(size - 1))]}}

        def works(size: int) -> bool:
            nonlocal said, too_long
            query = self.query(tree(size), ROWS)
            too_long = self.talk.target_bytes("customer", "/customers", query) > self.url_bytes
            if too_long:
                return False
            reply = self.ask(tree(size))
            rows = rows_of(reply)
            fits = reply.ok and bool(rows) and {_text(row, key) for row in rows or []} == {own}
            said = said if fits else (reply.said if not reply.ok else "another answer than to the short question")
            return fits

        good, bad = largest(1, VALUES_MAX, works)
        if not good:
            raise Unclear(f"even one value is not answered ({said or 'the URL would be too long'})")
        if not bad:
            text = f"{good} work ({key}); more was not asked"
        elif said:
            text = f"{good} work ({key}); {bad} do not ({said})"
        else:
            text = f"at least {good} work ({key}); with more the URL would be too long"
        self.found.limit(
            "values in $in", text, "lookup_values_max", good, refused=bool(said), more="the URL's length is the limit"
        )

    # ---- members -----------------------------------------------------------------------------------------------------------

    def gather(self, most: int) -> list[str]:
        """Ids of active customers who are no guests, `most` at most. Raises Unclear."""
        ids: dict[str, None] = {}
        offset, size = 0, min(GATHERED_PAGE, self.page_rows)
        tree = {"isAnonymous": False} if self.parameter else None
        while len(ids) < most:
            reply = self.ask(tree, size, offset=offset).sure()
            rows = rows_of(reply)
            if not rows or (offset and {row["id"] for row in rows} <= ids.keys()):
                break  # the end, the window's edge, or an offset that is ignored
            for row in rows:
                if row.get("isAnonymous") is not True and row.get("status", "active") == "active":
                    ids[row["id"]] = None
            offset += len(rows)
            if len(rows) < size:
                break
        return list(ids)[:most]

    def _needs_parameter(self) -> None:
        if not self.parameter:
            raise Unclear("no parameter for filters works")

    def _list(self, tree: object, rows: int = ROWS) -> list[Row]:
        reply = self.ask(tree, rows).sure()
        found = rows_of(reply)
        if not reply.ok or found is None:
            raise Unclear(f"such a filter is refused ({reply.said})")
        return found


def rows_of(reply: Reply) -> list[Row] | None:
    """The customers of a page that have an id; None when it holds no list."""
    rows = reply.value.get("customers")
    if not reply.ok or not isinstance(rows, list):
        return None
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]


def total_of(reply: Reply) -> int | None:
    meta = reply.value.get("meta")
    total = meta.get("totalItemCount") if isinstance(meta, dict) else None
    return total if isinstance(total, int) else None


def holds_only(reply: Reply, ids: set[str]) -> bool:
    """Whether the answer holds these customers and nobody else."""
    rows = rows_of(reply)
    return rows is not None and {row["id"] for row in rows} == ids


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    return value if isinstance(value, str) else ""
