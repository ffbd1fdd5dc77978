"""How far each layer of a trained network looks, and the spectrum of its representations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from harness.data import open_dataset
from harness.evidence import FigureOf
from harness.models.cost import published_macs
from harness.run import TASKS, RunContext
from harness.tasks.of_network import NetworkEvaluation, save_json

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
class LayersRun(NetworkEvaluation):
    """Attention between patches in every block, and how many directions features have, over all
    images that judge.

    `layers/distance_first`, `layers/distance_last`: mean distance of what patches attend to in that
    block, in patches, mean over heads; `layers/distance_even`: that of even attention.
    `layers/rank`: effective number of dimensions of the mean patch token (exp of the entropy of its
    covariance's eigenvalues). After the analyses of arXiv 2310.13593.
    """

    figures: ClassVar[tuple[FigureOf, ...]] = (LAYERS,)

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Of a network, and of even attention."""
        names = ("distance_first", "distance_last", "distance_even", "rank")
        return frozenset(f"layers/{name}" for name in names)

    def execute(self, context: RunContext) -> dict[str, float]:
        """See `harness.evaluate.layers`."""
        from harness.evaluate.layers import look_into_layers

        data, network = self.opened(context)
        metrics, curves = look_into_layers(network, data.queries())
        save_json(context, CURVES, curves)
        return metrics

    def macs(self) -> float:
        """The network on every image that judges, with its attention written out."""
        dataset, shape = open_dataset(self.data), self.model.shape
        return dataset.val_images * published_macs(shape, keep=shape.patches, classes=0).total
