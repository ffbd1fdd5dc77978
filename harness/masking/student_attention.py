"""MaskedKD's criterion: what the student's own CLS token attends to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.lazy import torch
from harness.masking import CRITERIA, Criterion, View


@CRITERIA.register("student-attention")
@dataclass(frozen=True, kw_only=True, slots=True)
class StudentAttention(Criterion):
    """Softmaxed attention of the CLS query to the patches in the student's last block, mean over
    heads.

    It comes from the student's own training forward (mixed images, drop path on), so it costs
    nothing extra. Source: arXiv 2302.10494, section 3.2; "CLS-patch attention, last layer" of Table
    6.
    """

    wants_student_attention: ClassVar[bool] = True

    def scores(self, view: View) -> torch.Tensor:
        """(B, N) saliency."""
        assert view.student_attention is not None
        return view.student_attention.detach()
