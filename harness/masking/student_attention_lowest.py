"""The least attended tokens: the adversarial control of Table 6."""

from __future__ import annotations

from dataclasses import dataclass

from harness.lazy import torch
from harness.masking import CRITERIA, AttentionSource, Criterion, CriterionInput


@CRITERIA.register("student-attention-lowest")
@dataclass(frozen=True, kw_only=True, slots=True)
class StudentAttentionLowest(Criterion):
    """Keeps what the student attends to least (arXiv 2302.10494, Table 6, part c, "bottom-k")."""

    def attention_source(self) -> AttentionSource:
        """The student's CLS row in its last block."""
        return AttentionSource(network="student")

    def scores(self, inputs: CriterionInput) -> torch.Tensor:
        """(B, N) negated saliency."""
        assert inputs.attention is not None
        return -inputs.attention
