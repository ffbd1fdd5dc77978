"""What this machine computes on, found without importing torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeAlias

Device: TypeAlias = Literal["cpu", "cuda"]


def resolve_device(wanted: str) -> Device:
    """`cpu` or `cuda`, for what a profile or the command line asks for: auto, cpu, cuda, cuda:1."""
    if wanted == "auto":
        return "cuda" if visible_gpus() else "cpu"
    return "cuda" if wanted.startswith("cuda") else "cpu"


def visible_gpus() -> list[str]:
    """The GPUs that processes started from here can use, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        names = [name.strip() for name in given.split(",")]
        return [name for name in names if name and not name.startswith("-")]
    # a container sees the devices it was given, and CUDA numbers those from 0
    return [str(index) for index, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]


def gpu_names() -> list[str]:
    """The models of the GPUs in this machine."""
    names = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = path.read_text(encoding="utf-8").splitlines()
        names += [line.partition(":")[2].strip() for line in lines if line.startswith("Model")]
    return names


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_jobs(device: Device, threads: int, processes: int = 1) -> int:
    """How many runs at once use this machine fully: one per GPU, or as many as the cores allow;
    fewer where several `processes` compute one run.
    """
    by_cores = max(1, cores() // max(1, threads * processes))
    by_gpus = max(1, len(visible_gpus()) // processes)
    return min(by_cores, by_gpus) if device == "cuda" else by_cores
