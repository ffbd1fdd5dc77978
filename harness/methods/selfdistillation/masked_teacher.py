"""DINO's step with a teacher that sees the patches its student attends to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harness.masking import View
from harness.masking.keep import kept_counts, top_k
from harness.methods import Batch, Networks, Step
from harness.methods.dino_masked_teacher import DinoMaskedTeacher
from harness.methods.selfdistillation.objective import SelfDistillationObjective
from harness.models.tokens import encode


class MaskedTeacherObjective(SelfDistillationObjective):
    """The student's global views first: their attention rows are by-products of its last block."""

    def __init__(self, method: DinoMaskedTeacher, networks: Networks) -> None:
        super().__init__(method, networks)
        self.masked = method
        self._counts = torch.zeros(self.student.patches, dtype=torch.int64, device=self.device)
        self._views = 0

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`total`."""
        images, count = torch.cat(batch.views[:2]), len(batch.views)
        looks = self.masked.criterion.looks_at() is not None
        own = encode(self.student, images, attention=looks)
        student = list(own.cls.chunk(2))
        if count > 2:
            student += encode(self.student, torch.cat(batch.views[2:])).cls.chunk(count - 2)
        with torch.no_grad():
            kept = self._choose(own.attention, images, step)
            teacher = encode(self.teacher, images, keep=kept).cls
        return {"total": self._cls_loss(student, teacher, step)}

    def _choose(self, attention: Tensor | None, images: Tensor, step: Step) -> Tensor | None:
        """The patches (2B, K) that the teacher is shown; None: all of them."""
        patches, keep = self.student.patches, self.masked.keep
        if keep >= patches:
            return None
        view = View(
            attention=attention,
            batch=len(images),
            patches=patches,
            keep=keep,
            device=images.device,
            generator=step.generator,
            progress=step.index / step.total,
        )
        kept = top_k(self.masked.criterion.scores(view), keep)
        self._counts += kept_counts(kept, patches)
        self._views += len(kept)
        return kept

    def state(self) -> dict[str, Any]:
        """Also the counts since the last summary."""
        return {**super().state(), "counts": self._counts, "views": self._views}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from those."""
        super().load_state(state)
        self._counts, self._views = state["counts"].to(self.device), state["views"]

    def summary(self) -> dict[str, Any]:
        """Also `kept`: share of global views in which each patch was kept, N in raster order."""
        found = super().summary()
        if self._views:
            found["kept"] = (self._counts.double() / self._views).tolist()
            self._counts, self._views = torch.zeros_like(self._counts), 0
        return found
