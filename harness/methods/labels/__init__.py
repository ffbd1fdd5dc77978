"""What a network learns from labels alone: of its image's class, its objects or its pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING

from harness.lazy import torch
from harness.models.interface import ForwardOutput

if TYPE_CHECKING:
    from harness.methods import Batch, Step


class LabelLoss(ABC):
    """A loss over a student's output and the targets of its images."""

    def prepare(self, pieces: Iterable[tuple[Batch, Step]]) -> None:
        """Called with the whole batch of a step before the loss of any part of it."""

    @abstractmethod
    def __call__(self, output: ForwardOutput, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Its terms, each with its weight: their sum is the loss. The mean of the parts of a batch
        by their sizes is the loss of the batch.
        """


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean over the batch of -sum targets * log softmax(logits); both (B, classes). Labels may be
    mixed or smoothed.
    """
    return torch.nn.functional.cross_entropy(logits.float(), targets)


class ClassLoss(LabelLoss):
    """`ce`, the cross-entropy of image classes."""

    def __call__(self, output: ForwardOutput, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Targets are (B, classes)."""
        return {"ce": soft_cross_entropy(output.logits, targets)}
