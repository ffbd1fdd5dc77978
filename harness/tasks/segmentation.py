"""How well a trained network tells the class of every pixel, and pictures of what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Self

from harness.data import open_dataset
from harness.data.dataset import Labelling
from harness.evidence import FigureOf
from harness.methods.untrained import Pixels
from harness.models.cost import efficient_macs
from harness.run import TASKS, RunContext
from harness.tasks.of_network import NetworkEvaluation, save_json
from harness.train.config import TrainConfig

PICTURES = "masks.json"
"""The artifact: images, true masks and told ones, which the report draws."""

MASKS: Final = FigureOf(
    figure="masks",
    id="masks",
    source=PICTURES,
    caption="Images that judge, the true class of each pixel, and what the networks tell; one "
    "seed. A class has the same colour everywhere; white: nobody knows it.",
    alt="Images with true and predicted masks",
)


@TASKS.register("segmentation")
@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentationRun(NetworkEvaluation):
    """Over all images that judge, whole and at the size of their masks, in percent:
    `masks/miou`, the mean over classes of the intersection over the union, `masks/pixel_accuracy`,
    and `masks/one_class_miou`, what the guess gets that every pixel is of the most common class.

    Of networks that tell the class of every pixel. The shorter side of an image gets the network's
    size, and windows of that size are looked at one by one (arXiv 2105.05633, section 4.1).
    """

    figures: ClassVar[tuple[FigureOf, ...]] = (MASKS,)
    labellings: ClassVar[frozenset[Labelling]] = frozenset({"masks"})

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Of a network, and of a guess that looks at nothing."""
        return frozenset({"masks/miou", "masks/pixel_accuracy", "masks/one_class_miou"})

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """The student of `train`."""
        if isinstance(train.method, Pixels):
            return None
        return cls(
            model=train.student.for_evaluation(),
            data=train.data.all_of_it(),
            eval_crop=train.recipe.eval_crop,
            seed=train.seed if train.student.weights.random else 0,
        )

    def execute(self, context: RunContext) -> dict[str, float]:
        """See `harness.evaluate.segmentation`."""
        from harness.evaluate.segmentation import Pictures, batch_size, segment
        from harness.models.vit import Normalisation

        data, network = self.opened(context)
        module = data.module
        pictures = Pictures(Normalisation(mean=module.mean, std=module.std))
        together = batch_size(
            network.image_size, module.classes, one_size=module.setup.native is not None
        )
        found = segment(network, data.judging(together), pictures)
        save_json(context, PICTURES, {"pictures": pictures.kept})
        return {name: found[name.removeprefix("masks/")] for name in self.metrics()}

    def macs(self) -> float:
        """The network on every image that judges, as if each were one window."""
        dataset, shape = open_dataset(self.data), self.model.shape
        each = efficient_macs(shape, keep=shape.patches, classes=dataset.classes).total
        return dataset.val_images * each
