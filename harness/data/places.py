"""Where data lies on this machine: the user's own copies, and what the harness fetched."""

from __future__ import annotations

import os
from pathlib import Path


def own_copy(name: str) -> tuple[Path, ...]:
    """Where the user's own copy may lie: $HARNESS_DATA/<name> or $HARNESS_DATA; () if not set."""
    home = os.environ.get("HARNESS_DATA")
    if not home:
        return ()
    base = Path(home).expanduser()
    return (base / name, base)


def cache_dir() -> Path:
    """What the harness fetched and may fetch again: $HARNESS_CACHE, or ~/.cache/harness/data."""
    given = os.environ.get("HARNESS_CACHE")
    if given:
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "harness" / "data"
