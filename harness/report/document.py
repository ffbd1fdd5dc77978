"""A report as a sequence of blocks, so that its words are written once and every format only has to
draw them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Tone = Literal["", "good", "bad", "warn", "muted", "broken"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Heading:
    """A section title; level 1 is the title of the report."""

    text: str
    level: int = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Paragraph:
    """Running text."""

    text: str
    tone: Tone = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One point of a list: `lead` is set in bold before the text."""

    text: str
    lead: str = ""
    tone: Tone = ""  # of the lead


@dataclass(frozen=True, kw_only=True, slots=True)
class Bullets:
    """A list."""

    items: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TableCell:
    """Text in a table."""

    text: str
    tone: Tone = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableColumn:
    """A column: `weight` is its share of the width, `span` the heading it stands under together
    with neighbours.
    """

    title: str
    span: str = ""
    align: Literal["left", "right"] = "left"
    weight: float = 1.0
    better: Literal["higher", "lower"] | None = None  # of numbers, where a screen can show it


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRow:
    """A heading across the whole table."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTable:
    """A table; `name` is its label in LaTeX."""

    name: str
    caption: str
    columns: tuple[TableColumn, ...]
    rows: tuple[GroupRow | tuple[TableCell, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture, drawn by the figure of this name (`harness.report.figures`)."""

    name: str
    caption: str
    alt: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Commands:
    """Commands to copy."""

    text: str


Part: TypeAlias = Heading | Paragraph | Bullets | TextTable | Picture | Commands


@dataclass(frozen=True, kw_only=True, slots=True)
class Appendix:
    """What few readers want: folded on a screen, under a heading of its own on paper."""

    title: str
    blocks: tuple[Part, ...]


Block: TypeAlias = Part | Appendix


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A report; `subject` goes into running heads, `table` and `profile` into file metadata."""

    title: str
    subject: str
    blocks: tuple[Block, ...]

    def unfolded(self) -> tuple[Part, ...]:
        """Its blocks with those of appendices under their headings."""
        return tuple(
            part
            for block in self.blocks
            for part in (
                (Heading(text=block.title), *block.blocks)
                if isinstance(block, Appendix)
                else (block,)
            )
        )
