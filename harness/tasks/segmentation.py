"""How well a trained network tells the class of every pixel, and pictures of what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from harness.data.dataset import Labelling
from harness.evidence import FigureOf
from harness.run import TASKS, RunContext
from harness.tasks.of_network import NetworkEvaluation, save_json

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
    families: ClassVar[frozenset[str]] = frozenset({"segmenter"})

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Of a network, and of a guess that looks at nothing."""
        return frozenset({"masks/miou", "masks/pixel_accuracy", "masks/one_class_miou"})

    def execute(self, context: RunContext) -> dict[str, float]:
        """See `harness.evaluate.segmentation`."""
        from harness.evaluate.segmentation import Pictures, batch_size, segment
        from harness.models.vit import Normalisation

        data, network = self.opened(context)
        module = data.module
        pictures = Pictures(Normalisation(mean=module.mean, std=module.std))
        found = segment(network, data.judging(batch_size(network, module)), pictures)
        save_json(context, PICTURES, {"pictures": pictures.kept})
        return {name: found[name.removeprefix("masks/")] for name in self.metrics()}
