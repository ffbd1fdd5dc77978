"""Counting multiply-adds: needs no data, no weights and no training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.data import train_images
from harness.errors import RunFailed
from harness.evidence import FigureOf
from harness.models.cost import Macs, efficient_macs, published_macs
from harness.models.merged_cost import merged_macs
from harness.run import TASKS, RunContext
from harness.shown_patches import TEACHER_COST
from harness.tasks import TeacherCost
from harness.train.config import TrainConfig

GIGA, PETA = 1e9, 1e15
PARTS = ("attention", "projections", "mlp")


@TASKS.register("flops")
@dataclass(frozen=True, kw_only=True, slots=True)
class FlopsRun(TeacherCost):
    """Multiply-adds of a (masked) teacher, per image and over a training: closed form and torch's
    counter must agree.

    `teacher/gmacs` (per image, 1e9) and `teacher/train_pmacs` (whole training, 1e15) count as the
    papers do; `teacher/lean_gmacs` is what this package computes. `teacher/attention_gmacs`,
    `.../projections_gmacs` and `.../mlp_gmacs` split it by operation.
    """

    train_images: int
    epochs: float
    merge: int = 0  # tokens that every block merges away

    ADDED_LATER: ClassVar[frozenset[str]] = frozenset({"merge"})
    merges: ClassVar[bool] = True
    figures: ClassVar[tuple[FigureOf, ...]] = (TEACHER_COST,)

    @classmethod
    def more(cls, train: TrainConfig) -> dict[str, Any]:
        """How long it is used, and what it merges."""
        return {
            "train_images": train_images(train.data),
            "epochs": train.recipe.epochs,
            "merge": train.method.teacher_merge(),
        }

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Per image, and over a training."""
        names = ("gmacs", "train_pmacs", "lean_gmacs", *(f"{part}_gmacs" for part in PARTS))
        return frozenset(f"teacher/{name}" for name in names)

    def execute(self, context: RunContext) -> dict[str, float]:
        """The counts; RunFailed when closed form and counter disagree, which would be a wrong
        number.
        """
        shape = self.teacher.shape
        if self.merge:  # no leaner way to count; a test holds it against torch's counter
            paper = lean = merged_macs(shape, merge=self.merge, classes=self.classes)
        else:
            paper = published_macs(shape, keep=self.keep, classes=self.classes)
            lean = efficient_macs(shape, keep=self.keep, classes=self.classes)
            self._check(paper, lean)
        return {
            "teacher/gmacs": paper.total / GIGA,
            "teacher/train_pmacs": paper.total * self.train_images * self.epochs / PETA,
            "teacher/lean_gmacs": lean.total / GIGA,
            **{f"teacher/{part}_gmacs": getattr(paper, part) / GIGA for part in PARTS},
        }

    def _check(self, paper: Macs, lean: Macs) -> None:
        from harness.evaluate.flops import counted_macs
        from harness.models.build import build_bare

        model = build_bare(self.teacher, classes=self.classes, device="meta")
        for closed, is_lean in ((paper, False), (lean, True)):
            counted = counted_macs(model, keep=self.keep, lean=is_lean)
            if counted != closed.total:
                how = "this package's forward" if is_lean else "the papers' count"
                raise RunFailed(
                    f"{self.teacher.arch}, {self.keep} patches, {how}: "
                    f"torch counts {counted} multiply-adds, the closed form {closed.total}"
                )
