"""Where a (masked) teacher's multiply-adds go: closed form, no training."""

from __future__ import annotations

from dataclasses import dataclass

from harness.kinds import TeacherCost
from harness.models.cost import paper_macs
from harness.run import KINDS, RunContext

GIGA = 1e9
PARTS = ("attention", "projections", "mlp", "blocks", "embedding", "head")


@KINDS.register("operations")
@dataclass(frozen=True, kw_only=True, slots=True)
class OperationsRun(TeacherCost):
    """Multiply-adds of the teacher per image (1e9) by operation, as arXiv 2302.10494, Table 10.

    `teacher/attention_gmacs`, `teacher/projections_gmacs`, `teacher/mlp_gmacs`, their sum
    `teacher/blocks_gmacs`, and what that table leaves out: `teacher/embedding_gmacs` and
    `teacher/head_gmacs`. The run kind `flops` holds their sum against torch's counter.
    """

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """One a part."""
        return frozenset(f"teacher/{part}_gmacs" for part in PARTS)

    def execute(self, context: RunContext) -> dict[str, float]:
        """The counts."""
        found = paper_macs(self.teacher.shape, keep=self.keep, classes=self.classes)
        return {f"teacher/{part}_gmacs": getattr(found, part) / GIGA for part in PARTS}
