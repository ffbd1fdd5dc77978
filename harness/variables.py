"""The environment variables of the harness: one table, read and checked here alone.

An empty variable is one that is not set. A relative path is relative to the current directory, and
`~` is expanded. What cannot be used is a HarnessError that names the variable.
"""

from __future__ import annotations

import os
import stat
from difflib import get_close_matches
from pathlib import Path

from harness.errors import HarnessError, cause

VARIABLES = {
    "HARNESS_HOME": "folder that holds `experiments/`; else the nearest one upward, else the "
    "current one with the specs that come with the package",
    "HARNESS_RESULTS": "folder of the results; else `results` in that folder",
    "HARNESS_REPORTS": "folder of the reports; else `reports` beside the results",
    "HARNESS_DATA": "folder of your own data sets, only read",
    "HARNESS_CACHE": "folder of fetched data; else `~/.cache/harness/data`",
    "HARNESS_CLUSTER": "file that describes the cluster; else `~/.config/harness/cluster.yaml`",
    "HARNESS_LOCKS": "folder of the lock that timings need; else one of yours in `/tmp`",
    "HARNESS_PLUGINS": "modules or folders with components of your own, comma-separated",
    "HARNESS_OFFLINE": "1: download nothing",
}
"""What each is for; docs/environment.md has the same table."""


def value(name: str) -> str | None:
    """What the variable holds; None where it is not set, or empty."""
    assert name in VARIABLES, f"{name} is not in the table"
    return os.environ.get(name, "").strip() or None


def folder(name: str) -> Path | None:
    """The folder that the variable names, which may not exist yet; None where it is not set."""
    path = _path(name)
    if path is not None and _mode(path, name) not in (None, stat.S_IFDIR):
        raise HarnessError(f"${name} is {path}, which is no folder: name a folder")
    return path


def file(name: str) -> Path | None:
    """The file that the variable names, which may not exist; None where it is not set."""
    path = _path(name)
    if path is not None and _mode(path, name) == stat.S_IFDIR:
        raise HarnessError(f"${name} is {path}, which is a folder: name a file")
    return path


def user_path(text: str | Path, whose: str) -> Path:
    """A path as users write it, with `~` expanded; `whose` says where it stands."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        user = str(text).partition("/")[0]
        lack = (
            "there is no home directory (HOME is not set, and the user has no passwd entry)"
            if user == "~"
            else f"there is no user '{user[1:]}'"
        )
        raise HarnessError(f"{whose} is {text}: {lack}; write the path out") from None


def home() -> Path | None:
    """The user's home directory; None where there is none, as in some containers."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def current_folder() -> Path:
    """Where the command was started; HarnessError where that was removed meanwhile."""
    try:
        return Path.cwd()
    except OSError as error:
        raise HarnessError(
            f"the current directory cannot be used ({cause(error)}): change to another one"
        ) from None


def misspelt() -> list[str]:
    """A line for each variable that is nearly one of the table, and would do nothing."""
    found = sorted(name for name in os.environ if name not in VARIABLES)
    close = {name: get_close_matches(name.upper(), VARIABLES, n=1, cutoff=0.9) for name in found}
    return [
        f"${name} means nothing; did you mean ${near[0]}?" for name, near in close.items() if near
    ]


def _path(name: str) -> Path | None:
    text = value(name)
    if text is None:
        return None
    path = user_path(text, f"${name}")
    return Path(os.path.normpath(path if path.is_absolute() else current_folder() / path))


def _mode(path: Path, name: str) -> int | None:
    """What kind of file it is; None where nothing is there."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError) as error:
        why = cause(error) if isinstance(error, OSError) else "its links lead in a circle"
        raise HarnessError(f"${name} is {path}, which cannot be used: {why}") from None
