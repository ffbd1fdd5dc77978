"""DINO: self-distillation without labels (arXiv 2104.14294)."""

from __future__ import annotations

from dataclasses import dataclass

from harness.methods import METHODS, Networks, Objective
from harness.methods.selfdistillation.config import SelfDistillation
from harness.methods.selfdistillation.objective import SelfDistillationObjective


@METHODS.register("dino")
@dataclass(frozen=True, kw_only=True, slots=True)
class Dino(SelfDistillation):
    """Student and teacher agree on CLS tokens over views; the defaults are the vanilla run."""

    def build(self, networks: Networks) -> Objective:
        """The objective over the student and its moving average."""
        return SelfDistillationObjective(self, networks)
