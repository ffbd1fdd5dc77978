"""Runs that share a process: each finds it as it would find one of its own."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from types import ModuleType
from typing import Any, Final

MARGIN = 1.0
"""Seconds by which the clock of a file may be behind this process's."""

BY_LIBRARIES: Final = ("TORCH", "TRITON_", "KINETO_", "CUDA_MODULE_LOADING")
"""How variables begin that libraries add to the environment when they are imported."""


def begin_run() -> None:
    """Free what the last run has left. What draws without a seed draws what nobody knows, as in a
    new process: never what the seed of the last run leads to.
    """
    gc.collect()
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    torch = sys.modules.get("torch")
    if torch is None:
        return
    torch.seed()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


class ProcessState:
    """What this process was when it began."""

    def __init__(self) -> None:
        self._environment = dict(os.environ)
        self._surroundings = _surroundings()
        self._threads = set(threading.enumerate())
        self._modules: dict[str, ModuleType] = dict(sys.modules)
        self._began = time.time() - MARGIN
        self._files: dict[str, tuple[int, int, int]] = {}

    def is_as_new(self) -> bool:
        """Whether a run computes here what it would in a new process: no run has left a setting or
        a thread behind, no module is another, and no file of code is other than the one that was
        imported.
        """
        return (
            self._environment == self._known_variables()
            and self._surroundings == _surroundings()
            and self._threads.issuperset(threading.enumerate())
            and not multiprocessing.active_children()
            and _torch_is_as_new()
            and self._modules_are_the_same()
            and not any(map(self._changed, _source_files()))
        )

    def _known_variables(self) -> dict[str, str]:
        return {
            name: value
            for name, value in os.environ.items()
            if name in self._environment or not name.startswith(BY_LIBRARIES)
        }

    def _modules_are_the_same(self) -> bool:
        modules = dict(sys.modules)
        same = all(modules.get(name) is module for name, module in self._modules.items())
        self._modules = modules
        return same

    def _changed(self, file: str) -> bool:
        try:
            about = os.stat(file)
        except OSError:
            return True
        seen = (about.st_mtime_ns, about.st_size, about.st_ino)
        return about.st_ctime > self._began or self._files.setdefault(file, seen) != seen


def _surroundings() -> tuple[Any, ...]:
    """What a run finds around it: its folder (None: it is gone), the rights of its files, where
    modules are looked for, who handles a stop.
    """
    umask = os.umask(0o022)
    os.umask(umask)
    try:
        folder = os.getcwd()
    except FileNotFoundError:
        folder = None
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)]
    return folder, umask, tuple(sys.path), handlers, sys.getrecursionlimit(), sys.stdout, sys.stderr


def _torch_is_as_new() -> bool:
    torch = sys.modules.get("torch")
    if torch is None:
        return True
    return (
        torch.get_default_dtype() == torch.float32
        and torch.get_default_device().type == "cpu"
        and torch.get_float32_matmul_precision() == "highest"
        and torch.is_grad_enabled()
        and not torch.is_inference_mode_enabled()
        and not torch.are_deterministic_algorithms_enabled()
        and not torch.is_anomaly_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.is_autocast_enabled("cuda")
        and torch.backends.mkldnn.enabled
        and torch.backends.cudnn.enabled
        and not torch.backends.cudnn.benchmark
        and not torch.backends.cudnn.deterministic
    )


def _source_files() -> set[str]:
    """Of all that is imported, libraries too."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    # torch.ops and its like, made while it is imported, say `_ops.py`
    return {file for file in files if isinstance(file, str) and os.path.isabs(file)}
