"""From the teacher's attention to hidden patches: what AttMask's masks share."""

from __future__ import annotations

from harness.lazy import torch
from harness.masking.views import MaskInput, PatchMask, RatioMask, floor_count, from_ranks


def first_ranks(mask: RatioMask, inputs: MaskInput) -> torch.Tensor:
    """(V, N) on the CPU: true at the first floor(r * N) ranks of masked views, r drawn once."""
    counts = floor_count(mask.ratios(inputs, "batch"), inputs.patches)
    return torch.arange(inputs.patches) < counts[:, None]


def by_attention(inputs: MaskInput, chosen: torch.Tensor) -> PatchMask:
    """The patches whose rank, most attended first, is `chosen` (V, N)."""
    assert inputs.attention is not None, "the mask needs attention"
    assert inputs.attention.shape == (inputs.views, inputs.patches), "attention of another grid"
    return from_ranks(inputs.attention.argsort(dim=1, descending=True), chosen)
