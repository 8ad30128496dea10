"""
The report as one page of HTML that needs nothing else: no script, no font, no
picture from anywhere. Everything that comes from the store is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from castore.cli.charts import bar, curve, strip
from castore.cli.text import count_text, printable, size_text, time_text
from castore.report import Amount, SessionSize, StoreReport
from castore.verify import Report


FINDING_COUNT_MAX = 20
_TONES = {"journal": "b", "side": "c", "pack": "a"}
_FORM_TEXTS = {
    "whole": "whole",
    "difference": "as the difference to another",
    "chunks": "as a list of chunks",
}

# A browser must not fetch anything, whatever a name may look like.
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>castore report</title>
<style>
:root { --ink: #1c2126; --soft: #5c6670; --paper: #fbfbfa; --card: #fff;
 --edge: #e2e4e6; --rest: #eceeef; --a: #2f6fab; --b: #d0812b; --c: #7a5ba8;
 --good: #2b7a4b; --bad: #b3362f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --soft: #9aa4ad;
 --paper: #14171a; --card: #1c2024; --edge: #31373d; --rest: #2a3036; --a: #6aa9e0;
 --b: #e2a25a; --c: #ab8fd6; --good: #66c08a; --bad: #ef7b73; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1.25rem 3rem; color: var(--ink);
 background: var(--paper); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.05rem; margin: 2.25rem 0 .6rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); font-size: .9rem; }
code { font: .86em ui-monospace, monospace; overflow-wrap: anywhere; }
.tiles { display: grid; gap: .75rem; margin-top: 1.25rem;
 grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.tile, .card { background: var(--card); border: 1px solid var(--edge);
 border-radius: 8px; padding: .75rem 1rem; }
.tile b { display: block; font-size: 1.45rem; font-weight: 600; line-height: 1.3; }
.tile span { color: var(--soft); font-size: .86rem; }
.card { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; color: var(--soft); font-size: .86rem; }
th, td { padding: .3rem .9rem .3rem 0; vertical-align: middle; }
tr + tr td { border-top: 1px solid var(--edge); }
th:last-child, td:last-child { padding-right: 0; }
.n { text-align: right; white-space: nowrap; } .wide { width: 26%; min-width: 6rem; }
.id { white-space: nowrap; } .name { display: block; min-width: 15rem; }
.bar { display: block; width: 100%; height: .7rem; border-radius: 3px; }
.strip { margin-bottom: .6rem; }
.key { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px;
 margin-right: .45rem; }
.curve { display: block; width: 100%; height: auto; }
.curve text { fill: var(--soft); font-size: 12px; } .grid { stroke: var(--edge); }
.line { fill: none; stroke: var(--a); stroke-width: 2; stroke-linejoin: round; }
.area { fill: var(--a); opacity: .14; } .rest { fill: var(--rest); }
.a { fill: var(--a); background: var(--a); }
.b { fill: var(--b); background: var(--b); }
.c { fill: var(--c); background: var(--c); }
.good { color: var(--good); font-weight: 600; } .bad { color: var(--bad);
 font-weight: 600; } ul { margin: .4rem 0; padding-left: 1.2rem; }
</style>
</head>
<body>
"""


def page(
    report: StoreReport,
    *,
    made_ms: int,
    version: str,
    limit: int,
    title: str | None = None,
    check: Report | None = None,
) -> Iterator[str]:
    """
    Yield the page, part by part.

    Args:
        report: What to tell.

        made_ms: When it was gathered, ms since 1970 UTC.

        version: Of castore.

        limit: How many sessions to list.

        title: What to call the store; its id by default.

        check: What a verification found, if there was one.
    """
    yield _HEAD
    yield f"<h1>{_text(title or 'castore store')}</h1>"
    made = _text(time_text(made_ms).replace("Z", " UTC"))
    yield f'<p class="soft">store <code>{_text(report.store_id)}</code>, {made},'
    yield f" castore {_text(version)}</p>\n"
    if report.unreadable:
        yield '<p><span class="bad">Not all of it can be read</span>:'
        yield f" {_text(report.unreadable)}. Run"
        yield " <code>castore verify</code>.</p>\n"
    yield from _tiles(report)
    if report.is_counted:
        yield from _steps(report)
        yield from _growth(report)
        yield from _sessions(report.sessions, limit)
        yield from _forms(report)
    else:
        yield '<p class="soft">What sessions hold is not told: they cannot be'
        yield " read.</p>\n"
    yield from _files(report)
    yield from _waiting(report)
    yield from _checked(check)
    yield "</body>\n</html>\n"


def _text(text: str) -> str:
    return escape(printable(text))


def _times(more: int, less: int) -> str:
    return f"{more / less:,.1f} x" if more >= less > 0 else "-"


def _tiles(report: StoreReport) -> Iterator[str]:
    totals = report.totals
    tiles = [
        (size_text(totals.stored_bytes), "on disk, without the index"),
        (_times(report.logical_bytes, totals.stored_bytes), "smaller than plain files"),
        (f"{totals.sessions:,}", "sessions"),
        (f"{totals.entries:,}", "entries, inherited ones once"),
        (f"{totals.blobs:,}", "different contents"),
    ]
    yield '<div class="tiles">'
    for value, what in tiles:
        yield f'<div class="tile"><b>{_text(value)}</b><span>{_text(what)}</span></div>'
    yield "</div>\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """
    Yield a table of cells that are HTML already. A head that ends with ``#`` is
    over numbers, an empty one over a picture.
    """
    classes = ["n" if name.endswith("#") else "" if name else "wide" for name in head]
    marks = [f' class="{name}"' if name else "" for name in classes]
    yield '<div class="card"><table><tr>'
    for name, mark in zip(head, marks, strict=True):
        yield f"<th{mark}>{_text(name.rstrip('#'))}</th>"
    yield "</tr>\n"
    for row in rows:
        cells = zip(row, marks, strict=True)
        yield f"<tr>{''.join(f'<td{mark}>{cell}</td>' for cell, mark in cells)}</tr>\n"
    yield "</table></div>\n"


def _steps(report: StoreReport) -> Iterator[str]:
    totals = report.totals
    steps = [
        (
            "each session in full, as plain files would be",
            report.logical_bytes,
            "",
            "b",
        ),
        ("each content once", totals.raw_bytes, "deduplication", "c"),
        ("on disk", totals.stored_bytes, "compression and differences", "a"),
    ]
    most = max(size for _, size, _, _ in steps) or 1
    rows, before = [], 0
    for what, size, cause, tone in steps:
        gain = f"{_times(before, size)} by {cause}" if before > size else ""
        picture = bar(size / most, tone)
        rows.append([_text(what), picture, _text(size_text(size)), _text(gain)])
        before = size
    yield "<h2>From files to disk</h2>\n"
    yield from _table(["", "", "bytes#", "smaller"], rows)


def _growth(report: StoreReport) -> Iterator[str]:
    yield "<h2>Growth</h2>\n"
    if not report.growth:
        yield '<p class="soft">Nothing was stored yet.</p>\n'
        return
    picture = curve(report.growth, "bytes of sessions over time")
    yield f'<div class="card">{picture}</div>'
    yield '<p class="soft">Bytes that were written, what forks inherit not counted'
    yield " again; each log from its newest commit on.</p>\n"


def _sessions(sessions: Sequence[SessionSize], limit: int) -> Iterator[str]:
    yield "<h2>Largest sessions</h2>\n"
    if not sessions:
        yield '<p class="soft">There are none.</p>\n'
        return
    most = sessions[0].own_bytes or 1
    rows = [
        [
            _name(item),
            bar(item.own_bytes / most),
            _text(size_text(item.own_bytes)),
            _text(size_text(item.logical_bytes)),
            f"{item.entries:,}",
            f"{item.segments:,}",
            _text(time_text(item.time_ms)[:10]),
        ]
        for item in sessions[:limit]
    ]
    head = ["session", "", "own#", "in full#", "entries#", "logs#", "newest#"]
    yield from _table(head, rows)
    if len(sessions) > limit:
        left = count_text(len(sessions) - limit, "smaller session")
        yield f'<p class="soft">and {_text(left)}</p>\n'


def _name(session: SessionSize) -> str:
    if session.name:
        return f'<code class="name">{_text(session.name)}</code>'
    return f'<code class="id">{_text(session.session_id)}</code>'


def _files(report: StoreReport) -> Iterator[str]:
    totals = report.totals
    yield "<h2>Files</h2>\n"
    parts = [(_TONES[kind], each.raw_bytes) for kind, each in report.files.items()]
    yield f'<div class="strip">{strip(parts)}</div>'
    rows = [
        [
            f'<span class="key {_TONES[kind]}"></span>{_text(kind)}',
            f"{each.count:,}",
            _text(size_text(each.raw_bytes)),
        ]
        for kind, each in report.files.items()
    ]
    rows.append(["index, can be made anew", "", _text(size_text(totals.catalog_bytes))])
    yield from _table(["kind", "files#", "bytes#"], rows)


def _forms(report: StoreReport) -> Iterator[str]:
    yield "<h2>How contents are kept</h2>\n"
    rows = [
        [
            _text(_FORM_TEXTS[form]),
            f"{each.count:,}",
            _text(size_text(each.raw_bytes)),
            _text(size_text(each.stored_bytes)),
            _text(_times(each.raw_bytes, each.stored_bytes)),
        ]
        for form, each in report.forms.items()
    ]
    head = ["form", "contents#", "raw#", "before compression#", "smaller#"]
    yield from _table(head, rows)


def _waiting(report: StoreReport) -> Iterator[str]:
    yield "<h2>What maintenance would do</h2>\n"
    dead: Amount = report.dead
    if not (dead.count or report.unpacked_bytes):
        yield "<p>Nothing waits.</p>\n"
        return
    yield "<ul>"
    if report.unpacked_bytes:
        size = size_text(report.unpacked_bytes)
        yield f"<li>{_text(size)} are not packed yet, journals in use included.</li>"
    if dead.count:
        blobs = f"{count_text(dead.count, 'content')}, {size_text(dead.raw_bytes)} raw"
        grace = f"{report.condemned_count:,} of them wait for the end of their grace"
        yield f"<li>Nothing needs {_text(blobs)}; {_text(grace)}.</li>"
    yield "</ul><p class='soft'><code>castore maintain</code> does it.</p>\n"


def _checked(check: Report | None) -> Iterator[str]:
    yield "<h2>Verification</h2>\n"
    if check is None:
        yield '<p class="soft">Not asked for; say <code>--verify</code>, or'
        yield " <code>--verified FILE</code>.</p>\n"
        return
    word = (
        '<span class="good">ok</span>'
        if check.ok
        else '<span class="bad">NOT OK</span>'
    )
    covered = check.covered
    what = (
        f"{check.against} up to commit {check.seq:,}: "
        f"{count_text(covered['segments'], 'log')}, "
        f"{count_text(covered['entries'], 'entry', 'entries')}, "
        f"{count_text(covered['blobs'], 'content')}, "
        f"{size_text(covered['bytes'])} in {count_text(covered['files'], 'file')}"
    )
    yield f"<p>{word}: {_text(what)}.</p>\n"
    if check.findings:
        yield "<ul>"
        for item in check.findings[:FINDING_COUNT_MAX]:
            text = f"{item.severity}: {item.where}: {item.verdict}: {item.detail}"
            yield f"<li><code>{_text(text)}</code></li>"
        yield "</ul>\n"
        left = len(check.findings) - FINDING_COUNT_MAX
        if left > 0:
            yield f'<p class="soft">and {left:,} more</p>\n'
