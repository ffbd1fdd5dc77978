"""Fine-tuning of a trained network with labels: a run of its own, after the training run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from harness.batch_plan import BatchPlan
from harness.data import open_dataset, train_images
from harness.errors import HarnessError
from harness.methods.supervised import Supervised
from harness.methods.untrained import Pixels
from harness.models.available import missing_inputs
from harness.models.config import ModelConfig
from harness.models.cost import published_macs
from harness.run import TASKS, RunContext, Task
from harness.tasks.train import FEW_CLASSES
from harness.train.config import FineTune, TrainConfig


@TASKS.register("finetune")
@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuneRun(Task):
    """Trains all weights on labels, from those of the row's network, with a new classifier
    (`finetune:` in a spec): `val/top1`, `val/top5` in percent and `val/loss` in nats, after the
    last step.

    The whole training set has labels, whatever share the network was trained on. Rows with
    `method: untrained` start from random weights: training from scratch.
    """

    train: TrainConfig  # the fine-tuning itself

    is_evaluation: ClassVar[bool] = True

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Of the fine-tuned network."""
        return frozenset({"val/top1", "val/top5", "val/loss"})

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """The student of `train`; None where there is no network."""
        if isinstance(train.method, Pixels):
            return None
        if train.finetune is None:
            raise HarnessError("give `finetune: {recipe: ...}`, how its network is fine-tuned")
        how = train.finetune
        return cls(
            train=TrainConfig(
                data=train.data.all_of_it(),
                student=_fine_tuned(train.student, how),
                method=Supervised(),
                recipe=how.recipe,
                seed=train.seed,
            )
        )

    def execute(self, context: RunContext) -> dict[str, float]:
        """See `harness.train.loop.train`."""
        from harness.train.loop import train

        return train(self.train, context)

    def lacks(self, metric: str) -> str | None:
        """As of a training."""
        if metric.endswith("top5") and open_dataset(self.train.data).classes <= FEW_CLASSES:
            return f"top-5 says nothing of the few classes of {self.train.data.name}"
        return None

    def max_processes(self) -> int:
        """Each has at least two images of a batch, mixup's partners."""
        return BatchPlan(batch=self.train.recipe.batch_size).max_processes

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """The data set, and published weights that are not at hand."""
        return missing_inputs(self.train.data, [self.train.student])

    def macs(self) -> float:
        """Three forward passes an image."""
        data, shape = self.train.data, self.train.student.shape
        classes = open_dataset(data).classes
        each = published_macs(shape, keep=shape.patches, classes=classes).total
        return 3 * each * self.train.recipe.epochs * train_images(data)


def _fine_tuned(student: ModelConfig, how: FineTune) -> ModelConfig:
    """The network as it is fine-tuned, with a new classifier."""
    weights = student.weights
    if not weights.random:
        weights = replace(weights, head="new")
    tuned = replace(student, drop_path=how.drop_path, trained="all", weights=weights)
    if how.arch is None:
        return tuned
    other = replace(tuned, arch=how.arch)
    for name in ("image_size", "patch_size", "width", "depth", "heads"):
        mine, its = getattr(student.shape, name), getattr(other.shape, name)
        if mine != its:
            raise HarnessError(
                f"finetune.arch: '{how.arch}' has {name} {its}, the student {mine}: give one of "
                "the same dimensions, or leave it out"
            )
    return other
