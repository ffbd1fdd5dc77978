"""Timing the (masked) teacher's forward pass."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from harness.data.dataset import LABELLINGS, Labelling
from harness.evidence import Baseline, Evidence
from harness.models.config import ModelConfig
from harness.models.cost import efficient_macs
from harness.run import TASKS, RunContext, Task
from harness.shown_patches import UNMASKED
from harness.tasks import teacher_of
from harness.train.config import TrainConfig

WARMUP, REPEATS = 3, 15
CPU_LIMIT = 2e12  # multiply-adds: about a minute on two cores


@TASKS.register("throughput")
@dataclass(frozen=True, kw_only=True, slots=True)
class ThroughputRun(Task):
    """Speed of the teacher on `keep` patches, and on all of them, fp32.

    Both are timed in turn, in one process, with nothing else running: `teacher/throughput` and
    `teacher/full_throughput` (img/s, median), `teacher/speedup` (median of their ratios), and
    `teacher/peak_mb` (MiB beyond the weights; see `harness.evaluate.memory`). The published
    figures: one RTX A6000, fp32, batch 128.
    """

    teacher: ModelConfig
    keep: int  # patches
    classes: int
    batch_size: int = 128

    labellings: ClassVar[frozenset[Labelling]] = LABELLINGS
    exclusive: ClassVar[bool] = True
    evidence: ClassVar[Evidence] = "timing"
    baseline: ClassVar[Baseline | None] = UNMASKED
    in_turn: ClassVar[Mapping[str, str]] = {"teacher/throughput": "teacher/speedup"}
    seeded: ClassVar[bool] = False

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Speeds, their ratio and memory."""
        names = ("throughput", "full_throughput", "speedup", "peak_mb")
        return frozenset(f"teacher/{name}" for name in names)

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """None for rows without a teacher, or with one that merges tokens."""
        teacher = teacher_of(train)
        return None if teacher is None else cls(**teacher)

    def execute(self, context: RunContext) -> dict[str, float]:
        """Time both passes on random images: speed does not depend on what is in them."""
        import torch

        from harness.evaluate.memory import peak_bytes
        from harness.evaluate.throughput import interleaved_seconds, median_ratio
        from harness.models.build import build_bare, freeze
        from harness.train.networks import pick_device

        device = pick_device(context.resources.device)
        shape = self.teacher.shape
        model = freeze(build_bare(self.teacher, classes=self.classes, device=device))
        images = torch.randn(self.batch_size, shape.channels, *shape.image_shape, device=device)
        noise = torch.rand(self.batch_size, shape.patches, device=device)
        kept = noise.topk(self.keep).indices.sort().values

        def full() -> object:
            return model(images)

        def masked() -> object:
            return model(images, keep=kept) if self.keep < shape.patches else model(images)

        with torch.inference_mode():
            seconds = interleaved_seconds(
                {"full": full, "masked": masked}, device=device, warmup=WARMUP, repeats=REPEATS
            )
            metrics = {
                "teacher/throughput": self.batch_size / statistics.median(seconds["masked"]),
                "teacher/full_throughput": self.batch_size / statistics.median(seconds["full"]),
                "teacher/speedup": median_ratio(seconds["full"], seconds["masked"]),
            }
            metrics["teacher/peak_mb"] = peak_bytes(masked, device) / 2**20
        return metrics

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """A GPU for the papers' large networks: on a CPU a batch of them takes minutes."""
        if device == "cpu" and self.macs() > CPU_LIMIT:
            what = f"{self.teacher.arch} with batch {self.batch_size}"
            return [f"a GPU: timing {what} takes minutes on a CPU"]
        return []

    def macs(self) -> float:
        """All timed passes."""
        shape = self.teacher.shape
        each = sum(
            efficient_macs(shape, keep=keep, classes=self.classes).total
            for keep in {self.keep, shape.patches}
        )
        return float(each * self.batch_size * (WARMUP + REPEATS))
