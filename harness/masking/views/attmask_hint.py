"""AttMask-Hint: as High, with a few of the most attended patches left as hints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.bounds import Unit
from harness.lazy import torch
from harness.masking.views import (
    MASK_SAMPLERS,
    MaskInput,
    PatchMask,
    RatioMask,
    by_attention,
    first_ranks,
    floor_count,
)


@MASK_SAMPLERS.register("attmask-hint")
@dataclass(frozen=True, kw_only=True, slots=True)
class AttMaskHint(RatioMask):
    """`attmask-high`, then floor(show * r' * N) of the top floor(show * N) patches are shown again
    (arXiv 2203.12719, section 3.2).

    As released: r' is a second draw of the ratio, independent of the mask's; the shown ones are
    drawn without replacement in each view, and nothing is hidden in their place. Where that rounds
    to none, none is shown (the released code stops with an error).
    """

    show: Unit = 0.1  # fraction of all patches that hints are taken from

    needs_attention: ClassVar[bool] = True

    def sample(self, inputs: MaskInput) -> PatchMask:
        """The highest ranks of each masked view without its hints."""
        second = self.between(torch.tensor(inputs.step_draws[1], dtype=torch.float64))
        shown = int(floor_count(self.show * second, inputs.patches))
        top = int(floor_count(torch.tensor(self.show, dtype=torch.float64), inputs.patches))
        chosen = first_ranks(self, inputs)
        noise = inputs.noise(top)
        hints = noise.argsort(dim=1)[:, :shown]
        return by_attention(inputs, chosen.scatter(1, hints, False))
