"""Images per second of a forward pass."""

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


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
