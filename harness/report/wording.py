"""How numbers are written in sentences and tables."""

from __future__ import annotations

from harness.report.model import Column, Source
from harness.report.statistics import Interval
from harness.text import count, number

NOUNS: dict[Source, tuple[str, str]] = {
    "paper": ("claim of the paper", "claims of the paper"),
    "ours": ("check of our own", "checks of our own"),
}
"""What claims are called by who makes them, one and several: the paper's come first."""

HEADINGS: dict[Source, str] = {"paper": "Claims of the paper", "ours": "Our own checks"}

OPERATORS = {">=": "≥", ">": ">", "<=": "≤", "<": "<"}


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


def fine(column: Column) -> int:
    """Decimals of a measured mean: one more than printed where seeds scatter, as printed where
    nothing does.
    """
    return column.decimals + 1 if column.evidence == "seeds" else column.decimals


def span(interval: Interval, decimals: int, *, sign: bool = False) -> str:
    """An interval in words: `74.8 to 75.4`."""
    write = signed if sign else number
    return f"{write(interval.low, decimals)} to {write(interval.high, decimals)}"


def times(value: float) -> str:
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
