"""HTML: one file with everything in it, for a screen of any size, bright or dark."""

from __future__ import annotations

import base64
import html as escaping
from collections.abc import Callable, Iterator

from harness.report.document import (
    Block,
    Bullets,
    Code,
    Document,
    Figure,
    GroupRow,
    Heading,
    Item,
    Paragraph,
    Table,
)
from harness.report.render.latex import spanned
from harness.report.render.text import marked_up

STYLE = """
:root { --ink: #1f2328; --soft: #656d76; --line: #d8dee4; --page: #ffffff; --band: #f6f8fa;
  --good: #0a6b2d; --bad: #b3261e; --warn: #8a5a00; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d;
  --page: #0d1117; --band: #161b22; --good: #56d364; --bad: #ff8a80; --warn: #e3b341; } }
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
.scroll { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .88rem; line-height: 1.4; min-width: 100%; }
th, td { padding: .3rem .6rem; text-align: left; vertical-align: top; }
th { font-weight: 600; white-space: nowrap; }
thead tr:last-child th { border-bottom: 2px solid var(--line); }
thead th.span { text-align: center; border-bottom: 1px solid var(--line); }
tbody tr { border-bottom: 1px solid var(--line); }
tr.group th { background: var(--band); }
.right { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.short { white-space: nowrap; }
.long { min-width: 15rem; }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; }
.warn { color: var(--warn); font-weight: 600; }
.muted { color: var(--soft); }
"""
SHORT, LONG = 24, 60  # characters of a cell that never breaks, and of one that needs room


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
        case Table():
            return "\n".join(_table(block))
        case Figure():
            data = base64.b64encode(picture(block.name)).decode()
            image = (
                f'<img alt="{escaping.escape(block.alt)}" src="data:image/svg+xml;base64,{data}">'
            )
            return f"<figure>{image}<figcaption>{_text(block.caption)}</figcaption></figure>"
        case Code():
            return f"<pre><code>{escaping.escape(block.text)}</code></pre>"


def _text(text: str) -> str:
    return marked_up(
        text, plain=escaping.escape, code=lambda part: f"<code>{escaping.escape(part)}</code>"
    )


def _item(item: Item) -> str:
    lead = f'<b class="{item.tone}">{_text(item.lead)}:</b> ' if item.lead else ""
    return lead + _text(item.text)


def _table(table: Table) -> Iterator[str]:
    yield f'<p class="caption">{_text(table.caption)}</p>'
    yield '<div class="scroll"><table>'
    yield f"<thead>{''.join(_header(table))}</thead>"
    yield "<tbody>"
    for row in table.rows:
        if isinstance(row, GroupRow):
            width = len(table.columns)
            yield f'<tr class="group"><th colspan="{width}">{_text(row.text)}</th></tr>'
            continue
        cells = (
            f'<td class="{_class(cell.text, column.align)} {cell.tone}">{_text(cell.text)}</td>'
            for cell, column in zip(row, table.columns, strict=True)
        )
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"


def _header(table: Table) -> Iterator[str]:
    if any(column.span for column in table.columns):
        cells = (
            f'<th class="span" colspan="{width}">{_text(span)}</th>' if span else "<th></th>"
            for span, width in spanned(table)
        )
        yield f"<tr>{''.join(cells)}</tr>"
    cells = (f'<th class="{column.align}">{_text(column.title)}</th>' for column in table.columns)
    yield f"<tr>{''.join(cells)}</tr>"


def _class(text: str, align: str) -> str:
    if align == "right":
        return "right"
    if len(text) <= SHORT:
        return "short"
    return "long" if len(text) > LONG else ""
