"""Patches at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.lazy import torch
from harness.masking.views import VIEW_MASKS, Hidden, RatioMask, Sight, ranked, whole


@VIEW_MASKS.register("random")
@dataclass(frozen=True, kw_only=True, slots=True)
class Random(RatioMask):
    """Every patch is as likely as any other (iBOT's and AttMask's "random", MAE's at 75 %).

    The released codes draw one ratio per view; `ratio_per: batch` draws one for all views of a
    step, as AttMask's own masks do.
    """

    ratio_per: Literal["view", "batch"] = "view"

    def hide(self, sight: Sight) -> Hidden:
        """floor(ratio * N) patches of each masked view."""
        counts = whole(self.ratios(sight, self.ratio_per), sight.patches)
        noise = sight.noise(sight.patches)
        chosen = torch.arange(sight.patches) < counts[:, None]
        return ranked(noise.argsort(dim=1).to(sight.device), chosen)
