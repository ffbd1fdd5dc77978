"""What the teacher itself attends to: a control of Figure 3."""

from __future__ import annotations

from dataclasses import dataclass

from harness.masking import CRITERIA, AttentionCriterion, AttentionSource
from harness.models.interface import Saliency


@CRITERIA.register("teacher-attention")
@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherAttention(AttentionCriterion):
    """CLS row of the teacher on all patches, mean over heads (arXiv 2302.10494, Figure 3).

    A control, not a saving: the teacher first runs on the whole image to find what to keep. The
    published costs of masked teachers leave that out, and so do the cost columns here.
    """

    layer: str = "last"  # first, middle, last, or the block's number, from 1

    def __post_init__(self) -> None:
        self.attention_source()  # FieldError where `layer` is none

    def attention_source(self) -> AttentionSource:
        """The teacher's CLS row in that block."""
        return AttentionSource(network="teacher", saliency=Saliency(layer=self.layer))
