"""What a third, frozen network attends to: self-supervised attention (Figure 3, Table 5)."""

from __future__ import annotations

from dataclasses import dataclass

from harness.masking import CRITERIA, AttentionCriterion, AttentionSource
from harness.models.interface import Saliency


@CRITERIA.register("saliency-model-attention")
@dataclass(frozen=True, kw_only=True, slots=True)
class SaliencyModelAttention(AttentionCriterion):
    """CLS row of the third network, `saliency_model`, mean over heads, on the student's image.

    With DINO weights it is the paper's "DINO attention" (arXiv 2302.10494, Figure 3 and Table 5).
    The saliency model's forward pass is extra; no cost column counts it.
    """

    layer: str = "last"  # first, middle, last, or the block's number, from 1

    def __post_init__(self) -> None:
        self.attention_source()  # FieldError where `layer` is none

    def attention_source(self) -> AttentionSource:
        """The saliency model's CLS row in that block."""
        return AttentionSource(network="saliency_model", saliency=Saliency(layer=self.layer))
