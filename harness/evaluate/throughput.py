"""Images per second of a forward pass, and the memory it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


def interleaved_seconds(
    passes: dict[str, Callable[[], object]], *, device: torch.device, warmup: int, repeats: int
) -> dict[str, list[float]]:
    """Seconds of every pass, `repeats` times each, taken in turn so that a drifting machine slows
    all of them alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for turn in range(warmup + repeats):
        for name, run in passes.items():
            _synchronise(device)
            start = time.perf_counter()
            run()
            _synchronise(device)
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(slow: list[float], fast: list[float]) -> float:
    """Median over turns of slow / fast, each pair taken one after the other."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """Bytes that `run` needs at its peak beyond what was allocated before: the allocator's count,
    on a GPU only.
    """
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    return torch.cuda.max_memory_allocated(device) - before


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
