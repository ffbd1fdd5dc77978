"""DINO's schedules: plain functions of step and epoch."""

from __future__ import annotations

import math


def cosine(start: float, end: float, step: int, total: int) -> float:
    """From `start` at step 0 towards `end`, which step `total` would reach."""
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * step / total))


def warmed_up(start: float, end: float, epoch: int, epochs: int) -> float:
    """Linear by whole epochs from `start` (epoch 0) to `end` (epoch `epochs` - 1), then `end`."""
    if epoch >= epochs:
        return end
    return start if epochs == 1 else start + (end - start) * epoch / (epochs - 1)
