"""AttMask-Low: what the teacher attends to least is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.masking.views import (
    MASK_SAMPLERS,
    MaskInput,
    PatchMask,
    RatioMask,
    by_attention,
    first_ranks,
)


@MASK_SAMPLERS.register("attmask-low")
@dataclass(frozen=True, kw_only=True, slots=True)
class AttMaskLow(RatioMask):
    """The floor(ratio * N) patches with the teacher's lowest CLS attention (arXiv 2203.12719,
    section 3.2); otherwise as `attmask-high`.
    """

    needs_attention: ClassVar[bool] = True

    def sample(self, inputs: MaskInput) -> PatchMask:
        """The lowest ranks of each masked view."""
        return by_attention(inputs, first_ranks(self, inputs).flip(1))
