"""Training on labels alone: the "no distillation" rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.data.dataset import Labelling
from harness.lazy import torch
from harness.methods import METHODS, Batch, Method, Networks, Objective, Step


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean over the batch of -sum targets * log softmax(logits); both (B, classes). Labels may be
    mixed or smoothed.
    """
    return torch.nn.functional.cross_entropy(logits.float(), targets)


class SupervisedObjective(Objective):
    """Cross-entropy of the student."""

    def __init__(self, networks: Networks) -> None:
        self.student = networks.student
        self.modules = {"student": networks.student}

    def losses(self, batch: Batch, step: Step) -> dict[str, torch.Tensor]:
        """`total` only."""
        return {"total": self.student.label_loss(self.student(batch.images), batch.targets)}


@METHODS.register("supervised")
@dataclass(frozen=True, kw_only=True, slots=True)
class Supervised(Method):
    """Cross-entropy with the (mixed, smoothed) labels, of images or of pixels."""

    labellings: ClassVar[frozenset[Labelling]] = frozenset({"classes", "masks"})

    def build(self, networks: Networks) -> SupervisedObjective:
        """The objective over the student."""
        return SupervisedObjective(networks)
