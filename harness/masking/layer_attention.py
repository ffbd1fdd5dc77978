"""The student's CLS attention in another layer than the last (Table 6, part b)."""

from __future__ import annotations

from dataclasses import dataclass

from harness.masking import CRITERIA, AttentionCriterion, AttentionSource
from harness.models.interface import Saliency


@CRITERIA.register("layer-attention")
@dataclass(frozen=True, kw_only=True, slots=True)
class LayerAttention(AttentionCriterion):
    """As `student-attention`, from any block: first, middle, last, or its number from 1.

    Of 12 blocks the middle one is the sixth, as in the paper (arXiv 2302.10494, Table 6).
    """

    layer: str = "middle"  # first, middle, last, or the block's number, from 1

    def __post_init__(self) -> None:
        self.attention_source()  # FieldError where `layer` is none

    def attention_source(self) -> AttentionSource:
        """The student's CLS row in that block: one more row of scores."""
        return AttentionSource(network="student", saliency=Saliency(layer=self.layer))
