"""Who may write into a run directory: the owner of its highest attempt.

An attempt is a file `attempts/NNNN.json` that is made by linking, which exactly one of many racing
processes can do, also over NFS. Its owner touches it every few seconds. When it is finished, or its
owner is dead, anybody may make the next number, and from then on the old owner, should it still be
running somewhere, is refused every write.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from harness.errors import HarnessError
from harness.store.files import (
    FileError,
    clock_of,
    link,
    now_text,
    read_json_or_nothing,
    replace_json,
    temporary_beside,
    write_json,
    writing,
)

ATTEMPTS = "attempts"
TTL = 60.0
"""Seconds without a heartbeat after which an owner is taken for dead, if it is not known to be."""
BEAT = 5.0
"""Seconds between heartbeats."""
_NAME = re.compile(r"[0-9]{4,9}\.json")


class LeaseLost(HarnessError):
    """Another process has taken the run over; this one must not write any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """A process; `machine` is a boot of a kernel and a process namespace, where `pid` counts."""

    host: str
    machine: str
    pid: int
    pid_start: str  # tells a process from a later one that got the same number
    job: str | None = None  # of SLURM

    @classmethod
    def here(cls) -> Self:
        """This process."""
        pid = os.getpid()
        return cls(
            host=socket.gethostname(),
            machine=this_machine(),
            pid=pid,
            pid_start=_start_of(pid) or "",
            job=this_job(),
        )

    @classmethod
    def from_dict(cls, value: object) -> Self | None:
        """From its JSON form; None where that is damaged."""
        if not isinstance(value, Mapping):
            return None
        try:
            job = value.get("job")
            return cls(
                host=str(value["host"]).encode("ascii", "replace").decode(),
                machine=str(value["machine"]),
                pid=int(value["pid"]),
                pid_start=str(value["pid_start"]),
                job=None if job is None else str(job),
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    def on_this_machine(self) -> bool:
        """Whether it ran (or runs) on this machine since its last boot."""
        return self.machine != "" and self.machine == this_machine()

    def has_ended(self) -> bool:
        """Whether it certainly has ended; False where that cannot be seen from here."""
        return self.on_this_machine() and _start_of(self.pid) != self.pid_start


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One try at a run."""

    number: int
    path: Path
    owner: Owner | None  # None: the file is damaged
    ended: bool
    outcome: str  # how it ended; empty: it has not, or did not say
    beat: float  # time of the last heartbeat, by the clock of the file system

    def alive(self, now: float | None = None) -> bool:
        """Whether its owner may still write; when in doubt, yes, until the heartbeat is too old.

        `now` is by the clock of the file system too, which is asked if need be: the reader's own
        may be wrong. A heartbeat from the future is none: a living owner's is set right in seconds.
        """
        if self.ended or (self.owner is not None and self.owner.has_ended()):
            return False
        return abs((clock_of(self.path.parent) if now is None else now) - self.beat) < TTL


def latest_attempt(directory: Path) -> Attempt | None:
    """The attempt that owns the run directory, alive or not."""
    number = latest_number(directory)
    if number == 0:
        return None
    path = _path(directory, number)
    content = read_json_or_nothing(path)
    try:
        beat = path.stat().st_mtime
    except FileNotFoundError:  # somebody removes the directory
        return None
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from error
    return Attempt(
        number=number,
        path=path,
        owner=Owner.from_dict(content.get("owner")),
        ended="ended" in content,
        outcome=str(content.get("outcome") or ""),
        beat=beat,
    )


def latest_number(directory: Path) -> int:
    """The highest attempt, 0 if there was none. Lists the folder: look-ups may be cached."""
    try:
        names = os.listdir(directory / ATTEMPTS)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise FileError(f"cannot read {directory / ATTEMPTS}: {error.strerror}") from error
    return max((int(name[:-5]) for name in names if _NAME.fullmatch(name)), default=0)


def claim(directory: Path, *, resources: Mapping[str, Any] | None = None) -> Lease | None:
    """Become the owner of a run directory; None while another process is, or was faster."""
    folder = directory / ATTEMPTS
    with writing(folder):
        try:
            folder.mkdir(exist_ok=True)
        except FileExistsError as error:
            raise FileError(f"cannot write {folder}: a file is in its way") from error
        before = latest_attempt(directory)
        number = 1 if before is None else before.number + 1
        content = {
            "attempt": number,
            "owner": asdict(Owner.here()),
            "started": now_text(),
            "resources": dict(resources or {}),
        }
        path = _path(directory, number)
        with suppress(FileNotFoundError), temporary_beside(path) as temporary:
            write_json(temporary, content)
            # against a file written just now: both times are by the clock of the file server
            if before is not None and before.alive(temporary.stat().st_mtime):
                return None
            return Lease(directory, number, content) if link(temporary, path) else None
        return None  # a new owner has tidied up meanwhile


class Lease:
    """The right to write into one run directory; as a context manager, it keeps itself alive."""

    def __init__(self, directory: Path, number: int, content: Mapping[str, Any]) -> None:
        self.directory = directory
        self.number = number
        self._content = content
        self._end = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.lost = False

    def __enter__(self) -> Lease:
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._heart.join()

    def ensure_held(self) -> None:
        """LeaseLost if a later attempt exists: called before every write."""
        latest = latest_number(self.directory)
        if latest == self.number:
            return
        self.lost = True
        attempt = latest_attempt(self.directory)
        if attempt is None:
            raise LeaseLost(f"{self.directory}: somebody removed the run directory; stopping")
        who = f" by {attempt.owner.host}, process {attempt.owner.pid}" if attempt.owner else ""
        raise LeaseLost(
            f"{self.directory}: attempt {self.number} was taken over as attempt {latest}{who} "
            "because its heartbeat had stopped; this process stops and writes nothing more"
        )

    def release(self, outcome: str, error: str | None = None) -> None:
        """Note how the attempt ended, so that the next one can start at once."""
        ending = {"ended": now_text(), "outcome": outcome, "error": error}
        replace_json(_path(self.directory, self.number), {**self._content, **ending})

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            with suppress(OSError):  # a file server that does not answer now may do so next time
                os.utime(_path(self.directory, self.number))
            with suppress(FileError):
                self.lost = self.lost or latest_number(self.directory) > self.number


def _path(directory: Path, number: int) -> Path:
    return directory / ATTEMPTS / f"{number:04d}.json"


def this_job() -> str | None:
    """The SLURM job that this process is part of; of an array, ARRAY_INDEX."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '0')}"
    return os.environ.get("SLURM_JOB_ID")


@cache
def this_machine() -> str:
    """The running kernel and process namespace; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start_of(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; None if there is none, or its zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return None if fields[0] in "ZX" else fields[19]
