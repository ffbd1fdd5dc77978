"""SpecAugment's masks (arXiv 1904.08779) over a batch of spectrograms, as AST draws them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.data.filterbank import PADDING
from harness.transfer import to_device


def masked_spans(
    values: Tensor,
    *,
    frequency: int,
    time: int,
    count: int,
    positions: Sequence[int],
    draws: torch.Generator,
) -> Tensor:
    """`values` (B, 1, bins, windows) with one span of bins and one of windows at `PADDING` in each.

    A span of at most w has the length floor(u w) and begins at floor(v (n - u w)), with u and v
    uniform in [0, 1) and n bins or windows (torchaudio's masks). The spectrograms stand at
    `positions` of a batch of `count`, which is drawn.
    """
    chosen = torch.tensor(positions)
    hidden = torch.zeros(len(values), 1, *values.shape[2:], dtype=torch.bool)
    for axis, most in ((2, frequency), (3, time)):
        drawn = torch.rand(2, count, generator=draws, dtype=torch.float64)[:, chosen]
        size = values.shape[axis]
        lengths = drawn[0] * most
        first = (drawn[1] * (size - lengths)).floor()
        at = torch.arange(size)
        span = (at >= first[:, None]) & (at < (first + lengths.floor())[:, None])
        hidden |= span[:, None, :, None] if axis == 2 else span[:, None, None, :]
    return values.masked_fill(to_device(hidden, values.device), PADDING)
