"""Which patch tokens the teacher gets to see: criteria that score tokens, and the choice of the K
kept ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from harness.lazy import torch
from harness.registry import Registry

CRITERIA: Registry[type[Criterion]] = Registry("masking criterion", "harness.masking")


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What a criterion may look at, for one batch of B images with N patches each."""

    # (B, N): CLS row of the student's last block, mean over heads
    student_attention: torch.Tensor | None
    batch: int
    patches: int
    device: torch.device
    generator: torch.Generator  # seeded from run seed and step: a resumed run draws the same


class Criterion(ABC):
    """Scores patch tokens; the K highest are kept."""

    registry: ClassVar[Registry[type[Criterion]]] = CRITERIA
    version: ClassVar[int] = 1
    wants_student_attention: ClassVar[bool] = False

    @abstractmethod
    def scores(self, view: View) -> torch.Tensor:
        """Scores (B, N), float; higher is kept first. No gradient."""
