"""MaskedKD's criterion: what the student's own CLS token attends to."""

from __future__ import annotations

from dataclasses import dataclass

from harness.masking import CRITERIA, AttentionCriterion, AttentionSource


@CRITERIA.register("student-attention")
@dataclass(frozen=True, kw_only=True, slots=True)
class StudentAttention(AttentionCriterion):
    """Softmaxed attention of the CLS query to the patches in the student's last block, mean over
    heads.

    It comes from the student's own training forward (mixed images, drop path on), so it costs
    nothing extra. Source: arXiv 2302.10494, section 3.2; "CLS-patch attention, last layer" of Table
    6.
    """

    def attention_source(self) -> AttentionSource:
        """The student's CLS row in its last block."""
        return AttentionSource(network="student")
