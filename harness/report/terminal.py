"""The short summary that `harness report` prints, as wide as the terminal."""

from __future__ import annotations

import os
import re
import sys
import textwrap
import unicodedata
from collections.abc import Sequence

from harness.report.document import GroupRow, TableColumn
from harness.report.format import HEADINGS, interval_text, marked, signed, with_unit
from harness.report.inference import CONFIDENCE_TEXT
from harness.report.main_table import main_table
from harness.report.model import ClaimResult, TableModel, Verdict
from harness.report.preconditions import outcome, values
from harness.report.summary import collapse, headline, untested
from harness.text import number

GAP = "  "
NARROWEST = 20  # columns of a terminal: below this nothing is arranged
LABEL_SHARE = 0.45  # of the width, for the names of rows


def terminal_width() -> int | None:
    """Columns of the terminal (or $COLUMNS); None where a file or a pipe is written to, which has
    no edge.
    """
    columns = os.environ.get("COLUMNS", "")
    if re.fullmatch("[0-9]{1,9}", columns) and int(columns):
        return max(NARROWEST, int(columns))
    try:
        return max(NARROWEST, os.get_terminal_size(sys.stdout.fileno()).columns)
    except (OSError, ValueError, AttributeError):
        return None


def overview(model: TableModel, width: int | None = None) -> str:
    """Verdicts in words, then the claims, then the table."""
    data = f", on {model.data}" if model.data else ""
    title = f"{model.table}, profile {model.profile}{data}"
    parts = [_wrapped(title, width), _wrapped(headline(model).replace("`", ""), width)]
    if text := collapse(model):
        parts.append(_wrapped(f"collapsed: {text}.", width))
    for source, heading in HEADINGS.items():
        if claims := model.claims_by(source):
            lines = [_wrapped(_claim(claim), width, first="  ", rest="    ") for claim in claims]
            parts.append("\n".join([heading, *lines]))
    if line := untested(model):
        parts.append(_wrapped(line.replace("`", ""), width))
    return "\n\n".join([*parts, _table(model, width)])


def _wrapped(text: str, width: int | None, *, first: str = "", rest: str = "") -> str:
    if width is None:
        return first + text
    return textwrap.fill(
        text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )


def _claim(claim: ClaimResult) -> str:
    verdict = f"{marked(claim.verdict):<15}".replace(" ", "\N{NO-BREAK SPACE}")
    lacking = (p for p in claim.preconditions if claim.verdict is Verdict.OUT_OF_SCOPE)
    given = "".join(
        f"; {outcome(p)}: {p.text} ({values(p)})"
        for p in lacking
        if p.verdict is not Verdict.SUPPORTED
    )
    if claim.estimate is None:
        return f"{verdict} {claim.claim.text}{given}"
    write = signed if " − " in claim.quantity else number
    estimate = with_unit(write(claim.estimate, claim.decimals), claim.unit)
    interval = (
        ""
        if claim.ci is None or claim.is_point
        else f", {CONFIDENCE_TEXT} CI {interval_text(claim.ci, claim.decimals)}"
    )
    return f"{verdict} {claim.claim.text}: {estimate}{interval}{given}"


def _table(model: TableModel, width: int | None) -> str:
    table = main_table(model)
    heads = [(column.span, column.title) for column in table.columns]
    rows = [
        [row.text]
        if isinstance(row, GroupRow)
        else [f"  {row[0].text}", *(c.text for c in row[1:])]
        for row in table.rows
    ]
    return columns_in(heads, rows, table.columns, width)


def columns_in(
    heads: Sequence[tuple[str, str]],
    rows: Sequence[Sequence[str]],
    columns: Sequence[TableColumn],
    width: int | None,
) -> str:
    """A table of at most `width` columns of a terminal: where it is wider, its columns stand in
    several tables one below the other, each with the names of the rows. A row with one text only is
    a heading.
    """
    lengths = [
        max([*map(shown_width, head), *(shown_width(row[at]) for row in rows if len(row) > at > 0)])
        for at, head in enumerate(heads)
    ]
    names = max([shown_width(row[0]) for row in rows if len(row) > 1], default=0)
    room = max(NARROWEST, width or 0) if width is not None else sum(lengths) + names + 10**6
    lengths[0] = min(max(lengths[0], names), max(8, int(LABEL_SHARE * room)))
    lengths[1:] = [min(length, room - lengths[0] - len(GAP)) for length in lengths[1:]]
    tables = []
    for block in _blocks(lengths, room):
        shown = [0, *block]
        lines = [
            _line([head[level] for head in (heads[at] for at in shown)], shown, lengths, columns)
            for level in (0, 1)
            if any(heads[at][level] for at in shown)
        ]
        lines.append(GAP.join("-" * lengths[at] for at in shown))
        for row in rows:
            if len(row) == 1:
                lines.append(cut(row[0], sum(lengths[at] + len(GAP) for at in shown) - len(GAP)))
            else:
                lines.append(_line([row[at] for at in shown], shown, lengths, columns))
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def _blocks(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Which columns stand side by side, beside the first."""
    blocks: list[list[int]] = [[]]
    used = lengths[0]
    for at, length in enumerate(lengths[1:], start=1):
        if blocks[-1] and used + len(GAP) + length > room:
            blocks.append([])
            used = lengths[0]
        blocks[-1].append(at)
        used += len(GAP) + length
    return blocks


def _line(
    texts: Sequence[str],
    shown: Sequence[int],
    lengths: Sequence[int],
    columns: Sequence[TableColumn],
) -> str:
    cells = []
    for text, at in zip(texts, shown, strict=True):
        text = cut(text, lengths[at])
        room = " " * (lengths[at] - shown_width(text))
        cells.append(room + text if columns[at].align == "right" else text + room)
    return GAP.join(cells).rstrip()


def shown_width(text: str) -> int:
    """How many columns of a terminal a text takes: Chinese characters and emoji take two."""
    return sum(map(_columns_of, text))


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, most: int) -> str:
    """At most `most` columns, with an ellipsis where there was more."""
    if shown_width(text) <= most:
        return text
    kept, used = [], 1
    for character in text:
        used += _columns_of(character)
        if used > most:
            break
        kept.append(character)
    return "".join(kept).rstrip() + "…"
