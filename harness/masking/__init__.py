"""Which patch tokens the teacher gets to see: criteria that score tokens, and the choice of the K
kept ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from harness.batch_slice import FULL_BATCH, BatchSlice
from harness.errors import FieldError
from harness.lazy import torch
from harness.models.interface import Saliency
from harness.registry import Registry
from harness.transfer import to_device

CRITERIA: Registry[type[Criterion]] = Registry(
    "masking criterion",
    "harness.masking",
    base=lambda: Criterion,
    renamed={
        "guide-attention": "saliency-model-attention",
        "student-attention-bottom": "student-attention-lowest",
    },
)


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionSource:
    """Whose attention a criterion wants to see, and which."""

    network: Literal["student", "teacher", "saliency_model"]
    saliency: Saliency = Saliency()


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchChoice:
    """The attention by which a method chooses the patches that a network does not see, and whether
    a pass is run for that alone; without one it is a by-product of a pass that training makes
    anyway.
    """

    source: AttentionSource
    own_pass: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class CriterionInput:
    """What a criterion may look at, for one batch of B images; the teacher has N patches each."""

    # (B, N): what `attention_source` asked for, interpolated to the teacher's grid
    attention: torch.Tensor | None
    batch: int
    patches: int
    keep: int  # K
    device: torch.device
    generator: torch.Generator  # seeded from run seed and step: a resumed run draws the same
    progress: float = 0.0  # share of the training steps that are done
    batch_slice: BatchSlice = FULL_BATCH  # which images of the step's batch these are

    def noise(self) -> torch.Tensor:
        """(B, N) uniform in [0, 1), the same for an image in whatever part of the batch it is."""
        drawn = self.batch_slice.draw_for_slice(
            self.batch, lambda rows: torch.rand(rows, self.patches, generator=self.generator)
        )
        return to_device(drawn, self.device)


class Criterion(ABC):
    """Scores patch tokens; the K highest are kept."""

    registry: ClassVar[Registry[type[Criterion]]] = CRITERIA
    version: ClassVar[int] = 1

    def attention_source(self) -> AttentionSource | None:
        """The attention it needs; None: none."""
        return None

    def check(self, keep: int) -> None:
        """Raise FieldError where its options do not go with `keep` patches."""

    @abstractmethod
    def scores(self, inputs: CriterionInput) -> torch.Tensor:
        """Scores (B, N), float; higher is kept first. No gradient."""


def check_criterion(criterion: Criterion, keep: int) -> None:
    """Raise FieldError, of the field `criterion`, where it does not go with `keep` patches."""
    try:
        criterion.check(keep)
    except FieldError as error:
        raise FieldError("criterion", f"its option `{error.field}` {error}") from error
