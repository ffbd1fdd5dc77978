"""What a trained detector finds: numbers for the table and pictures for the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from harness.data.dataset import Labelling
from harness.evidence import FigureOf
from harness.run import TASKS, RunContext
from harness.tasks.of_network import NetworkEvaluation, save_json

PICTURES = "detections.json"
"""The artifact: images with true and found boxes, which the report draws."""

BOXES: Final = FigureOf(
    figure="boxes",
    id="detections",
    source=PICTURES,
    caption="The first images that judge, their objects (dashed), and what is found with a "
    "probability of at least 0.5 (solid); one seed.",
    alt="True and found boxes",
)


@TASKS.register("detections")
@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionsRun(NetworkEvaluation):
    """Boxes that a trained detector finds on all images that judge, and pictures of the first.

    COCO's average precision, in percent: `detections/ap`, the mean over IoU 0.50 to 0.95,
    `detections/ap50` and `detections/ap75`.
    """

    labellings: ClassVar[frozenset[Labelling]] = frozenset({"boxes"})
    families: ClassVar[frozenset[str]] = frozenset({"yolos"})
    figures: ClassVar[tuple[FigureOf, ...]] = (BOXES,)

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """At any IoU, at a half and at three quarters."""
        return frozenset({"detections/ap", "detections/ap50", "detections/ap75"})

    def execute(self, context: RunContext) -> dict[str, float]:
        """See `harness.evaluate.average_precision`."""
        from harness.evaluate.average_precision import detect
        from harness.evaluate.box_pictures import drawn_boxes

        data, network = self.opened(context)
        save_json(context, PICTURES, drawn_boxes(network, data.pictures()))
        found = detect(network, data.judging())
        return {f"detections/{name}": value for name, value in found.items()}
