"""What is switched in the sandbox is what probe finds."""

import re
from pathlib import Path
from typing import Any

import pytest
from probe_trial import CUSTOMERS, ask

from stream.sandbox import Sandbox
from stream.sandbox.faults import FAULTS

Row = tuple[dict[str, Any], str, str, str, Any]
NO_WRITE = None
# what is switched; the finding; its level; what it says; what would be written
ROWS: list[Row] = [
    # reads
    ({}, "filter parameter", "fits", "filters works; filter is ignored", NO_WRITE),
    ({"filter_accepted": True}, "filter parameter", "fits", "filters works; filter works", NO_WRITE),
    (
        {"filter_accepted": True, "filters_ignored": True},
        "filter parameter",
        "change",
        "filters is ignored.*; filter works",
        "filter",
    ),
    ({"filters_ignored": True}, "filter parameter", "fail", "filters is ignored.*; filter is ignored", NO_WRITE),
    ({}, "guests", "note", "leaves guests out", NO_WRITE),
    ({"guests_filtered": False}, "guests", "note", "is ignored", NO_WRITE),
    ({"email_case": "sensitive"}, "case of emails", "note", f"makes a difference; {CUSTOMERS} of", NO_WRITE),
    ({"email_case": "insensitive"}, "case of emails", "note", "makes no difference", NO_WRITE),
    ({}, "customers: limit", "note", "^1000 works, which", NO_WRITE),
    ({"page_limit_max": 50}, "customers: limit", "fail", r"^50 works; 51 does not \(HTTP 400\)$", NO_WRITE),
    ({"page_limit_max": 7}, "members: limit", "fail", r"^7 works; 8 does not \(HTTP 400\)$", NO_WRITE),
    ({}, "members: limit", "note", "^500 works", NO_WRITE),
    ({}, "customers: paging", "note", "honoured; meta.totalItemCount", NO_WRITE),
    ({"total_count": False}, "customers: paging", "note", "honoured; no totalItemCount", NO_WRITE),
    ({}, "customers: offset + limit", "note", "^10000 works; 10001 is refused", NO_WRITE),
    ({"index_window_max": 333}, "customers: offset + limit", "note", "^333 works; 334 is refused", NO_WRITE),
    ({"index_window_max": 0}, "customers: offset + limit", "note", "^20000 works; more was not asked", NO_WRITE),
    ({}, "URL bytes", "may", "^16000 work; more was not asked", 16_000),
    ({"url_bytes_max": 8_000}, "URL bytes", "may", "^[0-9]+ work; 80.. do not .HTTP 414", range(7_980, 8_001)),
    ({"url_bytes_max": 3_000}, "URL bytes", "change", "^[0-9]+ work; 30.. do not .HTTP 414", range(2_980, 3_001)),
    ({"url_bytes_max": 400}, "URL bytes", "fail", "^[34].. work; 4.. do not", NO_WRITE),
    ({"filter_list_max": 37}, "values in $in", "change", "^37 work .*; 38 do not .HTTP 400", 37),
    ({"filter_list_max": 640}, "values in $in", "may", "^640 work .*; 641 do not", 640),
    ({}, "values in $in", "may", "^1000 work .*; more was not asked", 1_000),
    ({"url_bytes_max": 1_500}, "values in $in", "unknown", "^at least .*URL would be too long", NO_WRITE),
    # segments and single members
    ({"duplicate_segment": "409"}, "duplicate segment", "note", "^HTTP 409$", NO_WRITE),
    ({"duplicate_segment": "item"}, "duplicate segment", "note", r"^HTTP 201 with errors\[\], code 409$", NO_WRITE),
    ({"members_body": "wrapped"}, "body of members", "note", "is taken .HTTP 201", NO_WRITE),
    ({"members_body": "both"}, "body of members", "note", "is taken .HTTP 201", NO_WRITE),
    ({"members_body": "bare"}, "body of members", "fail", "HTTP 400.*bare array is taken", NO_WRITE),
    ({"members_paging": "cursors"}, "members: paging", "note", r"by meta\.cursors\.after, counted", NO_WRITE),
    ({"members_paging": "cursor"}, "members: paging", "note", r"by meta\.cursor\.after, counted", NO_WRITE),
    ({"members_paging": "offset"}, "members: paging", "note", "by limit and offset, counted", NO_WRITE),
    (
        {"members_paging": "offset", "total_count": False},
        "members: paging",
        "note",
        "by limit and offset, not counted",
        NO_WRITE,
    ),
    ({"present_add": "ok"}, "adding a present member", "note", "^HTTP 201$", NO_WRITE),
    ({"present_add": "409"}, "adding a present member", "note", r"^HTTP 201 with errors\[\], code 409$", NO_WRITE),
    ({"duplicate_rows": "ok"}, "one member twice in a body", "note", "^HTTP 201$", NO_WRITE),
    ({"duplicate_rows": "item"}, "one member twice in a body", "note", r"errors\[\], code 409$", NO_WRITE),
    ({"duplicate_rows": "400"}, "one member twice in a body", "note", "^HTTP 400$", NO_WRITE),
    ({"unknown_customer": "ok"}, "an unknown member", "note", "^HTTP 201, and it is in the segment", NO_WRITE),
    ({"unknown_customer": "404"}, "an unknown member", "note", "code 404, and it is not in the segment", NO_WRITE),
    ({"unknown_customer": "400"}, "an unknown member", "note", "code 400, and it is not in the segment", NO_WRITE),
    ({"absent_remove": "ok"}, "removing an absent member", "note", "^HTTP 202$", NO_WRITE),
    ({"absent_remove": "404"}, "removing an absent member", "note", r"^HTTP 202 with errors\[\], code 404$", NO_WRITE),
    # removals
    ({"delete_body": "kept"}, "DELETE bodies", "note", "^arrive .HTTP 202", NO_WRITE),
    ({"delete_body": "400"}, "DELETE bodies", "fail", "are refused .HTTP 400", NO_WRITE),
    ({"delete_body": "202"}, "DELETE bodies", "fail", "nothing gone after 0.4 s", NO_WRITE),
    ({"delete_body": "all"}, "DELETE bodies", "fail", "removed everybody", NO_WRITE),
    ({"removal_status": "200"}, "DELETE bodies", "note", "^arrive .HTTP 200", NO_WRITE),
    ({"removal_status": "204"}, "DELETE bodies", "note", "^arrive .HTTP 204", NO_WRITE),
    ({}, "removal visible after", "fits", "^0.[0-9]+ s at most, of 4 removals", NO_WRITE),
    ({}, "runInBackground=false", "may", "removes before it answers .HTTP 200", False),
    ({"background_honoured": False}, "runInBackground=false", "fits", "makes no difference .HTTP 202", NO_WRITE),
    ({"background_known": False}, "runInBackground=false", "fits", "is refused .HTTP 400", NO_WRITE),
    # limits
    ({"members_max": 13, "members_max_status": "400"}, "members in a request", "change", "^13 work.*HTTP 400", 13),
    ({"members_max": 13, "members_max_status": "413"}, "members in a request", "change", "^13 work.*HTTP 413", 13),
    ({"members_max": 32, "members_max_status": "422"}, "members in a request", "change", "^32 work.*HTTP 422", 32),
    ({"members_max": 1}, "members in a request", "change", "^1 work; 2 are refused", 1),
    ({}, "members in a request", "unknown", f"^at least {CUSTOMERS}: no more customers", NO_WRITE),
    ({"body_bytes_max": 20_000}, "body bytes", "change", "work.*HTTP 413", range(18_900, 20_001)),
    ({"body_bytes_max": 700_000}, "body bytes", "may", "work.*HTTP 413", range(680_000, 700_001)),
    ({"body_bytes_max": 6_000_000}, "body bytes", "may", "^2097152 work; more was not asked", 2_097_152),
    ({"body_bytes_max": 4_096}, "body bytes", "change", "work.*HTTP 413", range(3_000, 4_097)),
    ({"removal_members_max": 9}, "members in a request", "change", "^9 work; 10 are refused .HTTP 413 to a removal", 9),
    # rates
    ({}, "rate limits", "note", "^none stated in headers, no 429 in", NO_WRITE),
    ({"rate_headers": "x-ratelimit"}, "rate limits", "note", "x-ratelimit-limit: 100", NO_WRITE),
    ({"rate_headers": "ratelimit"}, "rate limits", "note", "ratelimit-policy: 100;w=60", NO_WRITE),
    ({"throttle_share": 0.1, "retry_after_s": 2}, "rate limits", "note", "retry-after: 2; [1-9].* answered 429", NO_WRITE),
    # forms of answers that must not confuse it
    *(({"error_form": form, "members_max": 13}, "members in a request", "change", "^13 work", 13)
      for form in ("documented", "plain", "empty", "text")),
    *(({"success_body": form}, "DELETE bodies", "note", "^arrive", NO_WRITE) for form in ("absent", "empty", "text")),
    ({"row_error_codes": "number", "present_add": "409"}, "adding a present member", "note", "code 409$", NO_WRITE),
    ({"row_error_text": "message", "present_add": "409"}, "adding a present member", "note", "code 409$", NO_WRITE),
]  # fmt: skip

NOT_ASKED = {
    "members_customer": "whether a page of members carries customers changes nothing for segstream",
    "index_lag_s": "customers cannot be changed here",
    "deleted_customer": "customers cannot be deleted here",
}


def name(row: Row) -> str:
    switched = ",".join(f"{key}={value}" for key, value in row[0].items()) or "nothing"
    return f"{switched}: {row[1]}"


@pytest.mark.parametrize("row", ROWS, ids=name)
def test_what_is_switched_is_found(row: Row, sandbox: Sandbox, tmp_path: Path) -> None:
    faults, finding, level, text, write = row
    sandbox.faults(**faults)
    found = ask(sandbox, tmp_path)[finding]
    assert found.level == level, found
    assert re.search(text, found.found), found
    if isinstance(write, range):
        assert found.write in write, found
    else:
        assert found.write == write, found


def test_every_switch_of_the_unknown_has_a_row() -> None:
    names = list(FAULTS)
    unknown = set(names[names.index("removal_status") : names.index("token_expires_s")])
    forms = {"unauthorized_form"}  # not met with a good token
    assert unknown - {switch for row in ROWS for switch in row[0]} - set(NOT_ASKED) - forms == set()
