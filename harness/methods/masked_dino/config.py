"""Options of DINO with masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.errors import FieldError
from harness.masking.views import MaskSampler
from harness.masking.views.random import RandomMask
from harness.methods import METHODS, Networks, Objective
from harness.methods.selfdistillation.config import SelfDistillation


@METHODS.register("masked-dino")
@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedDino(SelfDistillation):
    """DINO's loss over CLS tokens while patches are hidden from some of the views.

    `where` says from which: the student's global views (arXiv 2506.10582), all of the student's, or
    the global views of student and teacher, the same patches in both. `how`: a learned mask
    token in their place (`replace`), or their tokens are left out (`drop`), which is cheaper when
    all views of a step lose the same number: `ratio_per: batch`.
    """

    mask: MaskSampler = RandomMask()  # which patches are hidden
    # from which views
    where: Literal["student-global", "student-all", "student-and-teacher"] = "student-global"
    # replace: a learned token takes the place of a hidden patch; drop: the patch is left out
    how: Literal["replace", "drop"] = "replace"

    def __post_init__(self) -> None:
        SelfDistillation.__post_init__(self)
        if self.mask.needs_attention and self.where != "student-global":
            raise FieldError(
                "where",
                "must be student-global: the mask looks at the attention of a teacher that sees "
                f"whole global views; got {self.where}",
            )

    def build(self, networks: Networks) -> Objective:
        """The objective over the student and its moving average."""
        from harness.methods.masked_dino.objective import MaskedDinoObjective

        return MaskedDinoObjective(self, networks)
