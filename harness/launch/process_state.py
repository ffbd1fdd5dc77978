"""Runs that share a process: each finds it as it would find one of its own."""

from __future__ import annotations

import gc
import os
import sys
import time
from pathlib import Path
from typing import Final

MARGIN = 1.0
"""Seconds by which the clock of a file may be behind this process's."""

BY_LIBRARIES: Final = ("TORCH", "TRITON_", "KINETO_", "CUDA_MODULE_LOADING")
"""How variables begin that libraries add to the environment when they are imported."""


def begin_run() -> None:
    """Free what the last run has left. What draws without a seed draws what nobody knows, as in a
    new process: never what the seed of the last run leads to.
    """
    gc.collect()
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
        self._folder = Path.cwd()
        self._began = time.time() - MARGIN
        self._files: dict[str, tuple[int, int, int]] = {}

    def is_as_new(self) -> bool:
        """Whether a run computes here what it would in a new process: no run has left a setting
        behind, and no file of code is other than the one that was imported.
        """
        return (
            self._environment == self._known_variables()
            and self._folder == Path.cwd()
            and _torch_is_as_new()
            and not any(map(self._changed, _source_files()))
        )

    def _known_variables(self) -> dict[str, str]:
        return {
            name: value
            for name, value in os.environ.items()
            if name in self._environment or not name.startswith(BY_LIBRARIES)
        }

    def _changed(self, file: str) -> bool:
        try:
            about = os.stat(file)
        except OSError:
            return True
        seen = (about.st_mtime_ns, about.st_size, about.st_ino)
        return about.st_ctime > self._began or self._files.setdefault(file, seen) != seen


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
        and not torch.backends.cudnn.benchmark
        and not torch.backends.cudnn.deterministic
    )


def _source_files() -> set[str]:
    """Of all that is imported, libraries too."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    # torch.ops and its like, made while it is imported, say `_ops.py`
    return {file for file in files if isinstance(file, str) and os.path.isabs(file)}
