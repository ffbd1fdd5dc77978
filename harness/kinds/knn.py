"""Nearest-neighbour evaluation of a trained network: a run of its own, after the training run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from harness.data import dataset, ready, train_images
from harness.data.config import DataConfig
from harness.models.config import ModelConfig
from harness.models.cost import lean_macs
from harness.run import KINDS, RunContext, RunKind
from harness.train.config import TrainConfig

KS = (10, 20, 100, 200)


@KINDS.register("knn")
@dataclass(frozen=True, kw_only=True, slots=True)
class KnnRun(RunKind):
    """k-NN on CLS features; the bank is the whole training set, whatever share was trained on.

    `knn-k20-t0.07/top1` (k 10, 20, 100, 200) and `knn-nu5-t0.07/top1` (1, 5, 10, 20 images a class,
    mean of five banks), in percent. The same names under `untrained/`, of the network with random
    weights, and under `pixels/`, of the images themselves, say what training added.
    `features/std` and `features/rank` tell a collapsed network.
    """

    model: ModelConfig
    data: DataConfig
    eval_crop: float
    seed: int

    judges: ClassVar[bool] = True

    @classmethod
    def of(cls, train: TrainConfig) -> Self:
        """The student of `train` is the trained network."""
        return cls(
            model=replace(train.student, drop_path=0.0),
            data=replace(train.data, train_fraction=1.0),
            eval_crop=train.recipe.eval_crop,
            seed=train.seed,
        )

    def execute(self, context: RunContext) -> dict[str, float]:
        """See `harness.evaluate.neighbours`."""
        from harness.evaluate.neighbours import neighbours

        return neighbours(
            self.model,
            self.data,
            ks=KS,
            eval_crop=self.eval_crop,
            seed=self.seed,
            context=context,
        )

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """The data set."""
        lacking = ready(self.data)
        return [] if lacking is None else [lacking]

    def macs(self) -> float:
        """Two networks over both halves of the set."""
        shape = self.model.shape
        known = dataset(self.data)
        images = train_images(self.data) + known.val_images
        return 2 * images * lean_macs(shape, keep=shape.patches, classes=0).total
