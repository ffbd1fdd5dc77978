"""Images per second of a forward pass."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

SHORTEST = 2.0  # seconds of timing: less, and another program decides the median of small networks


def interleaved_seconds(
    passes: dict[str, Callable[[], object]], *, device: torch.device, warmup: int, repeats: int
) -> dict[str, list[float]]:
    """Seconds of every pass, at least `repeats` of each and `SHORTEST` of all, taken in turn so
    that a drifting machine slows all of them alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    turn, timed = 0, 0.0
    while turn < warmup + repeats or timed < SHORTEST:
        for name, run in passes.items():
            _synchronise(device)
            start = time.perf_counter()
            run()
            _synchronise(device)
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
                timed += seconds[name][-1]
        turn += 1
    return seconds


def median_ratio(slow: list[float], fast: list[float]) -> float:
    """Median over turns of slow / fast, each pair taken one after the other."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
