"""Where a trained network looks: numbers for the table and pictures for the report."""

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
from harness.models.cost import efficient_macs
from harness.run import TASKS, RunContext, Task
from harness.train.config import TrainConfig

PICTURES = "attention.json"
"""The artifact: images with the attention of every head, which the report draws."""

HEADS: Final = FigureOf(
    figure="image-maps",
    id="attention",
    source=PICTURES,
    caption="What the class token attends to in the last block, on images that judge; one seed.",
    alt="Attention of the class token by head",
    label="head",
)


@TASKS.register("attention")
@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionRun(Task):
    """Attention of the last block's class token to the patches, over all images that judge.

    `attention/entropy` in nats, of how it is shared among the patches, mean over heads;
    `attention/entropy_even` is that of even attention. Where objects are known (`fashion-mnist`:
    every pixel that is not black), in percent: `attention/foreground`, what falls on them, mean
    over heads; `attention/foreground_best`, of the head with most; `attention/foreground_even`,
    what even attention would have. After arXiv 2104.14294, section 4.2.2.
    """

    model: ModelConfig
    data: DataConfig
    eval_crop: float
    seed: int  # of random weights; 0 where there are none, so that one run serves all seeds

    is_evaluation: ClassVar[bool] = True
    figures: ClassVar[tuple[FigureOf, ...]] = (HEADS,)

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Of a network, and of even attention."""
        names = ("entropy", "entropy_even", "foreground", "foreground_best", "foreground_even")
        return frozenset(f"attention/{name}" for name in names)

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
        """See `harness.evaluate.attention`."""
        from harness.evaluate.attention import look
        from harness.train.evaluation_data import open_evaluation_data

        size = self.model.shape.image_size
        data = open_evaluation_data(
            self.data, image_size=size, eval_crop=self.eval_crop, seed=self.seed, context=context
        )
        network = data.network(self.model, seed=self.seed)
        background = open_dataset(self.data).background
        metrics, pictures = look(network, data.pictures(), background=background)

        def write(path: Path) -> None:
            path.write_text(json.dumps(pictures), encoding="utf-8")

        context.save_artifact(PICTURES, write)
        return metrics

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """The data set, and published weights that are not at hand."""
        return missing_inputs(self.data, [self.model])

    def macs(self) -> float:
        """The network on every image that judges."""
        dataset, shape = open_dataset(self.data), self.model.shape
        each = efficient_macs(shape, keep=shape.patches, classes=dataset.classes).total
        return dataset.val_images * each
