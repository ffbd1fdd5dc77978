"""Characters that a format cannot set, written by their numbers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby


def numbered(text: str, can_set: Callable[[str], bool]) -> str:
    """`text` with those that cannot be set as `[U+4E2D U+6587]`: still told apart, and findable."""
    if text.isascii():
        return text
    parts = []
    for settable, run in groupby(text, can_set):
        characters = "".join(run)
        numbers = " ".join(f"U+{ord(character):04X}" for character in characters)
        parts.append(characters if settable else f"[{numbers}]")
    return "".join(parts)


def explained(count: int, what: str) -> str:
    """The line that says so in a report."""
    characters = "one character" if count == 1 else f"{count} different characters"
    return (
        f"{what} has no glyph for {characters} of this report: they stand as numbers of Unicode, "
        "[U+4E2D] for the one of that number. The HTML and the Markdown report show them."
    )
