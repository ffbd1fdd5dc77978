"""Markdown, with pictures as files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tabulate import tabulate

from harness.report.document import (
    Bullets,
    Commands,
    Document,
    GroupRow,
    Heading,
    Item,
    Paragraph,
    Part,
    Picture,
    TableCell,
    TextTable,
)
from harness.report.format import marked_up

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|$~&])")


def markdown(document: Document, *, pictures: str) -> str:
    """The report; `pictures` is the folder of its PNG files, relative to it."""
    return "\n\n".join(_block(block, pictures) for block in document.unfolded()) + "\n"


def _block(block: Part, pictures: str) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {_text(block.text)}"
        case Paragraph():
            return _text(block.text)
        case Bullets():
            return "\n".join(f"- {_item(item)}" for item in block.items)
        case TextTable():
            return f"*{_text(block.caption)}*\n\n{_table(block)}"
        case Picture():
            return f"![{_text(block.alt)}]({pictures}/{block.name}.png)\n\n*{_text(block.caption)}*"
        case Commands():
            return f"```sh\n{block.text}\n```"


def _text(text: str) -> str:
    escaped = marked_up(
        " ".join(text.split()),
        plain=lambda part: _SPECIAL.sub(r"\\\1", part),
        code=lambda part: "`" + part.replace("|", "\\|") + "`",
    )
    return re.sub(r"^([-+]|\d+[.)])(?=\s)", r"\\\1", escaped)  # not a list


def _item(item: Item) -> str:
    return f"**{_text(item.lead)}:** {_text(item.text)}" if item.lead else _text(item.text)


def _table(table: TextTable) -> str:
    headers = [_text(f"{column.span} {column.title}".strip()) for column in table.columns]
    return tabulate(
        list(_rows(table)),
        headers=headers,
        tablefmt="pipe",
        disable_numparse=True,
        colalign=[column.align for column in table.columns],
    )


def _rows(table: TextTable) -> Iterator[list[str]]:
    for row in table.rows:
        if isinstance(row, GroupRow):
            yield [f"**{_text(row.text)}**", *[""] * (len(table.columns) - 1)]
        else:
            yield [_cell(cell) for cell in row]


def _cell(cell: TableCell) -> str:
    text = _text(cell.text)
    return f"**{text}**" if cell.tone in ("good", "bad", "broken") else text
