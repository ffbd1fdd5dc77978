"""Multiply-adds of a moving-average teacher over a training: closed form, counted two ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from harness.data import train_images
from harness.evidence import Evidence
from harness.models.config import ModelConfig
from harness.models.cost import efficient_macs, published_macs
from harness.run import TASKS, RunContext, Task
from harness.train.config import TrainConfig

GIGA, PETA = 1e9, 1e15
TAUGHT_VIEWS = 2  # the global ones


@TASKS.register("view-flops")
@dataclass(frozen=True, kw_only=True, slots=True)
class ViewFlopsRun(Task):
    """What a self-distillation teacher's forward passes cost, without its projection head.

    `teacher/gmacs` (1e9) is of one view. `teacher/train_pmacs` (1e15) counts one view an image and
    epoch, as arXiv 2302.10494, Table 4 does; `teacher/views_pmacs` both global views, which is what
    the teacher is shown. `teacher/lean_gmacs` is what this package computes for a CLS loss.
    """

    teacher: ModelConfig
    keep: int  # patches
    train_images: int
    epochs: float

    batched: ClassVar[bool] = True
    seeded: ClassVar[bool] = False
    evidence: ClassVar[Evidence] = "exact"

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Of one view and of a training."""
        names = ("gmacs", "train_pmacs", "views_pmacs", "lean_gmacs")
        return frozenset(f"teacher/{name}" for name in names)

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """The cost; None for methods whose teacher is not their student's moving average."""
        if train.method.multicrop is None:
            return None
        shape = train.student.shape
        return cls(
            teacher=train.student.cost_config(shape.channels),
            keep=train.method.teacher_keep(shape.patches),
            train_images=train_images(train.data),
            epochs=train.recipe.epochs,
        )

    def execute(self, context: RunContext) -> dict[str, float]:
        """The counts."""
        shape = self.teacher.shape
        one = published_macs(shape, keep=self.keep, classes=0).total
        over_training = one * self.train_images * self.epochs / PETA
        return {
            "teacher/gmacs": one / GIGA,
            "teacher/train_pmacs": over_training,
            "teacher/views_pmacs": TAUGHT_VIEWS * over_training,
            "teacher/lean_gmacs": efficient_macs(shape, keep=self.keep, classes=0).total / GIGA,
        }

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """Nothing."""
        return []

    def macs(self) -> float:
        """Shapes only."""
        return 0.0
