"""How numbers, code and long texts are written, in sentences and tables of every format."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import zip_longest

from harness.report.document import GroupRow, TableCell, TextTable
from harness.report.model import ClaimSource, Verdict
from harness.report.statistics import Interval
from harness.run import TASKS
from harness.spec.table import Column
from harness.text import count, number

NOUNS: dict[ClaimSource, tuple[str, str]] = {
    "paper": ("claim of the paper", "claims of the paper"),
    "ours": ("check of our own", "checks of our own"),
}
"""What claims are called by who makes them, one and several: the paper's come first."""

HEADINGS: dict[ClaimSource, str] = {"paper": "Claims of the paper", "ours": "Our own checks"}

LONGEST_TITLE = 100  # characters
SHORT_TABLE = 900  # characters of a table that is not broken over pages

MARKS = {
    Verdict.REPRODUCED: "✓",
    Verdict.SUPPORTED: "✓",
    Verdict.MISPRINT: "✓",
    Verdict.INDICATIVE: "≈",
    Verdict.NOT_SETTLED: "?",
    Verdict.LEANING: "~",
    Verdict.OUT_OF_SCOPE: "⊘",
    Verdict.ABOVE: "▲",
    Verdict.BELOW: "▼",
    Verdict.CONTRADICTED: "✗",
    Verdict.FAILED: "!",
    Verdict.NOT_COMPARABLE: "–",
    Verdict.MISSING: "○",
    Verdict.NOT_RUN: "○",
}

OPERATORS = {">=": "≥", ">": ">", "<=": "≤", "<": "<"}

_CODE = re.compile(r"`([^`\n]+)`")


def marked(verdict: Verdict, word: str = "") -> str:
    """The verdict, or another word for it, with a mark that does not rely on colour."""
    return f"{MARKS[verdict]} {word or verdict}".replace(" ", "\N{NO-BREAK SPACE}")


def signed(value: float, decimals: int) -> str:
    """Like `number`, with a plus sign where it is positive."""
    text = number(value, decimals)
    return text if text.startswith("−") or value <= 0 else f"+{text}"


def with_unit(text: str, unit: str) -> str:
    """A number and its unit."""
    return f"{text}{unit}" if unit in ("", "×") else f"{text} {unit}"


def difference_unit(unit: str) -> str:
    """The unit of a difference: percentages differ by points."""
    return "points" if unit == "%" else unit


def decimals_shown(column: Column) -> int:
    """Decimals of a measured mean: one more than printed where seeds scatter, as printed where
    nothing does.
    """
    return column.decimals + 1 if column.evidence == "seeds" else column.decimals


def baseline_name(column: Column) -> str:
    """What the column's ratios are to, in words."""
    declared = TASKS.get(column.task.name).baseline
    return "baseline" if declared is None else declared.name


def judged_by_ratio(columns: Sequence[Column]) -> list[tuple[str, str]]:
    """By baseline: what is compared with it, in words."""
    compared: dict[str, list[Column]] = {}
    for column in columns:
        if column.is_ratio:
            compared.setdefault(baseline_name(column), []).append(column)
    return [
        (name, "speeds" if all(c.evidence == "timing" for c in those) else _labels(those))
        for name, those in compared.items()
    ]


def _labels(columns: Sequence[Column]) -> str:
    return listed([column.label for column in columns])


def interval_text(interval: Interval, decimals: int, *, sign: bool = False) -> str:
    """An interval in words: `74.8 to 75.4`."""
    write = signed if sign else number
    return f"{write(interval.low, decimals)} to {write(interval.high, decimals)}"


def ratio_text(value: float) -> str:
    """A ratio, with enough digits to tell close ones apart."""
    return f"{value:.2f}×" if abs(value) < 100 else f"{value:.0f}×"


def seeds(n: int) -> str:
    """`1 seed`, `3 seeds`."""
    return count(n, "seed")


def listed(items: list[str], most: int = 4) -> str:
    """`a, b and c`; long lists end in `and 12 more`."""
    if len(items) > most + 1:
        return f"{', '.join(items[:most])} and {len(items) - most} more"
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


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


def is_short(table: TextTable) -> bool:
    """Whether it stands on a single page where it can."""
    cells = [cell for row in table.rows if not isinstance(row, GroupRow) for cell in row]
    return sum(len(cell.text) for cell in cells) < SHORT_TABLE


def in_pieces(table: TextTable, most: Sequence[int]) -> list[GroupRow | tuple[TableCell, ...]]:
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


def header_spans(table: TextTable) -> list[tuple[str, int]]:
    """Headings that stand over several columns: (text, number of columns)."""
    spans: list[tuple[str, int]] = []
    for column in table.columns:
        if spans and column.span and spans[-1][0] == column.span:
            spans[-1] = (column.span, spans[-1][1] + 1)
        else:
            spans.append((column.span, 1))
    return spans


def ranges(seeds: Sequence[int]) -> str:
    """`0-2, 7`, of seeds in order."""
    parts: list[list[int]] = []
    for seed in seeds:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def looks_text(look_seeds: Sequence[Sequence[int]]) -> str:
    """As a CSV file has it: `3 (0-2); 6 (0-5)`."""
    return "; ".join(f"{len(seeds)} ({ranges(seeds)})" for seeds in look_seeds)
