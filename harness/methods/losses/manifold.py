"""Fine-grained manifold distillation (Hao et al. 2022, arXiv 2107.01378)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from harness.bounds import NotNegative, at_least, check_bounds
from harness.data.dataset import Labelling
from harness.lazy import torch
from harness.methods.losses import LOSSES, DistillationLoss, at_patches
from harness.methods.losses.logit import Logit
from harness.models.interface import ForwardOutput, ForwardRequest
from harness.transfer import to_device


@LOSSES.register("manifold")
@dataclass(frozen=True, kw_only=True, slots=True)
class Manifold(DistillationLoss):
    """KL of the logits, plus how far the patches' relations differ, mean over pairs of layers.

    A relation map holds the cosines between patch tokens of one layer; the loss is the mean square
    difference between the student's and the teacher's map (the paper writes a sum; its code, and
    the weights below, go with the mean). Three maps: within an image, between the images of a
    group at one patch, and among patches drawn from the whole group. Layers are the first and the
    last four of either network, as in the original (fewer where a network has fewer than eight).

    A masked teacher has tokens of the kept patches only, and the student's tokens at those patches
    are compared with them. Kept patches differ between images, so "at one patch" then means: at
    the k-th kept patch in raster order, the same for student and teacher.

    The released code (Hao840/manifold-distillation at 1096b82) compares the images of one GPU: 64
    by default, of a batch of 512. A group of 128 is the share of one of MaskedKD's eight GPUs; here
    it is that however many processes and micro-batches there are, and a smaller batch is one group.

    The weights, 192 patches, layers and KL at temperature 1 are those of its command, which also
    has no label term (`--distillation-alpha 1`; here the method's `labels: 0.0`) and no drop path.
    Its relation maps hold every token that student and teacher share: the patches for a CaiT
    teacher, as here, and the class token beside them (1 of 197) for a DeiT, which is left out here.
    """

    # weight of the relations within an image; all weights are those of the original's commands
    intra: NotNegative = 4.0
    inter: NotNegative = 0.1  # weight of the relations between images at one patch
    sampled: NotNegative = 0.2  # weight of the relations among patches of the whole group
    # patches that are drawn from the group for that
    samples: Annotated[int, at_least(1, most=1_000_000)] = 192
    layers: Annotated[int, at_least(1, most=1000)] = 4  # layers at either end of the networks
    logit: NotNegative = 1.0  # weight of the logits' term
    # images that are compared with each other
    group: Annotated[int, at_least(2, most=1_000_000)] = 128

    labellings: ClassVar[frozenset[Labelling]] = frozenset({"classes", "masks"})
    version: ClassVar[int] = 2  # 2: groups instead of the whole batch
    of_student: ClassVar[ForwardRequest] = ForwardRequest(tokens=True)
    of_teacher: ClassVar[ForwardRequest] = ForwardRequest(tokens=True)

    def __post_init__(self) -> None:
        check_bounds(self)

    @property
    def group_size(self) -> int:
        """`group`."""
        return self.group

    def __call__(
        self, student: ForwardOutput, teacher: ForwardOutput, kept: torch.Tensor | None
    ) -> torch.Tensor:
        """Scalar, of one group. The draw comes from torch's generator, which the caller seeds."""
        pairs = layer_pairs(len(student.tokens), len(teacher.tokens), self.layers)
        total = torch.zeros((), device=student.logits.device)
        if self.logit > 0:
            total = self.logit * Logit()(student, teacher, kept)
        for student_layer, teacher_layer in pairs:
            tokens = at_patches(student.tokens[student_layer], kept).float()
            taught = teacher.tokens[teacher_layer].float()
            total = total + self._relations(tokens, taught) / len(pairs)
        return total

    def _relations(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Of one pair of layers; tokens (B, K, D) of either."""
        s, t = (torch.nn.functional.normalize(x, dim=-1) for x in (student, teacher))
        batch, patches, _ = s.shape
        drawn = to_device(torch.randperm(batch * patches)[: self.samples], s.device)
        return (
            self.intra * _difference(s, t)
            + self.inter * _difference(s.transpose(0, 1), t.transpose(0, 1))
            + self.sampled * _difference(s.flatten(0, 1)[drawn], t.flatten(0, 1)[drawn])
        )


def layer_pairs(student: int, teacher: int, ends: int) -> list[tuple[int, int]]:
    """The first and the last `ends` layers of both, or half of the shallower network's."""
    ends = max(1, min(ends, student // 2, teacher // 2))
    first = [(index, index) for index in range(ends)]
    last = [(student - index, teacher - index) for index in range(ends, 0, -1)]
    return list(dict.fromkeys(first + last))


def _difference(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean square difference of the relation maps of unit vectors (..., n, D)."""
    of_student, of_teacher = (x @ x.transpose(-2, -1) for x in (student, teacher))
    return torch.nn.functional.mse_loss(of_student, of_teacher)
