"""Counting multiply-adds: needs no data, no weights and no training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from harness.data import dataset, train_images
from harness.errors import RunFailed
from harness.models.config import ModelConfig
from harness.models.cost import Macs, lean_macs, paper_macs
from harness.models.merged_cost import merged_macs
from harness.run import KINDS, RunContext, RunKind
from harness.train.config import TrainConfig

GIGA, PETA = 1e9, 1e15


@KINDS.register("flops")
@dataclass(frozen=True, kw_only=True, slots=True)
class FlopsRun(RunKind):
    """Multiply-adds of a (masked) teacher, per image and over a training: closed form and torch's
    counter must agree.

    `teacher/gmacs` (per image, 1e9) and `teacher/train_pmacs` (whole training, 1e15) count as the
    papers do; `teacher/lean_gmacs` is what this package computes. `teacher/attention_gmacs`,
    `.../projections_gmacs` and `.../mlp_gmacs` split it by operation.
    """

    teacher: ModelConfig
    keep: int  # patches
    classes: int
    train_images: int
    epochs: float
    merge: int = 0  # tokens that every block merges away

    ADDED_LATER: ClassVar[frozenset[str]] = frozenset({"merge"})
    batched: ClassVar[bool] = True
    seeded: ClassVar[bool] = False

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """The teacher's cost; None for rows without a teacher."""
        if train.teacher is None:
            return None
        data = dataset(train.data)
        teacher = train.teacher.bare(data.channels)
        return cls(
            teacher=teacher,
            keep=train.method.teacher_keep(teacher.shape.patches),
            classes=data.classes,
            train_images=train_images(train.data),
            epochs=train.recipe.epochs,
            merge=train.method.teacher_merge(),
        )

    def execute(self, context: RunContext) -> dict[str, float]:
        """The counts; RunFailed when closed form and counter disagree, which would be a wrong
        number.
        """
        shape = self.teacher.shape
        if self.merge:  # no leaner way to count; a test holds it against torch's counter
            paper = lean = merged_macs(shape, merge=self.merge, classes=self.classes)
        else:
            paper = paper_macs(shape, keep=self.keep, classes=self.classes)
            lean = lean_macs(shape, keep=self.keep, classes=self.classes)
            self._check(paper, lean)
        return {
            "teacher/gmacs": paper.total / GIGA,
            "teacher/train_pmacs": paper.total * self.train_images * self.epochs / PETA,
            "teacher/lean_gmacs": lean.total / GIGA,
            "teacher/attention_gmacs": paper.attention / GIGA,
            "teacher/projections_gmacs": paper.projections / GIGA,
            "teacher/mlp_gmacs": paper.mlp / GIGA,
        }

    def _check(self, paper: Macs, lean: Macs) -> None:
        import torch

        from harness.evaluate.flops import counted_macs
        from harness.models.build import build_model
        from harness.models.vit import Normalisation

        anything = Normalisation(mean=(0.0,), std=(1.0,))
        with torch.device("meta"):
            model = build_model(
                self.teacher,
                classes=self.classes,
                channels=self.teacher.shape.channels,
                seen=anything,
                dependencies={},
            )
        for closed, is_lean in ((paper, False), (lean, True)):
            counted = counted_macs(model, keep=self.keep, lean=is_lean)
            if counted != closed.total:
                how = "this package's forward" if is_lean else "the papers' count"
                raise RunFailed(
                    f"{self.teacher.arch}, {self.keep} patches, {how}: "
                    f"torch counts {counted} multiply-adds, the closed form {closed.total}"
                )

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """Nothing."""
        return []

    def macs(self) -> float:
        """Shapes only."""
        return 0.0
