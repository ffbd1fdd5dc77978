"""Distillation of class probabilities (Hinton et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.bounds import Positive, check_bounds
from harness.data.dataset import Labelling
from harness.lazy import torch
from harness.methods.losses import LOSSES, DistillationLoss, at_patches, check_same_grid
from harness.models.families import family_of

if TYPE_CHECKING:
    from harness.models.architectures import Architecture
    from harness.models.interface import ForwardOutput


@LOSSES.register("logit")
@dataclass(frozen=True, kw_only=True, slots=True)
class Logit(DistillationLoss):
    """T^2 * KL(teacher || student) at temperature T, summed over classes and averaged over the
    batch.

    MaskedKD averages over the batch only; DeiT's own soft loss also divides by the number of
    classes (arXiv 2302.10494, section 3.1; T = 1). Of networks that tell the class of every pixel,
    the average is over the patches that the teacher saw, too.
    """

    labellings: ClassVar[frozenset[Labelling]] = frozenset({"classes", "masks"})

    temperature: Positive = 1.0  # of both softmaxes
    hard: bool = False  # cross-entropy with the teacher's most likely class instead

    def __post_init__(self) -> None:
        check_bounds(self)

    def check(self, student: Architecture, teacher: Architecture) -> None:
        """Where classes of patches are compared, they must be the same patches."""
        if family_of(student).labelling == "masks":
            check_same_grid(student, teacher)

    def __call__(
        self, student: ForwardOutput, teacher: ForwardOutput, kept: torch.Tensor | None
    ) -> torch.Tensor:
        """Scalar; logits are (B, classes), or of patches (B, classes, N) and (B, classes, K)."""
        functional = torch.nn.functional
        own, taught = _rows(student.logits, kept), _rows(teacher.logits, None)
        if self.hard:
            return functional.cross_entropy(own.float(), taught.argmax(dim=1))
        log_student = functional.log_softmax(own.float() / self.temperature, dim=1)
        log_teacher = functional.log_softmax(taught.float() / self.temperature, dim=1)
        kl = functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
        return kl * self.temperature**2


def _rows(logits: torch.Tensor, kept: torch.Tensor | None) -> torch.Tensor:
    """A row of class scores for each image, or for each of its patches that the teacher saw."""
    if logits.dim() == 2:
        return logits
    return at_patches(logits.transpose(1, 2), kept).flatten(0, 1)
