"""Supervised distillation, with MaskedKD when a `mask` is given (arXiv 2302.10494)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.errors import FieldError
from harness.lazy import torch
from harness.masking import Criterion, View
from harness.masking.keep import kept_counts, top_k
from harness.masking.student_attention import StudentAttention
from harness.methods import METHODS, Batch, Method, Networks, Objective, Step
from harness.methods.losses import DistillationLoss
from harness.methods.losses.logit import Logit
from harness.methods.supervised import soft_cross_entropy


@dataclass(frozen=True, kw_only=True, slots=True)
class Mask:
    """How many patches the teacher sees, and which."""

    keep: int  # patches, an absolute number: the paper's "75 %" of 196 is 144
    criterion: Criterion = StudentAttention()

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise FieldError("keep", f"must be at least 1 patch, got {self.keep}")


@METHODS.register("distillation")
@dataclass(frozen=True, kw_only=True, slots=True)
class Distillation(Method):
    """CE(labels) + weight * loss(student, teacher); with `mask`, the teacher sees only the kept
    patches.

    The paper writes CE + lambda * KL with lambda = 1; its released code halves both terms.
    """

    uses_teacher: ClassVar[bool] = True
    loss: DistillationLoss = Logit()
    weight: float = 1.0  # lambda
    mask: Mask | None = None

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise FieldError("weight", f"must not be negative, got {self.weight}")

    def teacher_keep(self, patches: int) -> int:
        """The mask's keep count, or all patches."""
        return patches if self.mask is None else min(self.mask.keep, patches)

    def build(self, networks: Networks) -> DistillationObjective:
        """The objective over student and teacher."""
        return DistillationObjective(self, networks)


class DistillationObjective(Objective):
    """Student forward, choice of patches, teacher forward on those alone, two losses."""

    def __init__(self, method: Distillation, networks: Networks) -> None:
        assert networks.teacher is not None
        self.method, self.student, self.teacher = method, networks.student, networks.teacher
        self.modules = {"student": networks.student}
        self._counts: torch.Tensor | None = (
            None  # (N,) how often each patch was kept since the last summary
        )
        self._images = 0

    def losses(self, batch: Batch, step: Step) -> dict[str, torch.Tensor]:
        """`total`, `ce` and `distill`."""
        mask = self.method.mask
        student = self.student(
            batch.images, cls_attention=mask is not None and mask.criterion.wants_student_attention
        )
        kept = None if mask is None else self._choose(mask, student.cls_attention, batch, step)
        with torch.no_grad():
            teacher = self.teacher(batch.images, keep=kept)
        ce = soft_cross_entropy(student.logits, batch.targets)
        distill = self.method.loss(student, teacher, kept)
        return {"total": ce + self.method.weight * distill, "ce": ce, "distill": distill}

    def _choose(
        self, mask: Mask, attention: torch.Tensor | None, batch: Batch, step: Step
    ) -> torch.Tensor | None:
        patches = self.teacher.patches
        if mask.keep >= patches:
            return None
        view = View(
            student_attention=attention,
            batch=len(batch.images),
            patches=patches,
            device=batch.images.device,
            generator=step.generator,
        )
        kept = top_k(mask.criterion.scores(view), mask.keep)
        counts = kept_counts(kept, patches)
        self._counts = counts if self._counts is None else self._counts + counts
        self._images += len(batch.images)
        return kept

    def summary(self) -> dict[str, Any]:
        """`kept`: share of images in which each patch was kept, N values in raster order."""
        if self._counts is None:
            return {}
        kept = (self._counts.double() / self._images).tolist()
        self._counts, self._images = None, 0
        return {"kept": kept}

    def state(self) -> dict[str, Any]:
        """The counts since the last summary."""
        return {"counts": self._counts, "images": self._images}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue those counts."""
        self._counts, self._images = state["counts"], state["images"]
