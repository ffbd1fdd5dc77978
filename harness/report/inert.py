"""Text that does nothing but stand there: the one rule for what specs, results and machines say
before it reaches a terminal, a page or a file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from functools import cache, lru_cache
from operator import is_
from typing import Any, TypeVar

Value = TypeVar("Value")

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
PARAGRAPH = "\n\n"
MOST_MARKS = 3  # accents on one letter: more reach into the lines around

_SPACES = re.compile(" {2,}")
_NUMBERS = re.compile(r"(?:int|float|bool|bytes|None|tuple|[\[\], .|])+")
"""The type of a field without text."""


def inert(text: str) -> str:
    """`text` without what is not seen but acts: characters that move a cursor, colour a terminal,
    turn the direction of writing or hide.

    White space becomes single spaces, blank lines stay. Invisible characters are left out; other
    controls, half surrogates, private and unassigned characters become U+FFFD.
    """
    if text.isascii() and text.isprintable() and "  " not in text:
        return text.strip()
    paragraphs = (_line(part) for part in text.replace("\r\n", "\n").split(PARAGRAPH))
    return PARAGRAPH.join(part for part in paragraphs if part)


def _line(text: str) -> str:
    kept: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= MOST_MARKS:
            kept.append(_seen(character))
    return _SPACES.sub(" ", unicodedata.normalize("NFC", "".join(kept))).strip(" ")


@lru_cache(maxsize=4096)
def _seen(character: str) -> str:
    if character == "\N{NO-BREAK SPACE}":
        return character
    category = unicodedata.category(character)
    if character.isspace() or category in ("Zs", "Zl", "Zp"):
        return " "
    if category == "Cf":  # zero width, direction, soft hyphens, tags
        return ""
    return REPLACEMENT if category in ("Cc", "Cs", "Co", "Cn") else character


def with_texts(value: Value, change: Callable[[str], str], *, but: frozenset[str]) -> Value:
    """`value` with `change` made to every text in it, except in fields that are called like `but`.

    Goes through data classes and tuples; what has not changed is the same object.
    """
    return _changed(value, _Changes(change), but)  # type: ignore[no-any-return]


class _Changes(dict[str, str]):
    """Texts as a change leaves them; many are there more than once."""

    def __init__(self, change: Callable[[str], str]) -> None:
        super().__init__()
        self._change = change

    def __missing__(self, text: str) -> str:
        new = self._change(text)
        self[text] = text if new == text else new
        return self[text]


def _changed(value: Any, texts: _Changes, but: frozenset[str]) -> Any:
    if value is None or isinstance(value, float | int | Enum):
        return value
    if isinstance(value, str):
        new = texts[value]
        return value if new == value else new
    if isinstance(value, tuple):
        if value and isinstance(value[0], float):
            return value  # thousands of them in curves
        parts = [_changed(part, texts, but) for part in value]
        return value if all(map(is_, parts, value)) else tuple(parts)
    cls: Any = type(value)
    moved = {}
    for name in _names(cls, but):
        old = getattr(value, name)
        new = _changed(old, texts, but)
        if new is not old:
            moved[name] = new
    return replace(value, **moved) if moved else value


@cache
def _names(cls: Any, but: frozenset[str]) -> tuple[str, ...]:
    """The fields of a data class that are gone through; none of what is none. Those that hold
    numbers alone, as their types say, are not: thousands of runs have some of each.
    """
    if not is_dataclass(cls):
        return ()
    return tuple(
        field.name
        for field in fields(cls)
        if field.name not in but and _NUMBERS.fullmatch(str(field.type)) is None
    )
