"""How numbers, times and options are written, in the terminal and in reports."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

SIGNIFICANT = 3  # digits shown of a value too small for its column's decimals
_ACTING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Characters that move a terminal's cursor, colour it or turn the direction of writing; all of the
kind but tabs and ends of lines, which lay out what is printed.
"""
_typed: ContextVar[bool] = ContextVar("typed", default=False)


def number(value: float, decimals: int) -> str:
    """Fixed decimals, thousands grouped from 10,000 on (as in 1770 and 23,677), a true minus sign,
    no minus zero.
    """
    text = f"{abs(value):.{decimals}f}"
    if abs(value) >= 9999.5:
        text = f"{abs(value):,.{decimals}f}"
    return f"−{text}" if value < 0 and float(text.replace(",", "")) else text


def enough_decimals(value: float, decimals: int) -> int:
    """`decimals`, or more where a value is so small that they would not show three digits of it."""
    if value == 0:
        return decimals
    return max(decimals, SIGNIFICANT - 1 - math.floor(math.log10(abs(value))))


def count(n: int, noun: str, plural: str = "") -> str:
    """`1 cell`, `2 cells`."""
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """A time as people say it: 41 s, 3 min 05 s, 2 h 10 min, 3 d 4 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def options(**values: object) -> str:
    """Options as their reader gives them: `--jobs 2 --threads 1` who typed a command, `jobs=2,
    threads=1` who calls from Python. A name alone where the value is None.
    """
    if not _typed.get():
        texts = (name if value is None else f"{name}={value!r}" for name, value in values.items())
        return ", ".join(texts)
    words = []
    for name, value in values.items():
        words.append(f"--{name.replace('_', '-')}")
        words += [] if value is None else [shlex.quote(str(value))]
    return " ".join(words)


def visible(text: str) -> str:
    """`text` without power over a terminal: control characters as `repr` writes them."""
    return _ACTING.sub(_escape, text)


def in_one_line(text: str, words: Iterable[str]) -> str:
    """`text` with each of the `words`, which somebody gave, in one line: a message of several lines
    says what each is, and a word must not look like one of them.
    """
    for word in words:
        if "\n" in word:
            text = text.replace(word, word.replace("\n", "\\n"))
    return text


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])  # \u of those that JSON has as they are, so that it stays JSON
    return f"\\x{number:02x}" if number < 0x20 else f"\\u{number:04x}"


@contextmanager
def as_typed() -> Iterator[None]:
    """What is said meanwhile is read by somebody who typed a command."""
    token = _typed.set(True)
    try:
        yield
    finally:
        _typed.reset(token)
