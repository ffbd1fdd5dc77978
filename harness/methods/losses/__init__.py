"""Base distillation losses: how a student is compared with its teacher."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from harness.data.dataset import Labelling
from harness.errors import FieldError
from harness.lazy import torch
from harness.models.families import family_of
from harness.models.interface import LOGITS_ONLY, ForwardOutput, ForwardRequest
from harness.registry import Registry

if TYPE_CHECKING:
    from harness.models.architectures import Architecture
    from harness.models.vit import VisionTransformer

LOSSES: Registry[type[DistillationLoss]] = Registry(
    "distillation loss", "harness.methods.losses", base=lambda: DistillationLoss
)


class DistillationLoss(ABC):
    """Compares the student's output with the (masked) teacher's."""

    registry: ClassVar[Registry[type[DistillationLoss]]] = LOSSES
    version: ClassVar[int] = 1
    labellings: ClassVar[frozenset[Labelling]] = frozenset({"classes"})  # networks it can compare
    of_student: ClassVar[ForwardRequest] = LOGITS_ONLY  # what it needs of either beside the logits
    of_teacher: ClassVar[ForwardRequest] = LOGITS_ONLY

    def check(self, student: Architecture, teacher: Architecture) -> None:
        """Raise FieldError, of `loss`, where these networks cannot be compared in this way.

        Here: where one has no tokens or maps to give, or their patches are others.
        """
        asked = (self.of_student, student), (self.of_teacher, teacher)
        for request, shape in asked:
            family = family_of(shape)
            for what, lacking in (
                ("tokens", request.tokens and not family.gives_tokens),
                ("maps", request.maps and not family.gives_maps),
            ):
                if lacking:
                    name = LOSSES.name_of(type(self))
                    raise FieldError("loss", f"the {name} loss has no {what} of a {shape.family}")
        if all(request.tokens or request.maps or request.patches for request, _ in asked):
            check_same_grid(student, teacher)

    @property
    def group_size(self) -> int:
        """How many images it compares with each other.

        1: the loss of a batch is the mean of its images' losses. More: a batch is cut into groups
        of so many, each is given to it by itself, and torch's generator is seeded for each.
        """
        return 1

    def adapter(
        self, student: VisionTransformer, teacher: VisionTransformer
    ) -> torch.nn.Module | None:
        """What is trained beside the student so that its output can be compared; None: nothing."""
        return None

    def adapted(self, output: ForwardOutput, adapter: torch.nn.Module) -> ForwardOutput:
        """The student's output through that."""
        return output

    @abstractmethod
    def __call__(
        self, student: ForwardOutput, teacher: ForwardOutput, kept: torch.Tensor | None
    ) -> torch.Tensor:
        """A scalar, mean over the batch. `kept` (B, K) are the patches that the teacher saw; None:
        all of them.
        """


def check_same_grid(student: Architecture, teacher: Architecture) -> None:
    """Raise FieldError unless every patch of the student is a patch of the teacher."""
    grids = [family_of(shape).grid(shape) for shape in (student, teacher)]
    if grids[0] != grids[1]:
        raise FieldError(
            "loss",
            "compares patch by patch, so student and teacher need the same grid; "
            f"they have {grids[0]} and {grids[1]}",
        )


def at_patches(tokens: torch.Tensor, kept: torch.Tensor | None) -> torch.Tensor:
    """Tokens (B, K, D) at the patches `kept` (B, K) of tokens (B, N, D); all, if None."""
    if kept is None:
        return tokens
    return tokens.gather(1, kept.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
