"""Where the project's files lie on this machine."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from harness import variables
from harness.errors import HarnessError, cause

PACKAGE = Path(__file__).resolve().parent


def project_root() -> Path:
    """The folder that the user works in: $HARNESS_HOME, or the nearest one upward that holds
    `experiments/`, or the checkout of this package, or, where it is installed, the current one.
    """
    home = variables.folder("HARNESS_HOME")
    if home is not None:
        return home.resolve()
    here = variables.current_folder().resolve()
    for folder in (here, *here.parents, PACKAGE.parent):
        if (folder / "experiments").is_dir():
            return folder
    return here


def experiments_root() -> Path:
    """The folder of the specs: the project's, or those that an installed package brings along."""
    project_specs = project_root() / "experiments"
    shipped = PACKAGE / "experiments"
    return shipped if shipped.is_dir() and not project_specs.is_dir() else project_specs


def project_file(name: str | Path) -> Path:
    """The file that a spec names: below `experiments/` one of the specs in use, else one of the
    project; or an absolute path.
    """
    if Path(name).parts[:1] == ("experiments",):
        return experiments_root().parent / name
    return project_root() / name


def own_temporary() -> Path:
    """A folder of this user's among the machine's temporary files, made if need be.

    Others may write beside it: HarnessError where what is there is not this user's alone.
    """
    try:
        path = Path(tempfile.gettempdir()).absolute() / f"harness-{os.getuid()}"
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
    except OSError as error:
        raise HarnessError(
            f"there is no place for temporary files ({cause(error)}): set TMPDIR to a folder that "
            "can be written"
        ) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise HarnessError(
            f"{path} must be a folder that belongs to you and that only you can write: remove it, "
            "or set TMPDIR to another place"
        )
    return path
