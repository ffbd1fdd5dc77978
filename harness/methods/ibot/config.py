"""Options of iBOT and AttMask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.bounds import NotNegative, NotNegativeInt, Positive, Unit
from harness.errors import FieldError
from harness.masking.views import MaskSampler
from harness.masking.views.block import BlockWise
from harness.methods import METHODS, Networks, Objective
from harness.methods.selfdistillation.config import SelfDistillation
from harness.models.architectures import Architecture

if TYPE_CHECKING:
    from harness.train.config import Recipe


@METHODS.register("ibot")
@dataclass(frozen=True, kw_only=True, slots=True)
class Ibot(SelfDistillation):
    """cls_weight * (CLS loss over other views) + patch_weight * (hidden patches against the
    teacher's view of them), one head for both.

    `temperatures` serves both losses; a teacher's temperature of the patches alone can be set.
    """

    mask: MaskSampler = BlockWise()  # which patches the student does not see
    cls_weight: NotNegative = 1.0  # weight of the loss of CLS tokens
    patch_weight: NotNegative = 1.0  # weight of the loss of hidden patches
    # temperature of the teacher's patches after warm-up; none: that of its CLS token
    patch_teacher: Positive | None = None
    patch_teacher_start: Positive | None = None  # the same before warm-up
    # nothing is hidden before this epoch; the patches' warm-up starts there too
    start_epoch: NotNegativeInt = 0
    patch_center_momentum: Unit = 0.9  # as `center_momentum`, of the patches

    def __post_init__(self) -> None:
        SelfDistillation.__post_init__(self)
        start, end = self.patch_temperatures
        start_given = self.patch_teacher_start is not None
        if self.temperatures.warmup_epochs == 0 and start_given and start != end:
            raise FieldError(
                "patch_teacher_start",
                f"has no effect without temperatures.warmup_epochs: leave it out; got {start:g}",
            )

    @property
    def patch_temperatures(self) -> tuple[float, float]:
        """Of the teacher's patches, before and after the warm-up."""
        start, end, shared = self.patch_teacher_start, self.patch_teacher, self.temperatures
        return (
            shared.teacher_start if start is None else start,
            shared.teacher if end is None else end,
        )

    def check(self, networks: Mapping[str, Architecture], recipe: Recipe) -> None:
        """Also the patches' warm-up, which starts with the hiding."""
        first, warmup = self.start_epoch, self.temperatures.warmup_epochs
        if first and first + warmup > recipe.epochs:
            what = f"{first} and a warm-up of {warmup} are longer than the {recipe.epochs:g} epochs"
            raise FieldError("start_epoch", what)
        SelfDistillation.check(self, networks, recipe)

    def image_macs(self, student: Architecture) -> float:
        """Also whole last blocks, and patches through the heads: all of the teacher's, and hidden
        ones, a fifth or so, of the student's.
        """
        n, d = student.patches, student.width
        last = 10 * n * d * d + 2 * n * n * d  # what a lean last block leaves out
        hidden = 2 * n * HIDDEN_SHARE
        heads = 3 * self.head.macs(d, hidden, hidden) + self.head.macs(d, 2 * n, hidden)
        return SelfDistillation.image_macs(self, student) + 8 * last + heads

    def build(self, networks: Networks) -> Objective:
        """The objective over the student and its moving average."""
        from harness.methods.ibot.objective import IbotObjective

        return IbotObjective(self, networks)


HIDDEN_SHARE = 0.15  # 30 % of the patches in half of the views, for estimates only
