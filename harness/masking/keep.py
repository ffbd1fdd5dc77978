"""From scores to the set of kept tokens: onto the teacher's grid of patches, then the best K."""

from __future__ import annotations

from harness.lazy import torch
from harness.masking import Criterion, CriterionInput


def to_grid(scores: torch.Tensor, source: tuple[int, int], target: tuple[int, int]) -> torch.Tensor:
    """Scores (B, h_s * w_s) as (B, h_t * w_t), bilinear (arXiv 2302.10494, section 4).

    Both grids cover the same image, so corners are aligned with corners of patches, not with their
    centres. Equal grids are left as they are.
    """
    assert scores.shape[1] == source[0] * source[1], f"{scores.shape[1]} scores, grid {source}"
    if source == target:
        return scores
    image = scores.float().reshape(-1, 1, *source)
    resized = torch.nn.functional.interpolate(image, target, mode="bilinear", align_corners=False)
    return resized.flatten(1)


def kept_patches(criterion: Criterion, inputs: CriterionInput) -> torch.Tensor:
    """The patches (B, K) that `criterion` keeps, in raster order."""
    scores = criterion.scores(inputs)
    assert scores.shape == (inputs.batch, inputs.patches), "scores of another grid"
    return top_k(scores, inputs.keep)


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
    flat = kept.flatten()
    # not `bincount`, for whose length the host waits
    return torch.zeros(patches, dtype=torch.int64, device=kept.device).index_add_(
        0, flat, torch.ones_like(flat)
    )
