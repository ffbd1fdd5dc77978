"""Fine-tuning of a trained network with labels: a run of its own, after the training run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from harness.data import check_classes, open_dataset
from harness.errors import HarnessError
from harness.methods.supervised import Supervised
from harness.methods.untrained import Pixels
from harness.models.config import ModelConfig
from harness.run import TASKS
from harness.tasks.train import Training
from harness.train.config import FineTune, TrainConfig


@TASKS.register("finetune")
@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuneRun(Training):
    """Trains all weights on labels, from those of the row's network, with a new classifier
    (`finetune:` in a spec): `val/top1`, `val/top5` in percent and `val/loss` in nats, after the
    last step.

    `train` is the fine-tuning itself. The whole training set has labels, whatever share the network
    was trained on. Rows with `method: untrained` start from random weights: training from scratch.
    """

    version: ClassVar[int] = 2  # from 2 on the classifier of `init: mae` starts at almost 0
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
        check_classes(open_dataset(train.data))
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


def _fine_tuned(student: ModelConfig, how: FineTune) -> ModelConfig:
    """The network as it is fine-tuned, with a new classifier."""
    weights = student.weights
    if not weights.random:
        weights = replace(weights, head="new")
    rule = student.drop_path_rule if how.drop_path > 0 else "linear"  # where nothing is dropped
    tuned = replace(
        student, drop_path=how.drop_path, drop_path_rule=rule, trained="all", weights=weights
    )
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
