"""Training runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from harness.batch_plan import BatchPlan
from harness.data import open_dataset, train_images
from harness.data.dataset import LABELLINGS, Labelling
from harness.methods import METHODS
from harness.models.available import missing_inputs
from harness.models.families import family_of
from harness.run import TASKS, Resources, RunContext, Task
from harness.train.config import Probe, TrainConfig
from harness.train.macs import image_macs

OF_FEATURES = ("features/std", "features/rank", "val/knn20_top1")
OF_MASKS = ("val/miou", "val/pixel_accuracy", "val/one_class_miou")
OF_BOXES = ("val/ap", "val/ap50", "val/ap75")
FEW_CLASSES = 5  # see `harness.evaluate.classification`


@dataclass(frozen=True, kw_only=True, slots=True)
class Training(Task):
    """What trains a network and evaluates it."""

    train: TrainConfig

    def execute(self, context: RunContext) -> dict[str, float]:
        """See `harness.train.loop.train`."""
        from harness.train.loop import train

        return train(self.train, context)

    def lacks(self, metric: str) -> str | None:
        """Top-5 of so few classes is left out; and what is judged depends on the data."""
        told = family_of(self.train.student.shape).labelling
        of_dense = {"boxes": OF_BOXES, "masks": OF_MASKS}
        if told != "classes" and metric not in (*of_dense[told], "val/loss"):
            return f"the student tells {told}: ask for {', '.join(of_dense[told])}"
        for other, metrics in of_dense.items():
            if metric in metrics and other != told:
                return f"the student tells {told} of an image, no {other}"
        classes = open_dataset(self.train.data).classes
        if metric.endswith("top5") and classes <= FEW_CLASSES:
            return f"top-5 says nothing of the {classes} classes of {self.train.data.name}"
        return None

    def max_processes(self) -> int:
        """Each has at least two images of a batch, mixup's partners; or a group of images that are
        compared with each other.
        """
        return self._batch.max_processes

    def why_not_divisible(self, processes: int) -> str | None:
        """Each has whole groups of images that are compared with each other."""
        return self._batch.by(processes).why_not_divisible()

    def has_frozen_teacher(self) -> bool:
        """Whether the method has."""
        return self.train.method.has_frozen_teacher

    def why_not_computable(self, resources: Resources) -> str | None:
        """Each micro-batch has whole groups, or all there is, where the method needs that."""
        plan = replace(
            self._batch,
            processes=resources.students,
            micro_batch=resources.micro_batch,
            pieces=resources.pipeline,
        )
        return plan.why_not_computable()

    @property
    def _batch(self) -> BatchPlan:
        method, batch = self.train.method, self.train.recipe.batch_size
        return BatchPlan(batch=batch, group_size=method.group_size, whole=method.needs_whole_batch)

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """The data set, and weights that are neither random, nor shipped, nor trained by a
        dependency.
        """
        return missing_inputs(self.train.data, self.train.networks().values())

    def macs(self) -> float:
        """Of every image in every epoch (`harness.train.macs`)."""
        train = self.train
        return image_macs(train) * train.recipe.epochs * train_images(train.data)


@TASKS.register("train")
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRun(Training):
    """Trains a student and evaluates it: `val/top1`, `val/top5` in percent, `val/loss` in nats.

    Of a student that finds boxes: COCO's average precision `val/ap`, `val/ap50` and `val/ap75`, in
    percent. Of one that tells the class of every pixel: `val/miou`, `val/pixel_accuracy` and
    `val/one_class_miou`, in percent; the task `segmentation` says what they are.
    Without labels (self-distillation): `features/std` and `features/rank` of the network it leaves;
    where `evaluate_every` asks for curves, `val/knn20_top1` among the images that are trained on.
    """

    labellings: ClassVar[frozenset[Labelling]] = LABELLINGS
    version: ClassVar[int] = 2  # from 2 on the rate is at most its peak in warm-up's last step
    curves: ClassVar[frozenset[str]] = frozenset(
        {"val/teacher_top1", "kept/evenness", "kept/distance"}
    )

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Of the student and of what methods evaluate beside it."""
        prefixes = {
            f"{name}_"
            for method in METHODS.names()
            for name in METHODS.get(method).extra_predictor_names
        }
        validation = {
            f"val/{prefix}{what}" for prefix in ("", *prefixes) for what in ("top1", "top5", "loss")
        }
        extra = (METHODS.get(method).extra_metrics for method in METHODS.names())
        return frozenset({*validation, *OF_FEATURES, *OF_BOXES, *OF_MASKS}.union(*extra))

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """None for rows whose method trains nothing."""
        if not train.method.trains:
            return None
        if train.probe == Probe() and train.finetune is None:
            return cls(train=train)
        return cls(train=replace(train, probe=Probe(), finetune=None))
