"""Opens regular files only: a pipe would keep its reader waiting, a device would never end."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO, Final

NOT_REGULAR: Final = "no regular file (a pipe, a device or a folder); remove it"


class NotRegularError(OSError):
    """What `open_regular` raises for anything else."""


def open_regular(path: str | bytes | os.PathLike[str]) -> BinaryIO:
    """The file at `path`, for reading; OSError if it cannot be opened or is of another kind."""
    file = open(path, "rb", opener=_at_once)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NotRegularError(None, NOT_REGULAR)
    return file


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
