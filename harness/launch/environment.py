"""`environment.json`: what code, packages and hardware a run was computed with."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import sys
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import harness
from harness.device import CPUINFO, cores, gpu_names
from harness.launch.commands import CommandResult, call
from harness.run import Resources
from harness.store.files import read_json_or_nothing

SNAPSHOT = "snapshot.json"
"""Holds the facts on the code in a copy of it."""


def environment(resources: Resources) -> dict[str, Any]:
    """The facts, as JSON values. Those of torch only where it is loaded: `torch` is null before."""
    return {
        "harness": harness.__version__,
        **_code(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cpu": _cpu(),
        "cores": cores(),
        "threads": resources.threads,
        "processes": resources.processes,
        "gpus": gpu_names(),
        "device": resources.device,
        "torch": _torch(),
        "packages": _packages(),
    }


@cache
def _packages() -> dict[str, str]:
    versions = {item.metadata["Name"]: item.version for item in distributions()}
    return dict(sorted(versions.items(), key=lambda pair: pair[0].lower()))


@cache
def _code() -> dict[str, Any]:
    root = Path(harness.__file__).resolve().parents[1]
    if (root / SNAPSHOT).exists():  # a copy made for jobs, which knows where it comes from
        return read_json_or_nothing(root / SNAPSHOT)
    return code_facts(root)


def code_facts(root: Path) -> dict[str, Any]:
    """The commit of the checkout that holds the package, and a hash of what differs from it.

    Where there is no commit, `code` says why.
    """
    if not (root / ".git").exists():
        return {"commit": None, "dirty": None, "code": "not a git checkout"}
    head = _git(root, "rev-parse", "HEAD")
    if not head.ok:
        return {"commit": None, "dirty": None, "code": head.why}
    status = _git(root, "status", "--porcelain", "--", "harness", "experiments")
    changes = _git(root, "diff", "HEAD", "--", "harness", "experiments")
    commit = head.out.strip()
    if not (status.ok and changes.ok):
        why = changes.why if status.ok else status.why
        return {"commit": commit, "dirty": "unknown", "code": why}
    difference = status.out.strip() + changes.out.strip()
    dirty = hashlib.sha256(difference.encode()).hexdigest() if difference else None
    return {"commit": commit, "dirty": dirty}


def _git(root: Path, *arguments: str) -> CommandResult:
    return call("git", "-C", str(root), *arguments, seconds=20)


@cache
def _cpu() -> str:
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _torch() -> dict[str, Any] | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    return {
        "version": str(torch.__version__),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None,
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "omp_threads": os.environ.get("OMP_NUM_THREADS"),
    }
