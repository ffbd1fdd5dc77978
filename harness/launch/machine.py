"""Which commands of a user compute on this machine: timings need it to themselves."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path


class Machine:
    """A lock that commands share while they compute and that one holds alone while it times.

    Never waits. The lock ends with the process that holds it. It is a file in $HARNESS_LOCKS, or
    among the machine's temporary files.
    """

    def __init__(self, path: Path | None = None) -> None:
        directory = Path(os.environ.get("HARNESS_LOCKS") or tempfile.gettempdir())
        self._path = path or directory / f"harness-{os.getuid()}.lock"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def share(self) -> bool:
        """Compute beside others, unless one of them is timing."""
        return self._take(fcntl.LOCK_SH)

    def alone(self) -> bool:
        """Have the machine alone, if no other command computes; what was held before is given up
        in any case.
        """
        return self._take(fcntl.LOCK_EX)

    def leave(self) -> None:
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
