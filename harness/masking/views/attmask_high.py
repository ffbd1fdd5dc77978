"""AttMask-High: what the teacher attends to most is hidden."""

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


@MASK_SAMPLERS.register("attmask-high")
@dataclass(frozen=True, kw_only=True, slots=True)
class AttMaskHigh(RatioMask):
    """The floor(ratio * N) patches with the teacher's highest CLS attention (arXiv 2203.12719,
    section 3.2): last block, mean over heads.

    One ratio a step for all views; chance decides view by view, so that one global crop of an image
    may be masked and the other not.
    """

    needs_attention: ClassVar[bool] = True

    def sample(self, inputs: MaskInput) -> PatchMask:
        """The highest ranks of each masked view."""
        return by_attention(inputs, first_ranks(self, inputs))
