"""Which commands of a user compute on this machine: timings need it to themselves."""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness import variables
from harness.errors import HarnessError, cause
from harness.paths import own_temporary


@dataclass(frozen=True, slots=True)
class Holder:
    """Another command of the user's that computes, or times something, on this machine."""

    pid: int
    command: str
    stopped: int | None  # the process of it that is stopped (Ctrl-Z), if one is

    def __str__(self) -> str:
        """With what to do where nothing would ever happen by itself."""
        name = f"process {self.pid} ({self.command})"
        if self.stopped is None:
            return name
        which = "" if self.stopped == self.pid else f"its process {self.stopped} "
        go_on = f"`fg` in its terminal or `kill -CONT {self.stopped}`"
        return f"{name}: {which}is stopped; {go_on} lets it go on, `kill -9 {self.pid}` ends it"


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

    def holders(self) -> list[Holder]:
        """The others that hold it; none where the system does not tell (no Linux)."""
        inode, found = os.fstat(self._file).st_ino, []
        for line in _read(Path("/proc/locks")).splitlines():
            words = line.split()
            held = words[1:2] == ["FLOCK"] and words[5].rpartition(":")[2] == str(inode)
            pid = int(words[4]) if held else 0
            if pid > 0 and pid != os.getpid() and self._is_open_in(pid):
                found.append(_holder(pid))
        return found

    def _is_open_in(self, pid: int) -> bool:
        """Whether a process has this file, and not one of the same number elsewhere."""
        with suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    if os.path.samestat(os.stat(f"/proc/{pid}/fd/{name}"), os.fstat(self._file)):
                        return True
        return False

    def _take(self, how: int) -> bool:
        try:
            fcntl.flock(self._file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _holder(pid: int) -> Holder:
    processes = [pid, *map(int, _read(Path(f"/proc/{pid}/task/{pid}/children")).split())]
    stopped = (one for one in processes if _state(one) == "T")
    words = _read(Path(f"/proc/{pid}/cmdline")).rstrip("\0").split("\0")
    names = [os.path.basename(word) for word in words]
    if "harness" in names:
        words = ["harness", *words[names.index("harness") + 1 :]]
    return Holder(pid, " ".join(words), next(stopped, None))


def _state(pid: int) -> str:
    """R, S, T (stopped) and others; empty where the process is gone."""
    return _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2][1:2]


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


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
