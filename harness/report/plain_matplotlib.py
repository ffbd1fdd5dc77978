"""Matplotlib as it comes, whatever its user has configured: import it from here first.

A `matplotlibrc`, a style, a backend or a configuration folder of the user's must neither change a
plot nor break a report.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from harness import variables
from harness.errors import HarnessError
from harness.paths import own_temporary

_OF_THE_USER = ("MATPLOTLIBRC", "MPLBACKEND", "MATPLOTLIBDATA")


@contextmanager
def defaults() -> Iterator[None]:
    """Matplotlib's own settings, for the length of a block; the backend stays as it is."""
    with matplotlib.rc_context():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of keys that go away
            for key, value in matplotlib.rcParamsDefault.items():
                if not key.startswith("backend"):
                    matplotlib.rcParams[key] = value
        yield


def _imported() -> ModuleType:
    """The package; its own settings are read, since those in the current directory come first."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of folders it cannot write
    for name in _OF_THE_USER:
        os.environ.pop(name, None)
    _give_cache()
    package = importlib.util.find_spec("matplotlib")
    assert package is not None, "a dependency"
    assert package.origin is not None, "a package"
    here = os.open(".", os.O_RDONLY)  # of a directory that may have been removed
    try:
        os.chdir(Path(package.origin).parent / "mpl-data")
        return importlib.import_module("matplotlib")
    finally:
        os.fchdir(here)
        os.close(here)


def _give_cache() -> None:
    """A folder that can be written, for the list of fonts, which takes seconds to make."""
    named = os.environ.get("MPLCONFIGDIR")
    home = variables.home()
    place = Path(named) if named else None if home is None else home / ".cache"
    if place is not None and place.is_dir() and os.access(place, os.W_OK):
        return
    if not named and place is not None and not place.exists() and os.access(home or "/", os.W_OK):
        return
    with suppress(HarnessError, OSError):
        folder = own_temporary() / "matplotlib"
        folder.mkdir(exist_ok=True)
        os.environ["MPLCONFIGDIR"] = str(folder)


matplotlib = _imported()
