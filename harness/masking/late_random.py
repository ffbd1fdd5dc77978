"""Attention at first; later some of the patches at random (Table 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from harness.bounds import Bound, Patches, check_bounds
from harness.errors import FieldError
from harness.lazy import torch
from harness.masking import CRITERIA, AttentionSource, Criterion, CriterionInput
from harness.masking.attention import SaliencyModelAttention

SHARE = "is a share of training, from 0 to 1; got "


@CRITERIA.register("late-random")
@dataclass(frozen=True, kw_only=True, slots=True)
class LateRandom(Criterion):
    """The best K by `attention`; from `start` on, the best K - `random` and `random` others.

    The others are drawn uniformly from the rest, per image. Source: arXiv 2302.10494, Table 5: 40 %
    by attention and 10 % at random in the second half of training.
    """

    version: ClassVar[int] = 2  # from 2 on evaluations draw by batch, not by process

    random: Patches = 18  # patches that are drawn at random; 18 are 10 % of 196 where 40 % are 80
    # fraction of training after which they are
    start: Annotated[float, Bound(least=0, most=1, message=SHARE)] = 0.5
    attention: Criterion = SaliencyModelAttention()  # which criterion chooses the others

    def __post_init__(self) -> None:
        check_bounds(self)

    def check(self, keep: int) -> None:
        """Some patches must be left for the attention."""
        if self.random >= keep:
            raise FieldError(
                "random",
                f"must be below the {keep} patches that are kept, got {self.random}; "
                "`criterion: random` draws all of them",
            )
        self.attention.check(keep)

    def attention_source(self) -> AttentionSource | None:
        """What `attention` looks at."""
        return self.attention.attention_source()

    def scores(self, inputs: CriterionInput) -> torch.Tensor:
        """(B, N): noise below 1 for the rest, 2 for the best K - `random`."""
        scores = self.attention.scores(inputs)
        if inputs.progress < self.start:
            return scores
        best = scores.topk(inputs.keep - self.random, dim=1).indices
        return inputs.noise().scatter(1, best, 2.0)
