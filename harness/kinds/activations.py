"""How many bytes of activations student and (masked) teacher have: no GPU, no weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from harness.data import dataset
from harness.models.config import ModelConfig
from harness.run import KINDS, RunContext, RunKind
from harness.train.config import TrainConfig

MB = 1e6


@KINDS.register("activations")
@dataclass(frozen=True, kw_only=True, slots=True)
class ActivationsRun(RunKind):
    """Activations of one forward pass in MB (1e6 bytes) at fp32, beside arXiv 2302.10494, Table 11.

    `student/activation_mb`, `teacher/activation_mb` and their sum `activation_mb`: what a backward
    pass would need of a batch, without the weights, attention written out as in the released code.
    The teacher keeps none of it at once; its figure says how its work in memory falls with the
    patches. Computed from shapes, the same on every machine. The peak itself is the run kind
    `memory`, on a GPU.
    """

    student: ModelConfig
    teacher: ModelConfig
    keep: int  # patches
    classes: int
    batch_size: int = 128

    batched: ClassVar[bool] = True
    seeded: ClassVar[bool] = False

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """Both networks; None for rows without a teacher, or with one that merges tokens."""
        if train.teacher is None or train.method.teacher_merge():
            return None
        data = dataset(train.data)
        teacher = train.teacher.bare(data.channels)
        return cls(
            student=train.student.bare(data.channels),
            teacher=teacher,
            keep=train.method.teacher_keep(teacher.shape.patches),
            classes=data.classes,
        )

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
        from harness.models.build import build_model
        from harness.models.vit import Normalisation

        shape = config.shape
        with torch.device("meta"):
            anything = Normalisation(mean=(0.0,), std=(1.0,))
            model = build_model(
                config,
                classes=self.classes,
                channels=shape.channels,
                seen=anything,
                dependencies={},
            ).train()
            size = shape.image_size
            images = torch.empty(self.batch_size, shape.channels, size, size)
            kept = None
            if keep < shape.patches:
                kept = torch.arange(keep).expand(self.batch_size, -1)
        with sdpa_kernel(SDPBackend.MATH):
            return saved_bytes(lambda: model(images, keep=kept, lean=False).logits, model)

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """Nothing."""
        return []

    def macs(self) -> float:
        """Shapes only."""
        return 0.0
