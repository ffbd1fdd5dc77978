"""Which commands of a user compute on this machine: timings need it to themselves."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from harness import variables
from harness.errors import HarnessError, cause
from harness.paths import own_temporary


class TimingLock:
    """A lock that commands share while they compute and that one holds alone while it times.

    Never waits. The lock ends with the process that holds it. It is a file in $HARNESS_LOCKS, or
    in a folder of the user's among the machine's temporary files.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._file = _opened(path or _folder() / f"harness-{os.getuid()}.lock")

    def acquire_shared(self) -> bool:
        """Compute beside others, unless one of them is timing."""
        return self._take(fcntl.LOCK_SH)

    def acquire_exclusive(self) -> bool:
        """Have the machine alone, if no other command computes; what was held before is given up
        in any case.
        """
        return self._take(fcntl.LOCK_EX)

    def release(self) -> None:
        """Hold nothing."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Hold nothing, for good."""
        os.close(self._file)

    def _take(self, how: int) -> bool:
        try:
            fcntl.flock(self._file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _folder() -> Path:
    named = variables.folder("HARNESS_LOCKS")
    if named is None:
        return own_temporary()
    try:
        named.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(
            f"$HARNESS_LOCKS is {named}, which cannot be made: {cause(error)}; name a folder that "
            "can be written"
        ) from None
    return named


def _opened(path: Path) -> int:
    """The lock file, made if need be: never through a link, never another user's."""
    advice = "remove it, or set HARNESS_LOCKS to a folder of yours"
    how = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = os.open(path, how, 0o600)
    except OSError as error:
        what = "it is a link" if path.is_symlink() else cause(error)
        raise HarnessError(f"the lock {path} cannot be opened: {what}; {advice}") from None
    about = os.fstat(file)
    if about.st_uid != os.getuid() or not stat.S_ISREG(about.st_mode):
        os.close(file)
        what = "not a file" if about.st_uid == os.getuid() else "another user's"
        raise HarnessError(f"the lock {path} is {what}: {advice}")
    return file
