"""Options of MaskedKD in DINO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.bounds import KeptPatches
from harness.errors import FieldError
from harness.evidence import FigureOf
from harness.masking import Criterion, check_criterion
from harness.masking.attention import StudentAttention
from harness.methods import METHODS, Networks, Objective
from harness.methods.selfdistillation.config import SelfDistillation
from harness.models.architectures import Architecture
from harness.shown_patches import KEPT_PATCHES

if TYPE_CHECKING:
    from harness.train.config import Recipe


@METHODS.register("dino-masked-teacher")
@dataclass(frozen=True, kw_only=True, slots=True)
class DinoMaskedTeacher(SelfDistillation):
    """DINO whose teacher sees `keep` patches of each global view, chosen by the student's CLS token
    on that same view; local views never reach the teacher.

    No code of this was released: the choice per view is our reading of section 4.
    """

    figures: ClassVar[tuple[FigureOf, ...]] = (KEPT_PATCHES,)
    keep: KeptPatches  # patches of a global view that the teacher sees
    criterion: Criterion = StudentAttention()  # which ones

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

    def check(self, networks: Mapping[str, Architecture], recipe: Recipe) -> None:
        """More patches than there are would be DINO under another name."""
        patches = networks["student"].patches
        if self.keep > patches:
            raise FieldError("keep", f"must be at most the student's {patches}, got {self.keep}")
        SelfDistillation.check(self, networks, recipe)

    def build(self, networks: Networks) -> Objective:
        """The objective over the student and its moving average."""
        from harness.methods.dino_masked_teacher.objective import MaskedTeacherObjective

        return MaskedTeacherObjective(self, networks)
