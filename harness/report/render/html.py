"""HTML: one file with everything in it, for a screen of any size, bright or dark."""

from __future__ import annotations

import base64
import html as escaping
import re
from collections.abc import Callable, Iterator

from harness.report.document import (
    Appendix,
    Block,
    Bullets,
    Commands,
    Document,
    GroupRow,
    Heading,
    Item,
    Paragraph,
    Picture,
    TableCell,
    TableColumn,
    TextTable,
)
from harness.report.format import header_spans, is_short, marked_up

STYLE = """
:root { --ink: #1f2328; --soft: #656d76; --line: #d8dee4; --page: #ffffff; --band: #f6f8fa;
  --good: #0a6b2d; --bad: #b3261e; --warn: #8a5a00; --broken: #7b3fa0;
  color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d;
  --page: #0d1117; --band: #161b22; --good: #56d364; --bad: #ff8a80; --warn: #e3b341;
  --broken: #d2a8ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem; background: var(--page);
  color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--line);
  padding-bottom: .25rem; }
p, li { max-width: 48rem; overflow-wrap: anywhere; }
li { margin: .3rem 0; }
code { font: .88em ui-monospace, "DejaVu Sans Mono", monospace; background: var(--band);
  padding: .1em .3em; border-radius: 4px; }
pre { background: var(--band); border: 1px solid var(--line); border-radius: 6px;
  padding: .8rem 1rem; overflow-x: auto; }
pre code { padding: 0; }
figure { margin: 1.2rem 0 1.8rem; }
figure img { max-width: 100%; height: auto; background: #fff; border-radius: 6px;
  border: 1px solid var(--line); padding: .5rem; }
figcaption, .caption { color: var(--soft); font-size: .88rem; max-width: 48rem; margin: .3rem 0; }
.picture { display: block; }
.picture input { position: absolute; opacity: 0; pointer-events: none; }
.picture input:focus-visible + img { outline: 3px solid var(--good); }
.picture .hint { display: none; color: var(--soft); font-size: .8rem; }
details { margin: 2.2rem 0 .6rem; }
summary { cursor: pointer; }
summary h2 { display: inline; border: 0; margin: 0; }
.scroll { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .88rem; line-height: 1.4; min-width: 100%; }
th, td { padding: .3rem .6rem; text-align: left; vertical-align: top; }
th { font-weight: 600; white-space: nowrap; }
abbr { text-decoration: none; }
thead tr:last-child th { border-bottom: 2px solid var(--line); }
thead th.span { text-align: center; border-bottom: 1px solid var(--line); }
tbody tr { border-bottom: 1px solid var(--line); }
tr.group th { background: var(--band); white-space: normal; }
.right { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.short { white-space: nowrap; }
.wide table { font-size: .8rem; }
.wide th, .wide td { padding: .25rem .35rem; }
.long { min-width: 15rem; }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; }
.warn { color: var(--warn); font-weight: 600; }
.broken { color: var(--broken); font-weight: 600; }
.muted { color: var(--soft); }
@media screen and (max-width: 44rem) {
  .picture { overflow-x: auto; }
  .picture .hint { display: block; position: sticky; left: 0; }
  .picture input:checked + img { max-width: none; width: 46rem; }
}
@media screen and (max-width: 40rem) {
  .scroll { overflow-x: visible; }
  table, tbody, tr, td, tr.group th { display: block; min-width: 0; }
  thead { display: none; }
  tbody tr { padding: .4rem 0; }
  td { display: flex; justify-content: space-between; gap: 1rem; padding: .1rem .2rem; }
  td, td.right, td.short, th { white-space: normal; overflow-wrap: anywhere; }
  td.long { display: block; min-width: 0; }
  td[data-label]::before { content: attr(data-label); color: var(--soft); font-weight: 400;
    text-align: left; flex: 0 1 50%; }
  td.long[data-label]::before { display: block; }
  td.none { display: none; }
  td:first-child { display: block; font-weight: 600; }
  td:first-child[data-label]::before { display: none; }
}
@page { size: A4; margin: 14mm;
  @bottom-right { content: counter(page) " / " counter(pages); font-size: 7pt; color: #555; } }
@page wide { size: A4 landscape; margin: 12mm; }
@media print {
  :root { --ink: #000; --soft: #555; --line: #bbb; --page: #fff; --band: #f3f3f3;
    --good: #0a6b2d; --bad: #b3261e; --warn: #8a5a00; --broken: #7b3fa0;
    color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  h2 { break-after: avoid; }
  figure, tr, .whole, .caption, pre { break-inside: avoid; }
  tr.group, .caption, summary { break-after: avoid; }
  .caption, figcaption { font-size: 8pt; }
  figure img { max-height: 165mm; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
  details > * { display: block; }
  summary { list-style: none; }
  .scroll { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td, .right, .short { padding: .15rem .3rem; white-space: normal; overflow-wrap: break-word; }
  td:first-child { min-width: 24mm; }
  .right.short { white-space: nowrap; }
  .wide .right.short { white-space: normal; }
  .wide td:first-child { min-width: 0; }
  .long { min-width: 0; }
  .wide { page: wide; }
  .wide table { font-size: 7pt; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
}
"""
SHORT, LONG = 24, 60  # characters of a cell that never breaks, and of one that needs room
UPRIGHT = 7  # columns on a printed page: more of them get one on its side

_TURNED = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]+"
    "(?:[ \u0300-\u036f]+[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]+)*"
)
"""Words that are written from right to left."""


def html(document: Document, *, picture: Callable[[str], bytes]) -> str:
    """The report; `picture` gives the SVG of a figure by its name."""
    body = "\n".join(_block(block, picture) for block in document.blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaping.escape(document.title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _block(block: Block, picture: Callable[[str], bytes]) -> str:
    match block:
        case Heading():
            return f"<h{block.level}>{_text(block.text)}</h{block.level}>"
        case Paragraph():
            return f'<p class="{block.tone}">{_text(block.text)}</p>'
        case Bullets():
            return "<ul>" + "".join(f"<li>{_item(item)}</li>" for item in block.items) + "</ul>"
        case TextTable():
            return "\n".join(_table(block))
        case Picture():
            return _figure(block, picture)
        case Commands():
            return f"<pre><code>{_plain(block.text)}</code></pre>"
        case Appendix():
            parts = "\n".join(_block(part, picture) for part in block.blocks)
            summary = f"<summary><h2>{_text(block.title)}</h2></summary>"
            return f"<details>{summary}\n{parts}\n</details>"


def _figure(block: Picture, picture: Callable[[str], bytes]) -> str:
    """A picture that a small screen shows whole, and at its own size on a tap: the check box is the
    state of that, so no script is needed.
    """
    data = base64.b64encode(picture(block.name)).decode()
    alt, caption = escaping.escape(block.alt), _text(block.caption)
    return (
        '<figure><label class="picture"><input type="checkbox" aria-label="larger picture">'
        f'<img alt="{alt}" src="data:image/svg+xml;base64,{data}">'
        '<span class="hint">Tap the picture for its full size, and again to see it whole.</span>'
        f"</label><figcaption>{caption}</figcaption></figure>"
    )


def _text(text: str) -> str:
    return marked_up(text, plain=_plain, code=lambda part: f"<code>{_plain(part)}</code>")


def _plain(text: str) -> str:
    """Words from right to left stay by themselves: they must not turn `a − b` around."""
    return _TURNED.sub(lambda words: f"<bdi>{words[0]}</bdi>", escaping.escape(text))


def _item(item: Item) -> str:
    lead = f'<b class="{item.tone}">{_text(item.lead)}:</b> ' if item.lead else ""
    return lead + _text(item.text)


def _table(table: TextTable) -> Iterator[str]:
    wide = " wide" if len(table.columns) > UPRIGHT else ""
    whole = " whole" if is_short(table) else ""
    yield f'<div class="scroll{wide}{whole}"><p class="caption">{_text(table.caption)}</p><table>'
    yield f"<thead>{''.join(_header(table))}</thead>"
    yield "<tbody>"
    for row in table.rows:
        if isinstance(row, GroupRow):
            across = f'colspan="{len(table.columns)}" scope="colgroup"'
            yield f'<tr class="group"><th {across}>{_text(row.text)}</th></tr>'
            continue
        cells = (_cell(cell, column) for cell, column in zip(row, table.columns, strict=True))
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"


def _cell(cell: TableCell, column: TableColumn) -> str:
    """With the heading of its column, for where a row is shown as a list."""
    classes = [_class(cell.text, column.align), cell.tone, "none" if cell.text == "–" else ""]
    label = escaping.escape(" ".join(filter(None, (column.span, column.title))))
    named = f' data-label="{label}"' if label else ""
    text = f"<span>{_text(cell.text)}</span>"
    return f'<td class="{" ".join(filter(None, classes))}"{named}>{text}</td>'


def _header(table: TextTable) -> Iterator[str]:
    if any(column.span for column in table.columns):
        cells = (
            f'<th class="span" scope="colgroup" colspan="{width}">{_text(span)}</th>'
            if span
            else "<td></td>"
            for span, width in header_spans(table)
        )
        yield f"<tr>{''.join(cells)}</tr>"
    cells = (
        f'<th class="{column.align}" scope="col">{_text(column.title)}{_arrow(column)}</th>'
        for column in table.columns
    )
    yield f"<tr>{''.join(cells)}</tr>"


def _arrow(column: TableColumn) -> str:
    """Which way is better, as benchmarks show it; in words for who rests on it, or hears it."""
    if column.better is None:
        return ""
    arrow = "↑" if column.better == "higher" else "↓"
    return f' <abbr title="{column.better} is better">{arrow}</abbr>'


def _class(text: str, align: str) -> str:
    if align == "right":
        return "right short" if len(text) <= SHORT else "right"
    if len(text) <= SHORT:
        return "short"
    return "long" if len(text) > LONG else ""
