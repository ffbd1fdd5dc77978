"""Where a (masked) teacher's multiply-adds go: closed form, no training."""

from __future__ import annotations

from dataclasses import dataclass

from harness.models.cost import published_macs
from harness.run import TASKS, RunContext
from harness.tasks import TeacherCost

GIGA = 1e9
PARTS = ("attention", "projections", "mlp", "blocks", "embedding", "head")


@TASKS.register("operations")
@dataclass(frozen=True, kw_only=True, slots=True)
class OperationsRun(TeacherCost):
    """Multiply-adds of the teacher per image (1e9) by operation, as arXiv 2302.10494, Table 10.

    `teacher/attention_gmacs`, `teacher/projections_gmacs`, `teacher/mlp_gmacs`, their sum
    `teacher/blocks_gmacs`, and what that table leaves out: `teacher/embedding_gmacs` and
    `teacher/head_gmacs`. The task `flops` holds their sum against torch's counter.
    """

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """One a part."""
        return frozenset(f"teacher/{part}_gmacs" for part in PARTS)

    def execute(self, context: RunContext) -> dict[str, float]:
        """The counts."""
        found = published_macs(self.teacher.shape, keep=self.keep, classes=self.classes)
        return {f"teacher/{part}_gmacs": getattr(found, part) / GIGA for part in PARTS}
