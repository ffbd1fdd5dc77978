"""From the teacher's attention to hidden patches: what AttMask's masks share."""

from __future__ import annotations

from harness.lazy import torch
from harness.masking.views import Hidden, RatioMask, Sight, ranked, whole


def first_ranks(mask: RatioMask, sight: Sight) -> torch.Tensor:
    """(V, N) on the CPU: true at the first floor(r * N) ranks of masked views, r drawn once."""
    counts = whole(mask.ratios(sight, "batch"), sight.patches)
    return torch.arange(sight.patches) < counts[:, None]


def by_attention(sight: Sight, chosen: torch.Tensor) -> Hidden:
    """The patches whose rank, most attended first, is `chosen` (V, N)."""
    assert sight.attention is not None, "the mask looks at attention"
    assert sight.attention.shape == (sight.views, sight.patches), "attention of another grid"
    return ranked(sight.attention.argsort(dim=1, descending=True), chosen)
