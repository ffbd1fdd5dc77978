"""Where data lies on this machine: the user's own copies, and what the harness fetched."""

from __future__ import annotations

import os
from pathlib import Path

from harness import variables
from harness.paths import own_temporary


def own_copy(name: str) -> tuple[Path, ...]:
    """Where the user's own copy may lie: $HARNESS_DATA/<name> or $HARNESS_DATA; () if not set."""
    base = variables.folder("HARNESS_DATA")
    return () if base is None else (base / name, base)


def cache_dir() -> Path:
    """What the harness fetched and may fetch again: $HARNESS_CACHE, or ~/.cache/harness/data;
    without a home, a folder of the user's among the temporary files.
    """
    chosen = variables.folder("HARNESS_CACHE")
    if chosen is not None:
        return chosen
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # as its specification asks
        return Path(base) / "harness" / "data"
    home = variables.home()
    if home is None:
        return own_temporary() / "data"
    return home / ".cache" / "harness" / "data"
