"""Which positions of an image are chosen, in two numbers: how evenly they are used, and how far
from the centre they lie (what Figures 4 and 5 of MaskedKD, arXiv 2302.10494, show as maps).
"""

from __future__ import annotations

from harness.lazy import torch


def evenness(counts: torch.Tensor) -> float:
    """Of how often each of N positions was chosen, (N,): the number of positions, used equally
    often, that would have the same entropy, as a share of N. 1 is each as often as any other.
    """
    shares = counts.double() / counts.sum()
    entropy = -torch.xlogy(shares, shares).sum()
    return float(entropy.exp()) / len(counts)


def distance_from_centre(counts: torch.Tensor, grid: tuple[int, int]) -> float:
    """The mean distance of what was chosen from the centre of the grid, (h * w,) in raster order,
    as a multiple of the mean over all positions. 1 is what random patches have.
    """
    height, width = grid
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) - (height - 1) / 2,
        torch.arange(width, dtype=torch.float64) - (width - 1) / 2,
        indexing="ij",
    )
    distances = torch.hypot(y, x).flatten()
    shares = counts.double() / counts.sum()
    return float((shares * distances).sum() / distances.mean())
