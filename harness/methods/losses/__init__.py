"""Base distillation losses: how a student is compared with its teacher."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from harness.lazy import torch
from harness.registry import Registry

if TYPE_CHECKING:
    from harness.models.vit import Output

LOSSES: Registry[type[DistillationLoss]] = Registry("distillation loss", "harness.methods.losses")
LOSSES.announce("manifold", "patch-manifold matching (Hao et al. 2022)")
LOSSES.announce("attention", "attention maps of all layers")
LOSSES.announce("g2sd", "the fine-tuning stage of G2SD (Huang et al. 2023)")


class DistillationLoss(ABC):
    """Compares the student's output with the (masked) teacher's."""

    registry: ClassVar[Registry[type[DistillationLoss]]] = LOSSES
    version: ClassVar[int] = 1

    @abstractmethod
    def __call__(self, student: Output, teacher: Output, kept: torch.Tensor | None) -> torch.Tensor:
        """A scalar, mean over the batch. `kept` (B, K) are the patches that the teacher saw; None:
        all of them.
        """
