"""Where a (masked) teacher's multiply-adds go: closed form, no training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from harness.data import dataset
from harness.models.config import ModelConfig
from harness.models.cost import paper_macs
from harness.run import KINDS, RunContext, RunKind
from harness.train.config import TrainConfig

GIGA = 1e9


@KINDS.register("operations")
@dataclass(frozen=True, kw_only=True, slots=True)
class OperationsRun(RunKind):
    """Multiply-adds of the teacher per image (1e9) by operation, as arXiv 2302.10494, Table 10.

    `teacher/attention_gmacs`, `teacher/projections_gmacs`, `teacher/mlp_gmacs`, their sum
    `teacher/blocks_gmacs`, and what that table leaves out: `teacher/embedding_gmacs` and
    `teacher/head_gmacs`. The run kind `flops` holds their sum against torch's counter.
    """

    teacher: ModelConfig
    keep: int  # patches
    classes: int

    batched: ClassVar[bool] = True
    seeded: ClassVar[bool] = False

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """The operations; None for rows without a teacher, or whose teacher merges tokens."""
        if train.teacher is None or train.method.teacher_merge():
            return None
        data = dataset(train.data)
        teacher = train.teacher.bare(data.channels)
        keep = train.method.teacher_keep(teacher.shape.patches)
        return cls(teacher=teacher, keep=keep, classes=data.classes)

    def execute(self, context: RunContext) -> dict[str, float]:
        """The counts."""
        found = paper_macs(self.teacher.shape, keep=self.keep, classes=self.classes)
        parts = ("attention", "projections", "mlp", "blocks", "embedding", "head")
        return {f"teacher/{part}_gmacs": getattr(found, part) / GIGA for part in parts}

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """Nothing."""
        return []

    def macs(self) -> float:
        """Shapes only."""
        return 0.0
