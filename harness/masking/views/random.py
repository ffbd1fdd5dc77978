"""Patches at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.lazy import torch
from harness.masking.views import (
    MASK_SAMPLERS,
    MaskInput,
    PatchMask,
    RatioMask,
    floor_count,
    from_ranks,
)
from harness.transfer import to_device


@MASK_SAMPLERS.register("random")
@dataclass(frozen=True, kw_only=True, slots=True)
class RandomMask(RatioMask):
    """Every patch is as likely as any other (iBOT's and AttMask's "random", MAE's at 75 %).

    The released codes draw one ratio per view; `ratio_per: batch` draws one for all views of a
    step, as AttMask's own masks do.
    """

    # view: every view draws its ratio; batch: one draw a step
    ratio_per: Literal["view", "batch"] = "view"

    @property
    def hides_equally(self) -> bool:
        """Where one ratio is everybody's."""
        one_ratio = self.ratio_per == "batch" or self.ratio[0] == self.ratio[1]
        return one_ratio and self.probability == 1

    def sample(self, inputs: MaskInput) -> PatchMask:
        """floor(ratio * N) patches of each masked view."""
        counts = floor_count(self.ratios(inputs, self.ratio_per), inputs.patches)
        noise = inputs.noise(inputs.patches)
        chosen = torch.arange(inputs.patches) < counts[:, None]
        return from_ranks(to_device(noise.argsort(dim=1), inputs.device), chosen)
