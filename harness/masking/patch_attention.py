"""What the student's patches attend to, on average (Table 6, part a)."""

from __future__ import annotations

from dataclasses import dataclass

from harness.masking import CRITERIA, AttentionCriterion, AttentionSource
from harness.models.interface import Saliency


@CRITERIA.register("patch-attention")
@dataclass(frozen=True, kw_only=True, slots=True)
class PatchAttention(AttentionCriterion):
    """Attention that a patch gets from the patch queries of one block, mean over queries and heads.

    It needs that block's whole map. The only criterion for students without a class token (Swin).
    Source: arXiv 2302.10494, Table 6, "patch-patch attention"; the released code has no such part,
    so the mean is our reading of it.
    """

    layer: str = "last"  # first, middle, last, or the block's number, from 1

    def __post_init__(self) -> None:
        self.attention_source()  # FieldError where `layer` is none

    def attention_source(self) -> AttentionSource:
        """The student's patch rows in that block."""
        return AttentionSource(
            network="student", saliency=Saliency(layer=self.layer, queries="patches")
        )
