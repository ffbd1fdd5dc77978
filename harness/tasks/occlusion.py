"""How well a teacher reads part of an image: what masked distillation takes for granted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Self

from harness.data import open_dataset
from harness.data.config import DataConfig
from harness.models.available import missing_inputs
from harness.models.config import ModelConfig
from harness.models.cost import efficient_macs
from harness.models.families import family_of
from harness.run import TASKS, RunContext, Task
from harness.train.config import TrainConfig

PERCENT: Final = (75, 50, 25)
"""Shares of an image's patches that are shown."""


@TASKS.register("occlusion")
@dataclass(frozen=True, kw_only=True, slots=True)
class OcclusionRun(Task):
    """The accuracy of the frozen teacher on the images that judge, in percent, without training.

    `teacher/top1` on all patches; `teacher/random75_top1`, `teacher/random50_top1` and
    `teacher/random25_top1` on that share of them, drawn at random for every image, fewer patches
    among the more. The random curve is the one that does not depend on a student; MaskedKD
    (arXiv 2302.10494, Figure 2) shows the same teacher on the patches that its student chooses.
    """

    model: ModelConfig
    data: DataConfig
    eval_crop: float

    seeded: ClassVar[bool] = False

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """On all patches, and on a part."""
        return frozenset({"teacher/top1", *(f"teacher/random{part}_top1" for part in PERCENT)})

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """None without a teacher that can leave patches out."""
        if train.teacher is None or train.teacher.weights.random:
            return None
        if not family_of(train.teacher.shape).maskable:
            return None
        return cls(
            model=train.teacher.for_evaluation(),
            data=train.data.all_of_it(),
            eval_crop=train.recipe.eval_crop,
        )

    def execute(self, context: RunContext) -> dict[str, float]:
        """One pass over the images for each share."""
        from harness.evaluate.occlusion import random_patches_accuracy
        from harness.train.evaluation_data import open_evaluation_data

        size = self.model.shape.image_size
        data = open_evaluation_data(
            self.data, image_size=size, eval_crop=self.eval_crop, seed=0, context=context
        )
        network = data.network(self.model, seed=0)
        patches = self.model.shape.patches
        metrics = {"teacher/top1": random_patches_accuracy(network, data.queries(), patches)}
        for part, keep in _kept(patches).items():
            accuracy = random_patches_accuracy(network, data.queries(), patches, keep=keep)
            metrics[f"teacher/random{part}_top1"] = accuracy
        return metrics

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """The data set, and published weights that are not at hand."""
        return missing_inputs(self.data, [self.model])

    def macs(self) -> float:
        """The network on every image that judges, on all patches and on each part of them."""
        dataset, shape = open_dataset(self.data), self.model.shape
        keeps = [shape.patches, *_kept(shape.patches).values()]
        each = [efficient_macs(shape, keep=keep, classes=dataset.classes).total for keep in keeps]
        return dataset.val_images * sum(each)


def _kept(patches: int) -> dict[int, int]:
    """How many of `patches` are shown, by their share in percent."""
    return {part: max(1, round(patches * part / 100)) for part in PERCENT}
