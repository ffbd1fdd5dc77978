"""Where data lies on this machine: the user's own copies, and what the harness fetched."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from harness import variables
from harness.data.naming import shown
from harness.errors import DataError, cause
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


def is_there(path: Path) -> bool:
    """Whether anything lies there; here and below DataError where that cannot be told."""
    return _mode(path) is not None


def is_folder(path: Path) -> bool:
    """Whether a folder lies there."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def is_file(path: Path) -> bool:
    """Whether a file lies there."""
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def cannot_read(path: Path, error: OSError) -> DataError:
    """What is told of a part of a user's copy that the system does not let read."""
    return DataError(f"{shown(path)}: cannot be read: {cause(error)}")


def _mode(path: Path) -> int | None:
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:  # a folder around it may not be entered, links lead in a circle
        raise cannot_read(path, error) from error
