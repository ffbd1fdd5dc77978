"""From the teacher's attention to hidden patches: what AttMask's masks share."""

from __future__ import annotations

from harness.lazy import torch
from harness.masking.views import MaskInput, PatchMask, RatioMask, floor_count, from_ranks


def first_ranks(mask: RatioMask, sight: MaskInput) -> torch.Tensor:
    """(V, N) on the CPU: true at the first floor(r * N) ranks of masked views, r drawn once."""
    counts = floor_count(mask.ratios(sight, "batch"), sight.patches)
    return torch.arange(sight.patches) < counts[:, None]


def by_attention(sight: MaskInput, chosen: torch.Tensor) -> PatchMask:
    """The patches whose rank, most attended first, is `chosen` (V, N)."""
    assert sight.attention is not None, "the mask looks at attention"
    assert sight.attention.shape == (sight.views, sight.patches), "attention of another grid"
    return from_ranks(sight.attention.argsort(dim=1, descending=True), chosen)
