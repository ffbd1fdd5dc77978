"""The kinds of runs: training, evaluations of what it trained, and costs, which train nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from harness.data import open_dataset
from harness.evidence import Baseline, Evidence
from harness.models.config import ModelConfig
from harness.run import Task
from harness.shown_patches import UNMASKED
from harness.train.config import TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherCost(Task):
    """What a row's (masked) teacher costs: from its shape alone, no weights, no images."""

    teacher: ModelConfig
    keep: int  # patches
    classes: int

    batched: ClassVar[bool] = True
    seeded: ClassVar[bool] = False
    evidence: ClassVar[Evidence] = "exact"
    baseline: ClassVar[Baseline | None] = UNMASKED
    merges: ClassVar[bool] = False  # whether it knows what a teacher that merges tokens costs

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """None for rows without a teacher, or with one that merges tokens where it `merges` not."""
        if train.teacher is None or (train.method.teacher_merge() and not cls.merges):
            return None
        data = open_dataset(train.data)
        teacher = train.teacher.cost_config(data.channels)
        return cls(
            teacher=teacher,
            keep=train.method.teacher_keep(teacher.shape.patches),
            classes=data.classes,
            **cls.more(train),
        )

    @classmethod
    def more(cls, train: TrainConfig) -> dict[str, Any]:
        """The fields that a kind has beside these."""
        return {}

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """Nothing."""
        return []

    def macs(self) -> float:
        """Shapes only."""
        return 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PairCost(TeacherCost):
    """What student and teacher cost together, on a batch."""

    student: ModelConfig
    batch_size: int = 128

    @classmethod
    def more(cls, train: TrainConfig) -> dict[str, Any]:
        """The student too."""
        return {"student": train.student.cost_config(open_dataset(train.data).channels)}
