"""From scores to the set of kept tokens."""

from __future__ import annotations

from harness.lazy import torch


def top_k(scores: torch.Tensor, keep: int) -> torch.Tensor:
    """Indices (B, K) of the `keep` highest of `scores` (B, N) in each row, in raster order.

    Raster order makes the gather friendly to memory and the result independent of how top-k breaks
    its order; a transformer does not see the order of its tokens.
    """
    patches = scores.shape[1]
    assert 1 <= keep <= patches, f"keep {keep} of {patches} patches"
    return scores.topk(keep, dim=1, sorted=False).indices.sort(dim=1).values


def kept_counts(kept: torch.Tensor, patches: int) -> torch.Tensor:
    """How often each patch position is in `kept` (B, K): counts (N,), int64, on its device."""
    return torch.bincount(kept.flatten(), minlength=patches)
