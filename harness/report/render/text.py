"""Code in running text: words between backticks, as in Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable

_CODE = re.compile(r"`([^`\n]+)`")


def marked_up(text: str, *, plain: Callable[[str], str], code: Callable[[str], str]) -> str:
    """`text` with its words and its code each escaped for a format."""
    parts = _CODE.split(text)
    return "".join(code(part) if index % 2 else plain(part) for index, part in enumerate(parts))
