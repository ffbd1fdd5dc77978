"""Text that does nothing but stand there: the one rule for what specs, results and machines say
before it reaches a terminal, a page or a file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar

Value = TypeVar("Value")

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
PARAGRAPH = "\n\n"
MOST_MARKS = 3  # accents on one letter: more reach into the lines around

_SPACES = re.compile(" {2,}")


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
    return _changed(value, change, but)  # type: ignore[no-any-return]


def _changed(value: Any, change: Callable[[str], str], but: frozenset[str]) -> Any:
    if isinstance(value, Enum | float | int | None):
        return value
    if isinstance(value, str):
        new = change(value)
        return value if new == value else new
    if isinstance(value, tuple):
        if value and isinstance(value[0], float):
            return value  # thousands of them in curves
        parts = tuple(_changed(part, change, but) for part in value)
        return value if all(a is b for a, b in zip(parts, value, strict=True)) else parts
    if is_dataclass(value) and not isinstance(value, type):
        old = {field.name: getattr(value, field.name) for field in fields(value)}
        new_parts = {
            name: part if name in but else _changed(part, change, but) for name, part in old.items()
        }
        moved = {name: part for name, part in new_parts.items() if part is not old[name]}
        return replace(value, **moved) if moved else value
    return value
