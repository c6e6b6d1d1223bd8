"""retail.red: access, the segments that the samples name, and whether customers can be looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from stream import wiring
from stream.check.findings import Findings
from stream.core.identity import Found, judge
from stream.core.model import IdentityKind, Lookup, LookupOutcome
from stream.edge.api import RetailRed
from stream.edge.logs import redact
from stream.errors import AuthError, DataError, SegstreamError, SettingsError, Unavailable
from stream.settings import Settings

SEGMENTS_LOOKED_UP_MAX: Final = 20
API_TIMEOUT_S_MAX: Final = 5.0
API_ATTEMPTS: Final = 2

NOBODY: Final[dict[IdentityKind, str]] = {"email": "nobody@segstream.invalid", "number": "segstream-nobody"}
"""Asked for first: whoever comes all the same shows that the filter is ignored, also where everybody fits on one page."""

_PASSES: Final = frozenset({"throttled", "server_error", "timeout", "connect", "dropped", "tls", "token"})


def look(
    found: Findings, settings: Settings, codes: set[str], named: set[str], identities: Mapping[str, Mapping[str, None]]
) -> None:  # fmt: skip
    """codes: what the samples name. named: what the table of segments names. identities: some to look up, by kind."""
    config = wiring.api_config(settings)
    api: RetailRed | None = None
    try:
        api = RetailRed(replace(config, api_timeout_s=min(config.api_timeout_s, API_TIMEOUT_S_MAX)))
        api.ping(attempts=API_ATTEMPTS)
        found.ok("retail.red", "access", f"token, merchant {config.merchant} and the segments route answer")
        _segments(found, settings, api, sorted(codes | named)[:SEGMENTS_LOOKED_UP_MAX], named)
        for kind in kinds(settings):
            _look_up(found, settings, api, kind, list(identities.get(kind, ())))
    except SegstreamError as error:
        found.error("retail.red", "access", error)
    finally:
        if api is not None:
            api.close()


def kinds(settings: Settings) -> list[IdentityKind]:
    """What customers are looked up by."""
    used = [kind for table in settings.tables.values() for kind, _ in table.terms]
    used += [kind for reference in settings.references.values() for kind, _ in reference.terms]
    known: tuple[IdentityKind, ...] = ("email", "number")
    return [kind for kind in known if kind in used]


def _segments(found: Findings, settings: Settings, api: RetailRed, codes: list[str], named: set[str]) -> None:
    missing: list[str] = []
    there = 0
    for code in codes:
        try:
            segment = api.get_segment(code)
        except DataError as error:
            found.warn("retail.red", "segments", str(error), error.advice)
            continue
        if segment is None:
            missing.append(code)
        elif segment.type == "dynamic":
            found.fail(
                "retail.red", "segments", f"{code} is dynamic: its members cannot be set",
                "create a fixed segment under another code",
            )  # fmt: skip
        else:
            there += 1
    made = [code for code in missing if settings.segments.create_missing or code in named]
    missing = [code for code in missing if code not in made]
    if made:
        found.ok(
            "retail.red", "segments", f"{len(made)} of {len(codes)} do not exist: {_shown(made)}; `run` creates them"
        )
    if missing:
        found.warn(
            "retail.red", "segments", f"{len(missing)} of {len(codes)} do not exist: {_shown(missing)}; their rows wait",
            "create them at retail.red: the rows that wait are sent then",
        )  # fmt: skip
    elif there and not made:
        found.ok("retail.red", "segments", f"the {there} looked up exist")


def _shown(codes: list[str]) -> str:
    return ", ".join(codes[:5]) + (" …" if len(codes) > 5 else "")


def _look_up(found: Findings, settings: Settings, api: RetailRed, kind: IdentityKind, values: list[str]) -> None:
    """Ask as `run` does. Whom it is about is not told."""
    rule, what = wiring.identity_rule(settings), f"customers by {kind}"
    judged: list[Found] = []
    for wanted in ([NOBODY[kind]], values):
        if not wanted:
            break
        asked = dict.fromkeys(one for value in wanted for one in rule.asked(kind, value))
        outcome = api.lookup(Lookup(1, kind, tuple(asked)))
        if outcome.kind != "answered":
            _refused(found, settings, what, outcome)
            return
        judged = list(judge(outcome, wanted, rule).values())
        uncertain = [one for one in judged if one.kind == "uncertain"]
        if uncertain:
            _uncertain(found, settings, what, uncertain[0])
            return
    if not values:
        found.ok("retail.red", what, "the customer service answers; no sampled row holds one to look up")
        return
    counts = {name: [one for one in judged if one.kind == name] for name in ("found", "missing", "ambiguous")}
    why = ", ".join(sorted({one.why for one in counts["missing"]}))
    text = f"of {len(judged)} sampled, {len(counts['found'])} are found"
    text += f", {len(counts['missing'])} are missing ({why})" if why else ""
    if counts["ambiguous"]:
        found.warn(
            "retail.red", what, f"{text}, {len(counts['ambiguous'])} are shared by several customers: their rows wait",
            "prefer the number, merge them at retail.red, or set identity.tie_break",
        )  # fmt: skip
    elif counts["found"]:
        found.ok("retail.red", what, text)
    else:
        found.warn(
            "retail.red", what, f"{text}: their rows wait", "segstream lookup -c FILE VALUE says whom a value means"
        )


def _uncertain(found: Findings, settings: Settings, what: str, one: Found) -> None:
    used = settings.retail_red.filter_parameter
    other = "filter" if used == "filters" else "filters"
    if one.why == "filter_ignored":
        found.fail(
            "retail.red", what, f"the customer service ignores {used}: it answers with others, and nobody would be found",
            f"settings: retail_red: filter_parameter: {other}; segstream probe finds which one works",
            SettingsError.exit_code,
        )  # fmt: skip
    else:
        text = {
            "incomplete": "not every page of the answer could be read",
            "no_anonymous_flag": "the answer does not say who is a guest",
            "no_usable_id": "the answer holds a customer whose id cannot be a member's",
        }[one.why]
        found.fail("retail.red", what, f"{text}: nobody would be found", "segstream probe asks for more")


def _refused(found: Findings, settings: Settings, what: str, outcome: LookupOutcome) -> None:
    http = f"HTTP {outcome.status}" if outcome.status else "no answer"
    # an answer may quote what was asked
    said = redact(outcome.message)
    text = f"the look-up failed: {outcome.reason}, {http}" + (f": {said}" if said else "")
    if outcome.reason in ("auth", "credentials"):
        found.fail(
            "retail.red", what, text, f"give the client the right to read the customers of {settings.retail_red.merchant}",
            AuthError.exit_code,
        )  # fmt: skip
    elif outcome.reason in _PASSES:
        found.fail("retail.red", what, text, "", Unavailable.exit_code)
    elif outcome.reason == "not_found":
        found.fail(
            "retail.red", what, text, "settings: retail_red: urls: customer, and merchant", SettingsError.exit_code
        )
    else:
        found.fail("retail.red", what, text, "segstream probe finds which questions the customer service takes")
