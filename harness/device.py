"""What this machine computes on, found without importing torch."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias

from harness.text import count, options

Device: TypeAlias = Literal["cpu", "cuda"]

DRIVERS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd", "/dev/nvhost-gpu")
"""What drivers of GPUs show, one or the other; the third is that of a virtual Linux on Windows."""
CPUINFO = Path("/proc/cpuinfo")
CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def resolve_device(wanted: str) -> Device:
    """`cpu` or `cuda`, for what a profile or the command line asks for: auto, cpu, cuda, cuda:1."""
    if wanted == "auto":
        # a login shell may name GPUs that this machine does not have
        return "cuda" if visible_gpus() and _has_driver() else "cpu"
    return "cuda" if wanted.startswith("cuda") else "cpu"


def visible_gpus() -> list[str]:
    """The GPUs that processes started from here can use, as CUDA_VISIBLE_DEVICES names them.

    As CUDA reads it: numbers, or the beginnings of names (`GPU-...`, `MIG-...`), up to the first
    that is none; nothing where one is there twice.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        # a container sees the devices it was given, and CUDA numbers those from 0
        return [str(index) for index, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]
    names: list[str] = []
    for name in (part.strip() for part in visible.split(",")):
        if not re.fullmatch(r"\d+|(GPU|MIG)-\S+", name):
            break
        names.append(name)
    return [] if len(set(names)) < len(names) else names


def no_gpu(wanted: str) -> str | None:
    """Why this machine has no such GPU as `cuda` or `cuda:1`; None where it has, where that cannot
    be told (not every driver numbers its GPUs in /dev), and for any other device.
    """
    gpus = visible_gpus()
    if not wanted.startswith("cuda"):
        return None
    if not _has_driver() or (not gpus and "CUDA_VISIBLE_DEVICES" in os.environ):
        return "this machine shows no GPU"
    if gpus and int(wanted.partition(":")[2] or 0) >= len(gpus):
        return f"this machine shows {count(len(gpus), 'GPU')}, from cuda:0 on"
    return None


def _has_driver() -> bool:
    return any(Path(path).exists() for path in DRIVERS)


def gpu_names() -> list[str]:
    """The models of the GPUs in this machine."""
    names = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        with suppress(OSError):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            names += [line.partition(":")[2].strip() for line in lines if line.startswith("Model")]
    return names


def cpu_has_bf16() -> bool | None:
    """Whether this machine's CPU multiplies bf16 itself; None where Linux does not say.

    One that does not computes bf16 in fp32 and rounds, which takes longer than fp32.
    """
    try:
        words = set(CPUINFO.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return None
    if words.isdisjoint({"flags", "Features"}):  # of x86, of ARM
        return None
    return not words.isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


def cores() -> int:
    """How many cores this process may use: of those it may run on, what its container is given."""
    if hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    else:
        usable = os.cpu_count() or 1
    return max(1, math.floor(min([float(usable), *_quotas()])))


def default_jobs(device: Device, threads: int, processes: int = 1) -> int:
    """How many runs at once use this machine fully: one per GPU, or as many as the cores allow;
    fewer where several `processes` compute one run.
    """
    by_cores = max(1, cores() // max(1, threads * processes))
    by_gpus = max(1, len(visible_gpus()) // processes)
    return min(by_cores, by_gpus) if device == "cuda" else by_cores


def crowded(device: Device, threads: int, *, jobs: int, processes: int = 1) -> str:
    """What to say where `jobs` runs, each of so many `processes` of `threads` threads, have fewer
    cores than threads; empty where they have enough.
    """
    available, each = cores(), threads * processes
    if device == "cuda" or jobs * each <= available:
        return ""
    best = max(1, available // each)
    fewer = {"jobs": best} if best < jobs else {}
    if threads > available:
        fewer["threads"] = available
    if processes > 1 and each > available:
        fewer["processes"] = max(1, available // threads)
    what = f"{count(jobs, 'run')} at once with "
    what += f"{count(processes, 'process', 'processes')} of " * (processes > 1)
    return (
        f"{what}{count(threads, 'thread')} each want {jobs * each} "
        f"cores, and there {'is' if available == 1 else 'are'} {available}: they slow each other "
        f"down; {options(**fewer)} is faster"
    )


def _quotas() -> Iterator[float]:
    """Cores' worth of time that a container's control groups allow, each of them."""
    try:
        lines = OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CGROUPS / controllers if controllers else CGROUPS
        lowest = root / path.strip("/")
        for folder in (lowest, *lowest.parents):
            with suppress(OSError, ValueError, ZeroDivisionError, IndexError):
                yield _quota(folder)
            if folder == root:
                break


def _quota(folder: Path) -> float:
    """Of version 2 or 1 of control groups; ValueError or OSError where there is no limit."""
    file = folder / "cpu.max"
    if file.exists():
        limit, period = file.read_text(encoding="ascii").split()
    else:
        limit = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii")
        period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii")
    if int(limit) <= 0:
        raise ValueError("no limit")
    return int(limit) / int(period)
