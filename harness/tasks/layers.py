"""How far each layer of a trained network looks, and the spectrum of its representations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal, Self

from harness.data import open_dataset
from harness.data.config import DataConfig
from harness.evidence import FigureOf
from harness.methods.untrained import Pixels
from harness.models.available import missing_inputs
from harness.models.config import ModelConfig
from harness.models.cost import published_macs
from harness.run import TASKS, RunContext, Task
from harness.train.config import TrainConfig

CURVES = "layers.json"
"""The artifact: distance and entropy by layer and head, and a spectrum, for the report."""

LAYERS: Final = FigureOf(
    figure="layers",
    id="layers",
    source=CURVES,
    caption="How far patches look in each block, how evenly, and the singular values of the mean "
    "patch token over images, over the largest; on images that judge, mean over heads and seeds, "
    "the band from the lowest to the highest head.",
    alt="Attention distance and entropy by layer, and singular values",
)


@TASKS.register("layers")
@dataclass(frozen=True, kw_only=True, slots=True)
class LayersRun(Task):
    """Attention between patches in every block, and how many directions features have, over all
    images that judge.

    `layers/distance_first`, `layers/distance_last`: mean distance of what patches attend to in that
    block, in patches, mean over heads; `layers/distance_even`: that of even attention.
    `layers/rank`: effective number of dimensions of the mean patch token (exp of the entropy of its
    covariance's eigenvalues). After the analyses of arXiv 2310.13593.
    """

    model: ModelConfig
    data: DataConfig
    eval_crop: float
    seed: int  # of random weights; 0 where there are none, so that one run serves all seeds

    is_evaluation: ClassVar[bool] = True
    figures: ClassVar[tuple[FigureOf, ...]] = (LAYERS,)

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Of a network, and of even attention."""
        names = ("distance_first", "distance_last", "distance_even", "rank")
        return frozenset(f"layers/{name}" for name in names)

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """The student of `train`; None where there is no network, or it is no plain ViT."""
        if isinstance(train.method, Pixels) or train.student.shape.family != "vit":
            return None
        return cls(
            model=train.student.for_evaluation(),
            data=train.data.all_of_it(),
            eval_crop=train.recipe.eval_crop,
            seed=train.seed if train.student.weights.random else 0,
        )

    def execute(self, context: RunContext) -> dict[str, float]:
        """See `harness.evaluate.layers`."""
        from harness.evaluate.layers import look_into_layers
        from harness.train.evaluation_data import open_evaluation_data

        size = self.model.shape.image_size
        data = open_evaluation_data(
            self.data, image_size=size, eval_crop=self.eval_crop, seed=self.seed, context=context
        )
        network = data.network(self.model, seed=self.seed)
        metrics, curves = look_into_layers(network, data.queries())

        def write(path: Path) -> None:
            path.write_text(json.dumps(curves), encoding="utf-8")

        context.save_artifact(CURVES, write)
        return metrics

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """The data set, and published weights that are not at hand."""
        return missing_inputs(self.data, [self.model])

    def macs(self) -> float:
        """The network on every image that judges, with its attention written out."""
        dataset, shape = open_dataset(self.data), self.model.shape
        return dataset.val_images * published_macs(shape, keep=shape.patches, classes=0).total
