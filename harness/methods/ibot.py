"""iBOT: DINO with a loss over masked patches (arXiv 2111.07832); with AttMask's masks, AttMask
(arXiv 2203.12719).

It costs little more than DINO, and gives exactly iBOT's numbers. The student's and the teacher's
prototypes meet hidden patches only. The centre of the patches is the mean over all of the teacher's
patches; logits are linear in the unit vectors before the prototypes, so the mean vector is
projected once in place of every patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.bounds import NotNegative, NotNegativeInt, Positive, Unit
from harness.errors import FieldError
from harness.lazy import torch
from harness.masking import AttentionSource, PatchChoice
from harness.masking.views import MaskSampler, PatchMask
from harness.masking.views.block import BlockWise
from harness.methods import METHODS, Batch, Networks, Objective, Step
from harness.methods.selfdistillation.config import SelfDistillation
from harness.methods.selfdistillation.objective import SelfDistillationObjective
from harness.methods.selfdistillation.parts import (
    Center,
    center_and_sharpen,
    log_distribution_,
    warmed_up,
)
from harness.methods.selfdistillation.patch_masking import PatchMasking, replaced
from harness.models.architectures import Architecture
from harness.models.interface import Features, ForwardRequest, Saliency

if TYPE_CHECKING:
    from torch import Tensor

    from harness.models.layers import ProjectionHead
    from harness.train.config import Recipe

HIDDEN_SHARE = 0.15  # 30 % of the patches in half of the views, for estimates only


@METHODS.register("ibot")
@dataclass(frozen=True, kw_only=True, slots=True)
class Ibot(SelfDistillation):
    """cls_weight * (CLS loss over other views) + patch_weight * (hidden patches against the
    teacher's view of them), one head for both.

    `temperatures` serves both losses; a teacher's temperature of the patches alone can be set.
    """

    mask: MaskSampler = BlockWise()  # which patches the student does not see
    cls_weight: NotNegative = 1.0  # weight of the loss of CLS tokens
    patch_weight: NotNegative = 1.0  # weight of the loss of hidden patches
    # temperature of the teacher's patches after warm-up; none: that of its CLS token
    patch_teacher: Positive | None = None
    patch_teacher_start: Positive | None = None  # the same before warm-up
    # nothing is hidden before this epoch; the patches' warm-up starts there too
    start_epoch: NotNegativeInt = 0
    patch_center_momentum: Unit = 0.9  # as `center_momentum`, of the patches

    def __post_init__(self) -> None:
        SelfDistillation.__post_init__(self)
        if self.cls_weight == self.patch_weight == 0:
            raise FieldError(
                "patch_weight", "and `cls_weight` are both 0: there is nothing to learn from"
            )
        start, end = self.patch_temperatures
        start_given = self.patch_teacher_start is not None
        if self.temperatures.warmup_epochs == 0 and start_given and start != end:
            raise FieldError(
                "patch_teacher_start",
                f"has no effect without temperatures.warmup_epochs: leave it out; got {start:g}",
            )

    @property
    def patch_temperatures(self) -> tuple[float, float]:
        """Of the teacher's patches, before and after the warm-up."""
        start, end, shared = self.patch_teacher_start, self.patch_teacher, self.temperatures
        return (
            shared.teacher_start if start is None else start,
            shared.teacher if end is None else end,
        )

    def check(self, networks: Mapping[str, Architecture], recipe: Recipe) -> None:
        """Also the patches' warm-up, which starts with the hiding."""
        first, warmup = self.start_epoch, self.temperatures.warmup_epochs
        if first and first + warmup > recipe.epochs:
            what = f"{first} and a warm-up of {warmup} are longer than the {recipe.epochs:g} epochs"
            raise FieldError("start_epoch", what)
        SelfDistillation.check(self, networks, recipe)
        self.mask.check(*networks["student"].grid)

    def image_macs(self, student: Architecture) -> float:
        """Also whole last blocks, and patches through the heads: all of the teacher's, and hidden
        ones, a fifth or so, of the student's.
        """
        n, d = student.patches, student.width
        last = 10 * n * d * d + 2 * n * n * d  # what a lean last block leaves out
        hidden = 2 * n * HIDDEN_SHARE
        heads = 3 * self.head.macs(d, hidden, hidden) + self.head.macs(d, 2 * n, hidden)
        return SelfDistillation.image_macs(self, student) + 8 * last + heads

    def patch_choice(self) -> PatchChoice | None:
        """By the teacher's attention, where masks follow it."""
        follows = self.mask.needs_attention
        return PatchChoice(source=AttentionSource(network="teacher")) if follows else None

    def build(self, networks: Networks) -> Objective:
        """The objective over the student and its moving average."""
        return IbotObjective(self, networks)


class IbotObjective(SelfDistillationObjective):
    """The teacher sees whole global views first, then masks are drawn, then the student runs."""

    method: Ibot

    def __init__(self, method: Ibot, networks: Networks) -> None:
        from harness.models.layers import MaskToken  # here and not above: it imports torch

        super().__init__(method, networks)
        self.patch_masking = PatchMasking(method.mask, self.device)
        self.token = MaskToken(self.student.vit.embed_dim, self.device)
        self.modules["mask_token"] = self.token
        self.patch_center = Center(method.head.out_dim, method.patch_center_momentum, self.device)
        self.counted |= {"patch_center": self.patch_center, "patch_masking": self.patch_masking}

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`total`, `cls` and `patch`."""
        images = torch.cat(batch.views[:2])
        saliency = Saliency() if self.method.mask.needs_attention else None
        outputs = ForwardRequest(patches=True, saliency=saliency)
        with torch.no_grad():
            taught = self.teacher.forward_features(images, outputs=outputs)
        hidden = self._draw(step, images, taught.saliency)
        seen, student = self._seen(batch, images, hidden)
        cls = self._cls_loss(student, taught.cls, step)
        patch = self._patch_loss(seen, taught, hidden, step)
        total = self.method.cls_weight * cls + self.method.patch_weight * patch
        return {"total": total, "cls": cls, "patch": patch}

    def _seen(
        self, batch: Batch, images: Tensor, hidden: PatchMask
    ) -> tuple[Features, list[Tensor]]:
        """The student's global views `images` without what is hidden, and CLS tokens (B, D) of
        all views.
        """
        seen = replaced(self.student, images, hidden, self.token, patches=True)
        return seen, [*seen.cls.chunk(2), *self._local_views(batch)]

    def _draw(self, step: Step, images: Tensor, attention: Tensor | None) -> PatchMask:
        views, grid = len(images), self.student.grid
        if step.epoch < self.method.start_epoch:
            nothing = torch.zeros(0, dtype=torch.int64, device=self.device)
            counts = torch.zeros(views, dtype=torch.int64)
            return PatchMask(indices=nothing, counts=counts, patches=grid[0] * grid[1])
        return self.patch_masking.draw(step, views, grid, attention)

    def _patch_loss(
        self, seen: Features, taught: Features, hidden: PatchMask, step: Step
    ) -> Tensor:
        """Per view the mean over its hidden patches, 0 where there are none; then over views."""
        logits = self.head(seen.patches.flatten(0, 1)[hidden.indices])
        with torch.no_grad():
            raw = self._hidden_logits(self.teacher_head, taught.patches, hidden)
            temperature = self._patch_temperature(step)
            targets = center_and_sharpen(raw, self.patch_center.value, temperature)
        guesses = log_distribution_(logits, self.method.temperatures.student)
        return -((targets * guesses).sum(dim=-1) * hidden.weights()).sum()

    def _hidden_logits(self, head: ProjectionHead, patches: Tensor, hidden: PatchMask) -> Tensor:
        """The teacher's, (M, K); the running mean sees those of all its `patches` (2B, N, D)."""
        units, prototypes = head.embed(patches.flatten(0, 1)), head.prototypes()
        with torch.autocast(self.device.type, enabled=False):
            mean = head.project(units.float().mean(dim=0, keepdim=True), prototypes)
        self.patch_center.add(mean, len(units))
        return head.project(units[hidden.indices], prototypes)

    def _patch_temperature(self, step: Step) -> float:
        """This epoch's: warm-up starts with the hiding."""
        return warmed_up(
            *self.method.patch_temperatures,
            max(0, step.epoch - self.method.start_epoch),
            self.method.temperatures.warmup_epochs,
        )
