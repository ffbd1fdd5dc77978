"""Blocks in exactly so many views, with ratios that cover their range evenly, as DINOv2 masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from harness.bounds import Unit, at_least, check_bounds
from harness.lazy import torch
from harness.masking.views import MASK_SAMPLERS, MaskInput, floor_count
from harness.masking.views.block import BlockWise


@MASK_SAMPLERS.register("stratified-blocks")
@dataclass(frozen=True, kw_only=True, slots=True)
class StratifiedBlocks(BlockWise):
    """Blocks in floor(probability * V) of a step's V views (arXiv 2304.07193, as released).

    `ratio` is cut into as many equal slices as views are masked, and each of them draws its ratio
    from a slice of its own; chance decides which view gets which. V are the views of all processes
    and micro-batches; the released code stratifies those of each process.
    """

    probability: Unit = 0.5  # share of the views that are masked, exactly
    smallest_block: Annotated[int, at_least(1, "patch", most=1_000_000)] = 4  # patches

    def __post_init__(self) -> None:
        check_bounds(self)

    def targets(self, inputs: MaskInput) -> torch.Tensor:
        """floor(ratio * N) patches of each masked view."""

        def sample(views: int) -> torch.Tensor:
            masked = int(self.probability * views + 1e-9)
            draws = torch.rand(views, generator=inputs.generator, dtype=torch.float64)
            order = torch.randperm(views, generator=inputs.generator)
            ratios = torch.zeros(views, dtype=torch.float64)
            slices = (torch.arange(masked) + draws[:masked]) / max(1, masked)
            ratios[order[:masked]] = self.between(slices)
            return floor_count(ratios, inputs.patches)

        return inputs.batch_slice.draw_for_slice(inputs.views, sample)

    def smallest(self, rows: int, columns: int) -> int:
        """Patches of the smallest block."""
        return self.smallest_block
