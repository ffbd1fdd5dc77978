"""Text for every format: code in it (words between backticks, as in Markdown), and long texts in
parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import zip_longest

from harness.report.document import GroupRow, Table, TableCell

LONGEST_TITLE = 100  # characters

_CODE = re.compile(r"`([^`\n]+)`")


def marked_up(text: str, *, plain: Callable[[str], str], code: Callable[[str], str]) -> str:
    """`text` with its words and its code each escaped for a format."""
    parts = _CODE.split(text)
    return "".join(code(part) if index % 2 else plain(part) for index, part in enumerate(parts))


def title_of(text: str) -> str:
    """What stands above a column, cut where it would leave no room to what stands below."""
    return text if len(text) <= LONGEST_TITLE else f"{text[: LONGEST_TITLE - 1]}…"


def pieces(text: str, most: int) -> list[str]:
    """`text` in parts of at most `most` characters, cut between words where there are any."""
    parts = []
    while len(text) > most:
        cut = text.rfind(" ", 1, most + 1)
        cut = most if cut < most // 2 else cut
        parts.append(text[:cut].rstrip(" "))
        text = text[cut:].lstrip(" ")
    return [*parts, text]


def in_pieces(table: Table, most: Sequence[int]) -> list[GroupRow | tuple[TableCell, ...]]:
    """The rows of `table`; one with a cell of more than `most` characters of its column goes on in
    the rows that follow it, so that no row is taller than a page.
    """
    rows: list[GroupRow | tuple[TableCell, ...]] = []
    for row in table.rows:
        if isinstance(row, GroupRow):
            rows += [GroupRow(text=part) for part in pieces(row.text, sum(most))]
            continue
        cut = [pieces(cell.text, limit) for cell, limit in zip(row, most, strict=True)]
        for line in zip_longest(*cut, fillvalue=""):
            rows.append(
                tuple(replace(cell, text=part) for cell, part in zip(row, line, strict=True))
            )
    return rows
