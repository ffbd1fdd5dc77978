"""From one network's grid of patches to another's."""

from __future__ import annotations

from harness.lazy import torch


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
