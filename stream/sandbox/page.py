"""The read-only page at /: segments, counts, the latest requests. Plain HTML, nothing from elsewhere, no script."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from stream.sandbox.faults import FAULTS
from stream.sandbox.messages import Reply

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream.sandbox.app import App

SEGMENTS_SHOWN = 200
HTML = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
)
STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5c6773;--line:#dfe3e8;--card:#fff;--ground:#f5f6f8;--good:#11734b;
--bad:#b3261e;--mark:#2456c5}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#9aa5b1;--line:#333a42;--card:#1d2126;--ground:#14171a;
--good:#5bd6a0;--bad:#ff8a80;--mark:#8ab4ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:70rem;margin:0 auto;padding:2rem 1.25rem 3rem}
h1{font-size:1.4rem;margin:0}h2{font-size:1rem;margin:2rem 0 .6rem}
.sub,.none{color:var(--soft);margin:.15rem 0 1.5rem}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.8rem,1fr));gap:.75rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.8rem 1rem}
.card b{display:block;font-size:1.5rem;line-height:1.25;font-variant-numeric:tabular-nums;font-weight:600}
.card span{color:var(--soft);font-size:.85rem}.card.bad b{color:var(--bad)}
.table{background:var(--card);border:1px solid var(--line);border-radius:.6rem;overflow-x:auto}
table{border-collapse:collapse;width:100%}
th,td{padding:.45rem 1rem;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}
tr:last-child td{border-bottom:0}th{color:var(--soft);font-weight:500;font-size:.85rem}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
td.path,td.code{width:100%;max-width:0}td.path{overflow:hidden;text-overflow:ellipsis}
td.code{white-space:normal;overflow-wrap:anywhere}
code{font:.9em ui-monospace,monospace}.good{color:var(--good)}.bad{color:var(--bad)}a{color:var(--mark)}
.columns{display:grid;grid-template-columns:minmax(0,2fr) minmax(0,3fr);gap:0 1.5rem;align-items:start}
@media(max-width:52rem){.columns{grid-template-columns:minmax(0,1fr)}main{padding:1.25rem .9rem 2rem}
th,td{padding:.45rem .7rem}}
@media(max-width:34rem){.cards{grid-template-columns:repeat(2,minmax(0,1fr))}.requests thead{display:none}
.requests tr{display:grid;grid-template-columns:auto auto 1fr auto;border-bottom:1px solid var(--line)}
.requests td{border:0;padding:.35rem .7rem}.requests td.path{grid-column:1/-1;grid-row:2;width:auto;max-width:none;
padding-top:0;white-space:normal;overflow-wrap:anywhere}}
"""


def reply(app: App) -> Reply:
    merchant = escape(app.config.merchant)
    body = f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><meta http-equiv="refresh" content="5">
<title>retail.red sandbox · merchant {merchant}</title><style>{STYLE}</style></head><body><main>
<h1>retail.red sandbox</h1><p class="sub">A simulation of merchant {merchant}, up {_span(app.now_s())}. Also as JSON:
<a href="/_sandbox/stats">stats</a>, <a href="/_sandbox/faults">faults</a>, <a href="/_sandbox/state">state</a></p>
<div class="cards">{_cards(app)}</div>
<div class="columns"><section><h2>Segments</h2>{_segments(app)}{_faults(app)}</section>
<section><h2>Latest requests</h2>{_requests(app)}</section></div></main></body></html>"""
    return Reply(200, body.encode(), HTML)


def _cards(app: App) -> str:
    seen = app.witness
    counts = seen.counts
    members = sum(len(kind.ids) for segment in app.shop.segments.values() for kind in segment.kinds.values())
    cards = [
        ("members", members, False),
        ("customers", len(app.shop.customers), False),
        ("requests", counts["requests"], False),
        ("rows changed", counts["rows_changed"], False),
        ("rows without effect", counts["rows_unchanged"], False),
        ("overlapping operations", sum(seen.overlaps.values()), True),
        ("requests within Retry-After", counts["requests_within_retry_after"], True),
    ]
    return "".join(
        f'<div class="card{" bad" if bad and number else ""}"><b>{number:,}</b><span>{name}</span></div>'
        for name, number, bad in cards
    )


def _segments(app: App) -> str:
    segments = sorted(app.shop.segments.values(), key=lambda segment: segment.code)
    if not segments:
        return '<p class="none">None yet.</p>'
    rows = (
        f'<tr><td class="code"><code>{escape(segment.code[:80])}</code></td><td>{segment.type}</td>'
        f'<td class="n">{sum(len(kind.ids) for kind in segment.kinds.values()):,}</td></tr>'
        for segment in segments[:SEGMENTS_SHOWN]
    )
    more = f'<p class="none">and {len(segments) - SEGMENTS_SHOWN:,} more</p>' if len(segments) > SEGMENTS_SHOWN else ""
    return _table('<th>Code</th><th>Type</th><th class="n">Members</th>', rows) + more


def _faults(app: App) -> str:
    changed = [
        f'<tr><td><code>{name}</code></td><td class="code">{escape(str(value)[:60])}</td></tr>'
        for name, value in app.faults.values.items()
        if value != FAULTS[name].default
    ]
    return "<h2>Faults switched on</h2>" + _table("<th>Name</th><th>Value</th>", changed) if changed else ""


def _requests(app: App) -> str:
    if not app.witness.latest:
        return '<p class="none">None yet.</p>'
    rows = (
        f'<tr><td class="n">{entry["number"]}</td><td class="{"good" if 200 <= entry["status"] < 300 else "bad"}">'
        f"{entry['status'] or 'cut'}</td><td>{escape(entry['method'][:10])}</td>"
        f'<td class="path" title="{escape(entry["target"])}"><code>{escape(_short(app, entry["target"]))}</code></td>'
        f'<td class="n">{entry["took_ms"]:,} ms</td></tr>'
        for entry in reversed(app.witness.latest)
    )
    head = '<th class="n">No.</th><th>Status</th><th>Method</th><th>Target</th><th class="n">Took</th>'
    return _table(head, rows, "requests")


def _short(app: App, target: str) -> str:
    """Without what all of them begin with."""
    return target.removeprefix(f"/v1/merchants/{app.config.merchant}")[:120]


def _table(head: str, rows: Iterable[str], kind: str = "") -> str:
    return (
        f'<div class="table {kind}"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
