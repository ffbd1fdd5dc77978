"""iBOT's step at little more than DINO's cost, and exactly its numbers (arXiv 2111.07832).

The student's and the teacher's prototypes meet hidden patches only. The centre of the patches is
the mean over all of the teacher's patches; logits are linear in the unit vectors before the
prototypes, so the mean vector is projected once in place of every patch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from harness.masking.views import PatchMask
from harness.methods import Batch, Networks, Step
from harness.methods.selfdistillation.objective import SelfDistillationObjective
from harness.methods.selfdistillation.parts import Center, RunningSums, center_and_sharpen
from harness.methods.selfdistillation.patch_masking import MaskToken, PatchMasking, replaced
from harness.methods.selfdistillation.schedules import warmed_up
from harness.models.interface import Features, ForwardRequest, Saliency

if TYPE_CHECKING:
    from harness.methods.ibot.config import Ibot


class IbotObjective(SelfDistillationObjective):
    """The teacher sees whole global views first, then masks are drawn, then the student runs."""

    def __init__(self, method: Ibot, networks: Networks) -> None:
        super().__init__(method, networks)
        self.ibot = method
        self.patch_masking = PatchMasking(method.mask, self.device)
        self.token = MaskToken(self.student.vit.embed_dim, self.device)
        self.modules["mask_token"] = self.token
        self.patch_center = Center(method.head.out_dim, method.patch_center_momentum, self.device)

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`total`, `cls` and `patch`."""
        images, count = torch.cat(batch.views[:2]), len(batch.views)
        saliency = Saliency() if self.ibot.mask.needs_attention else None
        outputs = ForwardRequest(patches=True, saliency=saliency)
        with torch.no_grad():
            taught = self.teacher.forward_features(images, outputs=outputs)
        hidden = self._draw(step, images, taught.saliency)
        seen = replaced(self.student, images, hidden, self.token, patches=True)
        student = list(seen.cls.chunk(2))
        if count > 2:
            local = self.student.forward_features(torch.cat(batch.views[2:]))
            student += local.cls.chunk(count - 2)
        cls = self._cls_loss(student, taught.cls, step)
        patch = self._patch_loss(seen, taught, hidden, step)
        total = self.ibot.cls_weight * cls + self.ibot.patch_weight * patch
        return {"total": total, "cls": cls, "patch": patch}

    def _draw(self, step: Step, images: Tensor, attention: Tensor | None) -> PatchMask:
        views, grid = len(images), self.student.grid
        if step.epoch < self.ibot.start_epoch:
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
            units = self.teacher_head.embed(taught.patches.flatten(0, 1))
            raw = self.teacher_head.project(units[hidden.indices])
            targets = center_and_sharpen(
                raw, self.patch_center.value, self._patch_temperature(step)
            )
            with torch.autocast(self.device.type, enabled=False):
                mean = self.teacher_head.project(units.float().mean(dim=0, keepdim=True))
        self.patch_center.add(mean, len(units))
        guesses = functional.log_softmax(logits.float() / self.method.temperatures.student, dim=-1)
        return -((targets * guesses).sum(dim=-1) * hidden.weights()).sum()

    def _patch_temperature(self, step: Step) -> float:
        """This epoch's: warm-up starts with the hiding."""
        return warmed_up(
            *self.ibot.patch_temperatures,
            max(0, step.epoch - self.ibot.start_epoch),
            self.method.temperatures.warmup_epochs,
        )

    def counted(self) -> list[Center | RunningSums]:
        """Also the patches' centre, and how much was hidden."""
        return [*super().counted(), self.patch_center, self.patch_masking]

    def state(self) -> dict[str, Any]:
        """Also the patches' centre, and how much was hidden since the last summary."""
        of_patches = {
            "patch_center": self.patch_center.value,
            "patch_masking": self.patch_masking.state(),
        }
        return {**super().state(), **of_patches}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from those."""
        super().load_state(state)
        self.patch_center.value = state["patch_center"].to(self.device)
        self.patch_masking.load_state(state["patch_masking"], torch.device("cpu"))

    def summary(self) -> dict[str, Any]:
        """Also `hidden_share`."""
        return {**super().summary(), **self.patch_masking.summary()}
