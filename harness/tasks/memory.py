"""How much memory student and (masked) teacher take in a training step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from harness.data import open_dataset
from harness.errors import RunFailed
from harness.evidence import Baseline, Evidence
from harness.models.config import ModelConfig
from harness.models.interface import ForwardRequest, Saliency
from harness.run import TASKS, RunContext, Task
from harness.shown_patches import UNMASKED
from harness.tasks import teacher_of
from harness.train.config import TrainConfig

if TYPE_CHECKING:
    import torch

    from harness.models.vit import VisionTransformer

MB = 1e6


@TASKS.register("memory")
@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryRun(Task):
    """Peak memory in MB (1e6 bytes) at fp32, arXiv 2302.10494, Table 11.

    `student/train_mb`: weights, and forward and backward on a batch; `teacher/forward_mb`: weights,
    and forward without gradients on the kept patches; `total_mb`: their sum, as the paper adds
    them. Without the optimiser's state. The allocator's peak on a GPU, with fused attention; what
    can be had without one are the activations of the task `cost`. It is no part of `throughput`:
    that has the machine alone, and runs without a GPU too.
    """

    teacher: ModelConfig
    keep: int  # patches
    classes: int
    student: ModelConfig
    batch_size: int = 128

    batched: ClassVar[bool] = True
    seeded: ClassVar[bool] = False
    evidence: ClassVar[Evidence] = "exact"
    baseline: ClassVar[Baseline | None] = UNMASKED

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Of either, and of both."""
        return frozenset({"student/train_mb", "teacher/forward_mb", "total_mb"})

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """None for rows without a teacher, or with one that merges tokens."""
        teacher = teacher_of(train)
        if teacher is None:
            return None
        return cls(student=train.student.cost_config(open_dataset(train.data).channels), **teacher)

    def execute(self, context: RunContext) -> dict[str, float]:
        """Measure the two one after the other."""
        from harness.train.networks import pick_device

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
        from harness.models.build import build_bare

        model = build_bare(self.student, classes=self.classes, device=device).train()
        outputs = ForwardRequest(saliency=Saliency())  # by which masks are chosen
        images = self._images(self.student, device)

        def step() -> None:
            model(images, outputs=outputs).logits.float().logsumexp(dim=1).sum().backward()

        return _weights(model) + peak_bytes(step, device)

    def _teacher_bytes(self, device: torch.device) -> int:
        import torch

        from harness.evaluate.memory import peak_bytes
        from harness.models.build import build_bare, freeze

        model = freeze(build_bare(self.teacher, classes=self.classes, device=device))
        images = self._images(self.teacher, device)
        kept = None
        if self.keep < self.teacher.shape.patches:
            kept = torch.arange(self.keep, device=device).expand(self.batch_size, -1)
        with torch.no_grad():
            return _weights(model) + peak_bytes(lambda: model(images, keep=kept), device)

    def _images(self, config: ModelConfig, device: torch.device) -> torch.Tensor:
        import torch

        shape = config.shape
        return torch.empty(self.batch_size, shape.channels, *shape.image_shape, device=device)

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """A GPU."""
        return [] if device == "cuda" else ["a GPU: the peak is its allocator's"]

    def macs(self) -> float:
        """Next to nothing: one step of the student, one pass of the teacher."""
        return 0.0


def _weights(model: VisionTransformer) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
