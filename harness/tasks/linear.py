"""Linear probing of a trained network: a run of its own, after the training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from harness.data import check_classes, open_dataset, pixel_side, train_images
from harness.data.config import DataConfig
from harness.errors import HarnessError
from harness.methods.untrained import Pixels
from harness.models.available import missing_inputs
from harness.models.config import ModelConfig
from harness.models.cost import published_macs
from harness.run import TASKS, Bank, BankTask, RunContext
from harness.train.config import Probe, TrainConfig


@TASKS.register("linear")
@dataclass(frozen=True, kw_only=True, slots=True)
class LinearRun(BankTask):
    """A linear classifier on frozen features, trained on the whole training set (`probe:` in a
    spec); with `bank: subset`, on what the network was trained on.

    `val/linear_split_top1`: the learning rate is chosen on a tenth of the training set, the last
    epoch counts; `val/linear_split_rate` is that rate. `val/linear_best_top1`: the best rate and
    epoch on the very images that judge: it can only be higher. With `evaluate_on: holdout` there is
    the second alone.

    The released codes report the best epoch on the images that judge. Rates differ: iBOT's sweep
    (arXiv 2111.07832) has 45 and reports the best of them too, AttMask's command (arXiv 2203.12719)
    one, and DINO's (arXiv 2104.14294) is tuned by hand, in a range that is not given. The 13 of
    `probe.rates` are ours.

    Rows with `method: pixels` have the same metrics, of the normalised pixels as features (for sets
    that fit into memory).
    """

    model: ModelConfig | None  # None: the images themselves are the features
    data: DataConfig
    probe: Probe
    eval_crop: float
    seed: int  # 0 where there is no network, so that one run serves all seeds

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Chosen on a split, and on the images that judge."""
        names = ("split_top1", "split_rate", "best_top1")
        return frozenset(f"val/linear_{name}" for name in names)

    @classmethod
    def of(cls, train: TrainConfig, bank: Bank = "all") -> Self | None:
        """The student of `train`; None where it is no plain ViT with a class token to probe, and
        for pixels that do not fit into memory.
        """
        shape, no_network = train.student.shape, isinstance(train.method, Pixels)
        if no_network and not open_dataset(train.data).in_memory:
            return None
        if not no_network and (shape.family != "vit" or shape.pooling != "token"):
            return None
        if not no_network and train.probe.blocks > shape.depth:
            raise HarnessError(
                f"probe.blocks must be at most {shape.depth}, the student's blocks; "
                f"got {train.probe.blocks}"
            )
        data = train.data.all_of_it() if bank == "all" else train.data
        images = train_images(data)
        if data.evaluate_on == "val":
            images -= images // 10  # while the rate is chosen
        dataset = open_dataset(data)
        check_classes(dataset)
        classes = dataset.classes
        if data.evaluate_on == "val" and images < 9 * classes:
            raise HarnessError(
                f"the rate is chosen on a tenth of every class, so each needs 10 images: "
                f"{data.name} has {train_images(data)} of {classes} classes here"
            )
        if train.probe.batch_size > images:
            raise HarnessError(
                f"probe.batch_size {train.probe.batch_size} is larger than the {images} images"
            )
        return cls(
            model=None if no_network else train.student.for_evaluation(),
            data=data,
            probe=train.probe,
            eval_crop=1.0 if no_network else train.recipe.eval_crop,
            seed=0 if no_network else train.seed,
        )

    def execute(self, context: RunContext) -> dict[str, float]:
        """See `harness.train.probe`."""
        from harness.train.probe import probe

        return probe(self, context)

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """The data set, and published weights that are not at hand."""
        return missing_inputs(self.data, [self.model])

    def macs(self) -> float:
        """The network on every image, twice, and again in every epoch where images are augmented;
        the classifiers forward and backward.
        """
        dataset, probe = open_dataset(self.data), self.probe
        images = train_images(self.data)
        if self.model is None:
            each, width = 0.0, dataset.channels * pixel_side(self.data) ** 2
        else:
            shape = self.model.shape
            each = published_macs(shape, keep=shape.patches, classes=0).total
            width = shape.width * (probe.blocks + probe.average)
        passes = 1 if not probe.augment else probe.epochs
        heads = 2 * len(probe.rates) * width * dataset.classes
        return 2 * images * (passes * each + probe.epochs * heads) + 2 * dataset.val_images * each
