"""Which process works on a run, written so that others can tell whether it still exists."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self


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
    def read(cls, value: object) -> Self | None:
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

    def plain(self) -> dict[str, Any]:
        """Its JSON form."""
        return asdict(self)

    def local(self) -> bool:
        """Whether it ran (or runs) on this machine since its last boot."""
        return self.machine != "" and self.machine == this_machine()

    def gone(self) -> bool:
        """Whether it certainly has ended; False where that cannot be seen from here."""
        return self.local() and _start_of(self.pid) != self.pid_start


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
