"""Distillation into a student that sees a part of its patches, a control of Figure 6 (arXiv
2302.10494).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.bounds import KeptPatches, NotNegative, check_bounds
from harness.errors import FieldError
from harness.lazy import torch
from harness.masking import AttentionSource, PatchChoice
from harness.masking.keep import top_k
from harness.methods import METHODS, Method, Networks
from harness.methods.losses.logit import Logit
from harness.methods.taught import LogitsObjective
from harness.models.architectures import Architecture
from harness.models.families import family_of
from harness.models.interface import Saliency

if TYPE_CHECKING:
    from harness.models.interface import ForwardOutput
    from harness.models.vit import VisionTransformer
    from harness.train.config import Recipe


@METHODS.register("masked-student")
@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedStudent(Method):
    """CE(labels) + weight * KL(student, teacher): the student is trained on `keep` patches, those
    that its own CLS token attends to most; the teacher sees all.

    Assumed, for the paper says only that the student is masked: the choice is by the student's
    last block on the whole image, without a gradient, and the student is evaluated on all patches.
    """

    uses_teacher: ClassVar[bool] = True
    has_frozen_teacher: ClassVar[bool] = True
    keep: KeptPatches  # patches that the student is trained on
    loss: Logit = Logit()  # of the student's and the teacher's logits: `logit` alone
    weight: NotNegative = 1.0  # weight of that loss

    def __post_init__(self) -> None:
        check_bounds(self)

    def check(self, networks: Mapping[str, Architecture], recipe: Recipe) -> None:
        """The student must be able to leave patches out, and have a class token."""
        student = networks["student"]
        family = family_of(student)
        if not family.maskable or "cls" not in family.queries:
            raise FieldError("student", f"a {student.family} cannot leave patches out: no mask")
        if self.keep > student.patches:
            what = f"must be at most the student's {student.patches} patches, got {self.keep}"
            raise FieldError("keep", what)

    def student_keep(self, patches: int) -> int | None:
        """The keep count."""
        return min(self.keep, patches)

    def patch_choice(self) -> PatchChoice | None:
        """It looks at the whole image before it trains on a part."""
        return PatchChoice(source=AttentionSource(network="student"), own_pass=True)

    def teach(
        self, teacher: VisionTransformer, images: torch.Tensor, kept: torch.Tensor | None
    ) -> ForwardOutput:
        """Its logits, of all patches."""
        assert kept is None
        with torch.no_grad():
            output: ForwardOutput = teacher(images)
        return output

    def build(self, networks: Networks) -> MaskedStudentObjective:
        """The objective over student and teacher."""
        return MaskedStudentObjective(self, networks)


class MaskedStudentObjective(LogitsObjective):
    """Choice of patches, student forward on those alone, teacher forward on all, two losses."""

    def __init__(self, method: MaskedStudent, networks: Networks) -> None:
        super().__init__(method, networks, method.loss, method.weight)
        self.method = method

    def student_output(self, images: torch.Tensor) -> ForwardOutput:
        """Of the chosen patches."""
        output: ForwardOutput = self.student(images, keep=self._choose(images))
        return output

    def _choose(self, images: torch.Tensor) -> torch.Tensor | None:
        """The patches (B, K) that the student is shown; None: all of them."""
        if self.method.keep >= self.student.patches:
            return None
        return top_k(self.student.saliency(images, Saliency()), self.method.keep)
