"""Token matching, the distillation of detectors (ViDT, Song et al. 2021, arXiv 2110.03921)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from harness.data.dataset import Labelling
from harness.errors import FieldError
from harness.lazy import torch
from harness.methods.losses import LOSSES, DistillationLoss, at_patches
from harness.models.architectures import Architecture
from harness.models.interface import ForwardOutput, ForwardRequest

if TYPE_CHECKING:
    from harness.models.vit import VisionTransformer

SMALLEST = 1e-12  # of a distance: the root has no gradient at 0, where a student begins as a copy


@LOSSES.register("token-matching")
@dataclass(frozen=True, kw_only=True, slots=True)
class TokenMatching(DistillationLoss):
    """The root of an image's mean distance of student and teacher over patch tokens, plus that over
    detection tokens.

    Tokens are those after the last norm, the distance is Euclidean. A token stands for the
    teacher's token at its own place. With a masked teacher the patches that it saw are compared.
    Where the teacher is of another width, a linear layer that is trained along takes the student's
    tokens there; the paper does not say how it does that, nor what it compares when patches are
    masked. ViDT's weight is 4: the method's `weight`. The root is that of the released code
    (naver-ai/vidt, criterion.py), for which that weight is meant; the paper's equation has none.
    There it is of the mean over a GPU's images, two of them, here of each image.
    """

    version: ClassVar[int] = 2  # from 2 on the root is taken
    labellings: ClassVar[frozenset[Labelling]] = frozenset({"boxes"})
    of_student: ClassVar[ForwardRequest] = ForwardRequest(patches=True)
    of_teacher: ClassVar[ForwardRequest] = ForwardRequest(patches=True)

    def check(self, student: Architecture, teacher: Architecture) -> None:
        """Also that they have as many detection tokens."""
        DistillationLoss.check(self, student, teacher)
        counts = student.detection_tokens, teacher.detection_tokens
        if counts[0] != counts[1]:
            raise FieldError(
                "loss",
                "compares detection tokens one by one, so student and teacher need as many; they "
                f"have {counts[0]} and {counts[1]}",
            )

    def adapter(
        self, student: VisionTransformer, teacher: VisionTransformer
    ) -> torch.nn.Module | None:
        """From the student's width to the teacher's."""
        widths = int(student.vit.embed_dim), int(teacher.vit.embed_dim)
        return None if widths[0] == widths[1] else torch.nn.Linear(*widths)

    def adapted(self, output: ForwardOutput, adapter: torch.nn.Module) -> ForwardOutput:
        """The student's tokens in the teacher's width."""
        return replace(
            output, patches=adapter(output.patches), detections=adapter(output.detections)
        )

    def __call__(
        self, student: ForwardOutput, teacher: ForwardOutput, kept: torch.Tensor | None
    ) -> torch.Tensor:
        """Scalar."""
        assert student.patches is not None
        assert teacher.patches is not None
        assert student.detections is not None
        assert teacher.detections is not None
        patches = _distance(at_patches(student.patches, kept), teacher.patches)
        distance = patches + _distance(student.detections, teacher.detections)
        return distance.clamp_min(SMALLEST).sqrt().mean()


def _distance(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The mean Euclidean distance of an image's tokens (B, n, D): (B,)."""
    distance: torch.Tensor = torch.linalg.vector_norm(student.float() - teacher.float(), dim=2)
    return distance.mean(1)
