"""Distillation of class probabilities (Hinton et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.bounds import Positive, check_bounds
from harness.lazy import torch
from harness.methods.losses import LOSSES, DistillationLoss

if TYPE_CHECKING:
    from harness.models.interface import ForwardOutput


@LOSSES.register("logit")
@dataclass(frozen=True, kw_only=True, slots=True)
class Logit(DistillationLoss):
    """T^2 * KL(teacher || student) at temperature T, summed over classes and averaged over the
    batch.

    MaskedKD averages over the batch only; DeiT's own soft loss also divides by the number of
    classes (arXiv 2302.10494, section 3.1; T = 1).
    """

    temperature: Positive = 1.0  # of both softmaxes
    hard: bool = False  # cross-entropy with the teacher's most likely class instead

    def __post_init__(self) -> None:
        check_bounds(self)

    def __call__(
        self, student: ForwardOutput, teacher: ForwardOutput, kept: torch.Tensor | None
    ) -> torch.Tensor:
        """Scalar; logits are (B, classes)."""
        functional = torch.nn.functional
        if self.hard:
            return functional.cross_entropy(student.logits.float(), teacher.logits.argmax(dim=1))
        log_student = functional.log_softmax(student.logits.float() / self.temperature, dim=1)
        log_teacher = functional.log_softmax(teacher.logits.float() / self.temperature, dim=1)
        kl = functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
        return kl * self.temperature**2
