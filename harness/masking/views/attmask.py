"""AttMask's masks: what the teacher attends to most is hidden, or least, or all but a few hints
(arXiv 2203.12719).
"""

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
    floor_count,
    from_ranks,
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


def first_ranks(mask: RatioMask, inputs: MaskInput) -> torch.Tensor:
    """(V, N) on the CPU: true at the first floor(r * N) ranks of masked views, r drawn once."""
    counts = floor_count(mask.ratios(inputs, "batch"), inputs.patches)
    return torch.arange(inputs.patches) < counts[:, None]


def by_attention(inputs: MaskInput, chosen: torch.Tensor) -> PatchMask:
    """The patches whose rank, most attended first, is `chosen` (V, N)."""
    assert inputs.attention is not None, "the mask needs attention"
    assert inputs.attention.shape == (inputs.views, inputs.patches), "attention of another grid"
    return from_ranks(inputs.attention.argsort(dim=1, descending=True), chosen)
