"""DINO's step with a teacher that sees the patches its student attends to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.masking import CriterionInput
from harness.masking.keep import kept_counts, top_k
from harness.methods import Batch, Networks, Step
from harness.methods.selfdistillation.objective import SelfDistillationObjective
from harness.methods.selfdistillation.parts import Center, RunningSums
from harness.models.interface import LOGITS_ONLY, ForwardRequest, Saliency

if TYPE_CHECKING:
    from harness.methods.dino_masked_teacher.config import DinoMaskedTeacher


class MaskedTeacherObjective(SelfDistillationObjective):
    """The student's global views first: their attention rows are by-products of its last block."""

    def __init__(self, method: DinoMaskedTeacher, networks: Networks) -> None:
        super().__init__(method, networks)
        self.masked = method
        self.kept = RunningSums()

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`total`."""
        images, count = torch.cat(batch.views[:2]), len(batch.views)
        looks = self.masked.criterion.attention_source() is not None
        outputs = ForwardRequest(saliency=Saliency()) if looks else LOGITS_ONLY
        encoded = self.student.forward_features(images, outputs=outputs)
        student = list(encoded.cls.chunk(2))
        if count > 2:
            local = self.student.forward_features(torch.cat(batch.views[2:]))
            student += local.cls.chunk(count - 2)
        with torch.no_grad():
            kept = self._choose(encoded.saliency, images, step)
            teacher = self.teacher.forward_features(images, keep=kept).cls
        return {"total": self._cls_loss(student, teacher, step)}

    def _choose(self, attention: Tensor | None, images: Tensor, step: Step) -> Tensor | None:
        """The patches (2B, K) that the teacher is shown; None: all of them."""
        patches, keep = self.student.patches, self.masked.keep
        if keep >= patches:
            return None
        view = CriterionInput(
            attention=attention,
            batch=len(images),
            patches=patches,
            keep=keep,
            device=images.device,
            generator=step.generator,
            progress=step.index / step.total,
            batch_slice=step.batch_slice,
        )
        kept = top_k(self.masked.criterion.scores(view), keep)
        views = torch.full((), len(kept), device=self.device)
        self.kept.add(counts=kept_counts(kept, patches), views=views)
        return kept

    def counted(self) -> list[Center | RunningSums]:
        """Also what was kept."""
        return [*super().counted(), self.kept]

    def state(self) -> dict[str, Any]:
        """Also the counts since the last summary."""
        return {**super().state(), "kept": self.kept.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from those."""
        super().load_state(state)
        self.kept.load_state(state["kept"], self.device)

    def summary(self) -> dict[str, Any]:
        """Also `kept`: share of global views in which each patch was kept, N in raster order."""
        values, sums = super().summary(), self.kept.take()
        if sums:
            values["kept"] = (sums["counts"].double() / sums["views"]).tolist()
        return values
