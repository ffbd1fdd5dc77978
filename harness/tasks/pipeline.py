"""Timing steps whose student and teacher are computed at the same time, on a device each."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self

from harness.batch_plan import BatchPlan
from harness.data import open_dataset
from harness.device import cores, visible_gpus
from harness.errors import RunFailed
from harness.evidence import FigureOf
from harness.methods.distillation import Distillation
from harness.models.config import ModelConfig
from harness.models.cost import efficient_macs
from harness.run import TASKS, RunContext, Task
from harness.shown_patches import shown_patches
from harness.tasks.of_network import save_json
from harness.tasks.throughput import CPU_LIMIT
from harness.train.config import TrainConfig

if TYPE_CHECKING:
    from harness.models.architectures import Architecture
    from harness.train.timeline import Timeline, Variant

WARMUP, REPEATS = 2, 9
MICRO_BATCHES: Final = (2, 4, 8)
TIMELINE: Final = "timeline.json"
"""The artifact: a step of each variant, which the report draws."""

FIGURE: Final = FigureOf(
    figure="timeline",
    id="timeline",
    source=TIMELINE,
    caption="A step of distillation on two devices, as measured (Figure 8 of MaskedKD, arXiv "
    "2302.10494): the one of median length of {repeats}. The dashed line is the longer of both "
    "devices' own work with a masked teacher: no order of the same work ends before it.",
    alt="When student and teacher compute within a step",
    extent=shown_patches,
)


@TASKS.register("pipeline")
@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineRun(Task):
    """Seconds of a step (forward and backward, no update) where student and teacher have a device
    each, arXiv 2302.10494, appendix F.

    `step/plain_ms`: the teacher sees all patches, and starts with the student;
    `step/naive_ms`: it sees the kept ones, and waits for the student's whole forward pass;
    `step/pipelined4_ms` (and 2, 8): in 4 micro-batches, it starts on the first while the student
    computes the second. `step/bound_ms`: the longer of both devices' own work in the naive step.
    `step/naive_speedup`, `step/pipelined4_speedup`: over the plain step, `step/pipelined4_gain`:
    over the naive one; medians of the ratios of steps taken in turn. `step/naive_over_bound`,
    `step/pipelined4_over_bound`: 1 where nothing waits.
    """

    student: ModelConfig
    teacher: ModelConfig
    method: Distillation
    classes: int
    batch_size: int
    precision: str
    teacher_precision: str | None = None

    ADDED_LATER: ClassVar[frozenset[str]] = frozenset({"teacher_precision"})
    exclusive: ClassVar[bool] = True
    seeded: ClassVar[bool] = False
    figures: ClassVar[tuple[FigureOf, ...]] = (
        replace(FIGURE, caption=FIGURE.caption.format(repeats=REPEATS)),
    )

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Of each number of micro-batches."""
        names = {"plain_ms", "naive_ms", "bound_ms", "naive_speedup", "naive_over_bound"}
        for pieces in MICRO_BATCHES:
            for what in ("ms", "speedup", "gain", "over_bound"):
                names.add(f"pipelined{pieces}_{what}")
        return frozenset(f"step/{name}" for name in names)

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """Rows with a masked teacher whose patches the student chooses."""
        method, teacher = train.method, train.teacher
        if not isinstance(method, Distillation) or method.mask is None or teacher is None:
            return None
        source = method.mask.criterion.attention_source()
        if source is None or source.network != "student":
            return None
        data = open_dataset(train.data)
        return cls(
            student=train.student.cost_config(data.channels),
            teacher=teacher.cost_config(data.channels),
            method=replace(method, teacher_accuracy=False),
            classes=data.classes,
            batch_size=train.recipe.batch_size,
            precision=train.recipe.precision,
            teacher_precision=train.recipe.teacher_precision,
        )

    def lacks(self, metric: str) -> str | None:
        """Micro-batches that the batch cannot be cut into."""
        for pieces in MICRO_BATCHES:
            why = self._why_not_cut(pieces)
            if why is not None and metric.startswith(f"step/pipelined{pieces}_"):
                return why
        return None

    def _why_not_cut(self, pieces: int) -> str | None:
        plan = BatchPlan(batch=self.batch_size, group_size=self.method.group_size, pieces=pieces)
        return plan.why_not_computable()

    def max_processes(self) -> int:
        """One of the student, one of the teacher."""
        return 2

    def execute(self, context: RunContext) -> dict[str, float]:
        """See `harness.train.timeline`."""
        import torch

        from harness.models.build import build_bare, freeze
        from harness.precision import choose_attention, float32_products
        from harness.train.networks import pick_device
        from harness.train.pipeline import PipelinePlace
        from harness.train.timeline import TimedBatch, time_steps, time_teacher

        if context.dist.size != 2 or context.rendezvous_store is None:
            raise RunFailed(
                "student and teacher need a process each, and a GPU or a core each: give "
                "--processes 2"
            )
        device = pick_device(context.resources.device)
        place = PipelinePlace.of(context.dist)
        with (
            float32_products(self.precision, device),
            place.channel(context.rendezvous_store, device) as channel,
        ):
            if place.teaches:
                teacher = freeze(build_bare(self.teacher, classes=self.classes, device=device))
                precisions = self.precision, self.teacher_precision
                choose_attention(teacher, self.teacher_precision or self.precision, device)
                time_teacher(teacher, self.method, precisions, channel)
                return {}
            student = build_bare(self.student, classes=self.classes, device=device).train()
            choose_attention(student, self.precision, device)
            shape = self.student.shape
            images = (self.batch_size, shape.channels, *shape.image_shape)
            setup = TimedBatch(
                student=student,
                teacher=build_bare(self.teacher, classes=self.classes, device="meta"),
                images=torch.randn(images, device=device),
                targets=torch.randn(self.batch_size, self.classes, device=device).softmax(1),
                precision=self.precision,
            )
            steps = time_steps(setup, self._variants(), channel, warmup=WARMUP, repeats=REPEATS)
        return self._told(steps, context)

    def _variants(self) -> dict[str, Variant]:
        from harness.train.timeline import Variant

        variants = {
            "plain": Variant(method=replace(self.method, mask=None)),
            "naive": Variant(method=self.method),
        }
        for pieces in MICRO_BATCHES:
            if self._why_not_cut(pieces) is None:
                variants[f"pipelined{pieces}"] = Variant(method=self.method, pieces=pieces)
        return variants

    def _told(
        self, steps: Mapping[str, Sequence[Timeline]], context: RunContext
    ) -> dict[str, float]:
        """The metrics; and the artifact with a step of each variant."""
        from harness.train.timeline import median, typical

        bound = statistics.median(one.bound for one in steps["naive"])
        metrics = {"step/bound_ms": 1000 * bound}

        def ratio(slow: str, fast: str) -> float:
            pairs = zip(steps[slow], steps[fast], strict=True)
            return statistics.median(a.seconds / b.seconds for a, b in pairs)

        for name, timelines in steps.items():
            metrics[f"step/{name}_ms"] = 1000 * median(timelines)
            if name != "plain":
                metrics[f"step/{name}_speedup"] = ratio("plain", name)
                metrics[f"step/{name}_over_bound"] = median(timelines) / bound
            if name not in ("plain", "naive"):
                metrics[f"step/{name}_gain"] = ratio("naive", name)
        shown = {name: typical(timelines) for name, timelines in steps.items()}
        content = {
            "bound": bound,
            "steps": {
                name: {
                    "seconds": one.seconds,
                    "spans": [list(asdict(span).values()) for span in one.spans],
                }
                for name, one in shown.items()
            },
        }
        save_json(context, TIMELINE, content)
        return metrics

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """Two devices: GPUs for the papers' large networks."""
        if device == "cuda":
            count = len(visible_gpus())
            return (
                []
                if count > 1
                else [f"two GPUs, one of the student and one of its teacher: {count} here"]
            )
        if self.macs() > CPU_LIMIT:
            what = f"{self.student.arch} from {self.teacher.arch} at batch {self.batch_size}"
            return [f"two GPUs: timing {what} takes minutes on CPU cores"]
        count = cores()
        return [] if count > 1 else ["two cores, one of the student and one of its teacher: 1 here"]

    def macs(self) -> float:
        """All timed steps."""
        student, teacher = self.student.shape, self.teacher.shape

        def of(shape: Architecture, keep: int) -> int:
            return efficient_macs(shape, keep=keep, classes=self.classes).total

        kept = self.method.teacher_keep(teacher.patches)
        masked = 3 * of(student, student.patches) + of(teacher, kept)
        plain = 3 * of(student, student.patches) + of(teacher, teacher.patches)
        steps = masked * (1 + len(MICRO_BATCHES)) + plain
        return float(steps * self.batch_size * (WARMUP + REPEATS))
