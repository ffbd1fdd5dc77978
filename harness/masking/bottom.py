"""The least attended tokens: the adversarial control of Table 6."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.lazy import torch
from harness.masking import CRITERIA, Criterion, View


@CRITERIA.register("student-attention-bottom")
@dataclass(frozen=True, kw_only=True, slots=True)
class StudentAttentionBottom(Criterion):
    """Keeps what the student attends to least (arXiv 2302.10494, Table 6, part c, "bottom-k")."""

    wants_student_attention: ClassVar[bool] = True

    def scores(self, view: View) -> torch.Tensor:
        """(B, N) negated saliency."""
        assert view.student_attention is not None
        return -view.student_attention.detach()
