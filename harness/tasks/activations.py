"""How many bytes of activations student and (masked) teacher have: no GPU, no weights."""

from __future__ import annotations

from dataclasses import dataclass

from harness.models.config import ModelConfig
from harness.run import TASKS, RunContext
from harness.tasks import PairCost

MB = 1e6


@TASKS.register("activations")
@dataclass(frozen=True, kw_only=True, slots=True)
class ActivationsRun(PairCost):
    """Activations of one forward pass in MB (1e6 bytes) at fp32, beside arXiv 2302.10494, Table 11.

    `student/activation_mb`, `teacher/activation_mb` and their sum `activation_mb`: what a backward
    pass would need of a batch, without the weights, attention written out as in the released code.
    The teacher keeps none of it at once; its figure says how its work in memory falls with the
    patches. Computed from shapes, the same on every machine. The peak itself is the task
    `memory`, on a GPU.
    """

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Of either, and of both."""
        return frozenset({"student/activation_mb", "teacher/activation_mb", "activation_mb"})

    def execute(self, context: RunContext) -> dict[str, float]:
        """Forward passes of tensors without storage: nothing is computed."""
        student = self._bytes(self.student, self.student.shape.patches) / MB
        teacher = self._bytes(self.teacher, self.keep) / MB
        return {
            "student/activation_mb": student,
            "teacher/activation_mb": teacher,
            "activation_mb": student + teacher,
        }

    def _bytes(self, config: ModelConfig, keep: int) -> int:
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel

        from harness.evaluate.memory import saved_bytes
        from harness.models.build import build_bare

        shape = config.shape
        model = build_bare(config, classes=self.classes, device="meta").train()
        with torch.device("meta"):
            size = shape.image_size
            images = torch.empty(self.batch_size, shape.channels, size, size)
            kept = None
            if keep < shape.patches:
                kept = torch.arange(keep).expand(self.batch_size, -1)
        with sdpa_kernel(SDPBackend.MATH):
            return saved_bytes(lambda: model(images, keep=kept, efficient=False).logits, model)
