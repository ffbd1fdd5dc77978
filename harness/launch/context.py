"""The run directory as a run sees it while a worker executes it."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.distributed import DistContext
from harness.run import Resources
from harness.store import RUNNING, Progress, RunWriter
from harness.store.files import now_text

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

STATE_SECONDS = 2.0
"""How often `state.json` is rewritten while a run makes progress."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""
LARGEST_KEPT, MOST_KEPT = 32 << 20, 256 << 20
"""Bytes of a piece of memory, and of all at the end of the heap, that a process keeps."""


class WorkerContext:
    """Implements `harness.run.RunContext` over the lease of one run directory."""

    def __init__(
        self,
        writer: RunWriter,
        *,
        resources: Resources,
        dependencies: Mapping[str, Path],
        stopping: Callable[[], bool],
        dist: DistContext | None = None,
        rendezvous_store: Store | None = None,
    ) -> None:
        self.directory = writer.directory
        self.resources = resources
        self.dependencies = dependencies
        self.dist = dist or DistContext()
        self.rendezvous_store = rendezvous_store
        self._writer = writer
        self._stopping = stopping
        self._doubts: list[Callable[[], str | None]] = []
        self._first: tuple[float, int] | None = None  # time and step of the first progress
        self._written = 0.0

    def log(self, message: str) -> None:
        """One line for `log.txt`."""
        log(message)

    def metric(self, record: Mapping[str, Any]) -> None:
        """Append one JSON object to `metrics.jsonl`."""
        self._writer.metric(record)

    def progress(self, done: int, total: int, unit: str = "step") -> None:
        """Tell how far the run is."""
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
        self._writer.progress = Progress(done=done, total=total, unit=unit)
        if now - self._written >= STATE_SECONDS:
            self._written = now
            self._writer.state(RUNNING, eta=self._eta(done, total, now))

    def save_checkpoint(self, write: Callable[[Path], None]) -> None:
        """Replace `checkpoint.pt` by what `write` writes, and remember the metrics' length."""
        self._writer.save_checkpoint(write)

    def restore_checkpoint(self) -> Path | None:
        """The checkpoint to resume from, or None; cuts `metrics.jsonl` back to where it stood."""
        path, why = self._writer.restore_checkpoint()
        if why:
            self.log(f"starting from the beginning: {why}")
        return path

    def save_artifact(self, name: str, write: Callable[[Path], None]) -> None:
        """Put a final file into the run directory, atomically."""
        self._writer.save_artifact(name, write)

    def before_result(self, why_not: Callable[[], str | None]) -> None:
        """Have `why_not_kept` ask this too."""
        self._doubts.append(why_not)

    def why_not_kept(self) -> str | None:
        """The first reason, of those the run wants asked, why its result must not be kept."""
        return next((why for why_not in self._doubts if (why := why_not()) is not None), None)

    def should_stop(self) -> bool:
        """Whether the run should save its checkpoint and raise `Interrupted`."""
        if self._writer.lease.lost:
            self._writer.lease.ensure_held()
        return self._stopping()

    def _eta(self, done: int, total: int, now: float) -> float | None:
        since, first = self._first or (now, done)
        if done <= first:
            return None
        return round((now - since) / (done - first) * (total - done), 1)


def limit_threads(threads: int) -> None:
    """So that processes share the cores; libraries read the variables when they are loaded."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def keep_freed_memory() -> None:
    """So that what one batch has freed is there for the next one: glibc would give large pieces
    back, and the system would fill them with zeros every time, a fifth of an evaluation on a CPU.
    """
    with suppress(OSError, AttributeError):  # no glibc: its own ways
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        library.mallopt(M_TRIM_THRESHOLD, MOST_KEPT)


def end_with_parent() -> None:
    """End this process, whatever it does, when the one that started it is gone."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


def log(message: str) -> None:
    """One line with the time on stderr, which is `log.txt` while a run is executed."""
    with suppress(OSError):  # a full disk shows elsewhere, a reader that is gone does not matter
        print(f"{now_text()} {message}", file=sys.stderr, flush=True)
