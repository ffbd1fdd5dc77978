"""Random tokens: the control of every masking study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.lazy import torch
from harness.masking import CRITERIA, Criterion, CriterionInput


@CRITERIA.register("random")
@dataclass(frozen=True, kw_only=True, slots=True)
class RandomCriterion(Criterion):
    """Uniform noise per image and patch (arXiv 2302.10494, Table 6, part c)."""

    version: ClassVar[int] = 2  # from 2 on evaluations draw by batch, not by process

    def scores(self, inputs: CriterionInput) -> torch.Tensor:
        """(B, N) uniform in [0, 1)."""
        return inputs.noise()
