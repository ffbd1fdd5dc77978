"""How much memory student and (masked) teacher take in a training step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from harness.data import dataset
from harness.errors import RunFailed
from harness.models.config import ModelConfig
from harness.run import KINDS, RunContext, RunKind
from harness.train.config import TrainConfig

if TYPE_CHECKING:
    import torch

    from harness.models.vit import VisionTransformer

MB = 1e6


@KINDS.register("memory")
@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryRun(RunKind):
    """Peak memory in MB (1e6 bytes) at fp32, arXiv 2302.10494, Table 11.

    `student/train_mb`: weights, and forward and backward on a batch; `teacher/forward_mb`: weights,
    and forward without gradients on the kept patches; `total_mb`: their sum, as the paper adds
    them. Without the optimiser's state. The allocator's peak on a GPU, with fused attention; what
    can be had without one is the run kind `activations`.
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
        """Measure the two one after the other."""
        from harness.train.loop import pick_device

        device = pick_device(context.resources.device)
        if device.type != "cuda":
            raise RunFailed("needs a GPU: only its allocator knows its own peak")
        student = self._student_bytes(device) / MB
        teacher = self._teacher_bytes(device) / MB
        return {
            "student/train_mb": student,
            "teacher/forward_mb": teacher,
            "total_mb": student + teacher,
        }

    def _student_bytes(self, device: torch.device) -> int:
        from harness.evaluate.memory import peak_bytes

        model = self._build(self.student, device).train()
        images = self._images(self.student, device)

        def step() -> None:
            model(images, cls_attention=True).logits.float().logsumexp(dim=1).sum().backward()

        return _weights(model) + peak_bytes(step, device)

    def _teacher_bytes(self, device: torch.device) -> int:
        import torch

        from harness.evaluate.memory import peak_bytes
        from harness.models.build import freeze

        model = freeze(self._build(self.teacher, device))
        images = self._images(self.teacher, device)
        kept = None
        if self.keep < self.teacher.shape.patches:
            kept = torch.arange(self.keep, device=device).expand(self.batch_size, -1)
        with torch.no_grad():
            return _weights(model) + peak_bytes(lambda: model(images, keep=kept), device)

    def _build(self, config: ModelConfig, device: torch.device) -> VisionTransformer:
        import torch

        from harness.models.build import build_model
        from harness.models.vit import Normalisation

        anything = Normalisation(mean=(0.0,), std=(1.0,))
        with torch.device(device):
            return build_model(
                config,
                classes=self.classes,
                channels=config.shape.channels,
                seen=anything,
                dependencies={},
            )

    def _images(self, config: ModelConfig, device: torch.device) -> torch.Tensor:
        import torch

        size = config.shape.image_size
        return torch.empty(self.batch_size, config.shape.channels, size, size, device=device)

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """A GPU."""
        return [] if device == "cuda" else ["a GPU: the peak is its allocator's"]

    def macs(self) -> float:
        """One step."""
        return 0.0


def _weights(model: VisionTransformer) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
