"""Nearest-neighbour evaluation of a trained network: a run of its own, after the training run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Self

from harness.data import open_dataset, pixel_side, train_images
from harness.data.config import DataConfig
from harness.methods.untrained import Pixels
from harness.models.available import missing_inputs
from harness.models.config import ModelConfig
from harness.models.cost import efficient_macs
from harness.run import TASKS, Bank, BankTask, RunContext
from harness.train.config import TrainConfig


@TASKS.register("knn")
@dataclass(frozen=True, kw_only=True, slots=True)
class KnnRun(BankTask):
    """k-NN on frozen features; the bank is the whole training set, whatever share was trained on.

    With `bank: subset` only what was trained on votes, as AttMask's `--subset` (arXiv 2203.12719).

    `val/knn20_top1` (k 10, 20, 100, 200): DINO's weighted vote at temperature 0.07.
    `val/knn_nu5_top1` (1, 5, 10, 20 images a class): the mean of five fixed banks, as AttMask.
    In percent. `features/std` and `features/rank` tell a collapsed network. Rows with
    `method: untrained` and `method: pixels` have the same metrics, of what no training made.
    """

    model: ModelConfig | None  # None: the images themselves are the features
    data: DataConfig
    eval_crop: float
    seed: int  # of random weights; 0 where there are none, so that one run serves all seeds

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Votes, votes of few, and whether features tell images apart."""
        voted = {f"val/knn{name}_top1" for name in ("10", "20", "100", "200")}
        few = {f"val/knn_nu{images}_top1" for images in (1, 5, 10, 20)}
        return frozenset({*voted, *few, "features/std", "features/rank"})

    @classmethod
    def of(cls, train: TrainConfig, bank: Bank = "all") -> Self | None:
        """The student of `train` is the network; None for pixels that do not fit into memory."""
        data = train.data.all_of_it() if bank == "all" else train.data
        if isinstance(train.method, Pixels):
            in_memory = open_dataset(data).in_memory
            return cls(model=None, data=data, eval_crop=1.0, seed=0) if in_memory else None
        return cls(
            model=train.student.for_evaluation(),
            data=data,
            eval_crop=train.recipe.eval_crop,
            seed=train.seed if train.student.weights.random else 0,
        )

    def lacks(self, metric: str) -> str | None:
        """Votes of more images than the bank has, or where none can be wrong."""
        bank, classes = train_images(self.data), open_dataset(self.data).classes
        if classes == 1 and metric.endswith("_top1"):
            return f"all images of {self.data.name} are of one class, so no vote can be wrong"
        voters = re.fullmatch(r"val/knn(\d+)_top1", metric)
        few = re.fullmatch(r"val/knn_nu(\d+)_top1", metric)
        if voters is not None and int(voters[1]) > bank:
            return f"{voters[1]} neighbours are asked for, {self.data.name} has {bank} here"
        # AttMask's five banks start at up to four times the number (at 20 where it is below 10)
        needed = 0 if few is None else int(few[1]) + max(20, 4 * int(few[1]))
        if few is not None and classes * needed > bank:
            return (
                f"its five banks need {needed} images a class, {self.data.name} has "
                f"{bank} of {classes} classes here"
            )
        return None

    def execute(self, context: RunContext) -> dict[str, float]:
        """Extract both sets of features, then vote."""
        from harness.evaluate.features import extract, pixels, spread
        from harness.evaluate.knn import knn_metrics
        from harness.evaluate.right import RIGHT, write_right
        from harness.train.evaluation_data import image_side, open_evaluation_data

        size = image_side(self.model, self.data)
        data = open_evaluation_data(
            self.data, image_size=size, eval_crop=self.eval_crop, seed=self.seed, context=context
        )
        classes = data.module.classes
        if self.model is None:
            bank, queries = pixels(data.bank()), pixels(data.queries())
        else:
            network = data.network(self.model, seed=self.seed)
            bank, queries = extract(network, data.bank()), extract(network, data.queries())
        metrics, right = knn_metrics(bank, queries, classes=classes)
        if right:
            context.save_artifact(RIGHT, lambda path: write_right(path, right))
        return metrics if self.model is None else metrics | spread(queries.features)

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """The data set, and published weights that are not at hand."""
        return missing_inputs(self.data, [self.model])

    def macs(self) -> float:
        """The network on every image, and the cosines of all pairs."""
        dataset = open_dataset(self.data)
        bank, queries = train_images(self.data), dataset.val_images
        if self.model is None:
            return bank * queries * dataset.channels * pixel_side(self.data) ** 2
        shape = self.model.shape
        each = efficient_macs(shape, keep=shape.patches, classes=dataset.classes).total
        return (bank + queries) * each + bank * queries * shape.width
