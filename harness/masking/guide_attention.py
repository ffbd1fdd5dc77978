"""What a third, frozen network attends to: self-supervised attention (Figure 3, Table 5)."""

from __future__ import annotations

from dataclasses import dataclass

from harness.masking import CRITERIA, AttentionCriterion, Look
from harness.models.interface import Saliency


@CRITERIA.register("guide-attention")
@dataclass(frozen=True, kw_only=True, slots=True)
class GuideAttention(AttentionCriterion):
    """CLS row of the network that the row calls `guide`, mean over heads, on the student's image.

    With DINO weights it is the paper's "DINO attention" (arXiv 2302.10494, Figure 3 and Table 5).
    The guide's forward pass is extra; no cost column counts it.
    """

    layer: str = "last"

    def __post_init__(self) -> None:
        self.looks_at()

    def looks_at(self) -> Look:
        """The guide's CLS row in that block."""
        return Look(network="guide", saliency=Saliency(layer=self.layer))
