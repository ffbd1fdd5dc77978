"""MaskedKD in DINO: the teacher sees what its student attends to (arXiv 2302.10494, Table 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.bounds import Patches
from harness.errors import FieldError
from harness.evidence import FigureOf
from harness.masking import Criterion, check_criterion
from harness.masking.student_attention import StudentAttention
from harness.methods import METHODS, Networks, Objective
from harness.methods.selfdistillation.config import SelfDistillation
from harness.models.architectures import Architecture
from harness.shown_patches import KEPT_PATCHES


@METHODS.register("dino-masked-teacher")
@dataclass(frozen=True, kw_only=True, slots=True)
class DinoMaskedTeacher(SelfDistillation):
    """DINO whose teacher sees `keep` patches of each global view, chosen by the student's CLS token
    on that same view; local views never reach the teacher.

    No code of this was released: the choice per view is our reading of section 4.
    """

    figures: ClassVar[tuple[FigureOf, ...]] = (KEPT_PATCHES,)
    keep: Patches
    criterion: Criterion = StudentAttention()

    def __post_init__(self) -> None:
        SelfDistillation.__post_init__(self)
        check_criterion(self.criterion, self.keep)
        look = self.criterion.attention_source()
        free = (None, StudentAttention().attention_source())
        if look not in free:
            raise FieldError(
                "criterion",
                "must look at the student's CLS row in its last block or at nothing: that is all "
                "the attention that the student's own pass gives",
            )

    def teacher_keep(self, patches: int) -> int:
        """The keep count, or all patches."""
        return min(self.keep, patches)

    def wrong_shape(self, student: Architecture) -> tuple[str, str] | None:
        """More patches than there are would be DINO under another name."""
        if self.keep > student.patches:
            return "keep", f"must be at most the student's {student.patches}, got {self.keep}"
        return SelfDistillation.wrong_shape(self, student)

    def build(self, networks: Networks) -> Objective:
        """The objective over the student and its moving average."""
        from harness.methods.selfdistillation.masked_teacher import MaskedTeacherObjective

        return MaskedTeacherObjective(self, networks)
