"""Training on labels alone: the "no distillation" rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from harness.data.dataset import LABELLINGS, Labelling
from harness.lazy import torch
from harness.methods import METHODS, Batch, Method, Networks, Objective, Step
from harness.methods.labels.of_network import label_loss


class SupervisedObjective(Objective):
    """What the student learns from labels."""

    def __init__(self, networks: Networks) -> None:
        self.student = networks.student
        self.modules = {"student": networks.student}
        self.label_loss = label_loss(networks.student)

    def before_losses(self, pieces: Iterator[tuple[Batch, Step]]) -> None:
        """What the loss needs to know of the whole batch."""
        self.label_loss.prepare(pieces)

    def losses(self, batch: Batch, step: Step) -> dict[str, torch.Tensor]:
        """`total`, and its terms where it has several."""
        terms = self.label_loss(self.student(batch.images), batch.targets)
        if len(terms) == 1:
            return {"total": next(iter(terms.values()))}
        return {"total": torch.stack(list(terms.values())).sum(), **terms}


@METHODS.register("supervised")
@dataclass(frozen=True, kw_only=True, slots=True)
class Supervised(Method):
    """Cross-entropy with the (mixed, smoothed) labels, of images or pixels; of networks that find
    boxes, the loss of DETR (`harness.methods.labels.set_loss`).
    """

    labellings: ClassVar[frozenset[Labelling]] = LABELLINGS

    def build(self, networks: Networks) -> SupervisedObjective:
        """The objective over the student."""
        return SupervisedObjective(networks)
