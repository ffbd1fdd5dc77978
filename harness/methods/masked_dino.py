"""DINO with patches hidden from some of the views."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.errors import FieldError
from harness.lazy import torch
from harness.masking import AttentionSource, PatchChoice
from harness.masking.views import MaskSampler, PatchMask
from harness.masking.views.random import RandomMask
from harness.methods import METHODS, Batch, Networks, Objective, Step
from harness.methods.selfdistillation.config import SelfDistillation
from harness.methods.selfdistillation.objective import SelfDistillationObjective
from harness.methods.selfdistillation.patch_masking import PatchMasking, dropped, replaced
from harness.models.interface import ForwardRequest, Saliency

if TYPE_CHECKING:
    from torch import Tensor

    from harness.models.architectures import Architecture
    from harness.models.layers import MaskToken
    from harness.models.vit import VisionTransformer
    from harness.train.config import Recipe


@METHODS.register("masked-dino")
@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedDino(SelfDistillation):
    """DINO's loss over CLS tokens while patches are hidden from some of the views.

    `where` says from which: the student's global views (arXiv 2506.10582), all of the student's, or
    the global views of student and teacher, the same patches in both. `how`: a learned mask
    token in their place (`replace`), or their tokens are left out (`drop`), which is cheaper when
    all views of a step lose the same number: `ratio_per: batch`.
    """

    mask: MaskSampler = RandomMask()  # which patches are hidden
    # from which views
    where: Literal["student-global", "student-all", "student-and-teacher"] = "student-global"
    # replace: a learned token takes the place of a hidden patch; drop: the patch is left out
    how: Literal["replace", "drop"] = "replace"

    def __post_init__(self) -> None:
        SelfDistillation.__post_init__(self)
        if self.mask.needs_attention and self.where != "student-global":
            raise FieldError(
                "where",
                "must be student-global: the mask looks at the attention of a teacher that sees "
                f"whole global views; got {self.where}",
            )

    def check(self, networks: Mapping[str, Architecture], recipe: Recipe) -> None:
        """Also that patches are hidden."""
        SelfDistillation.check(self, networks, recipe)
        self.mask.check(*networks["student"].grid)

    def why_no_drop_path(self) -> str | None:
        """Views that lose the same number go through together: what is drawn for an image would
        depend on the others that are computed with it.
        """
        if self.how == "replace" or self.mask.hides_equally:
            return None
        return (
            "does not go with `how: drop` where views lose different numbers of patches: leave it "
            "out, say `how: replace`, or have the mask `random` hide as many in every view, by "
            "`ratio_per: batch` and `probability: 1`"
        )

    def patch_choice(self) -> PatchChoice | None:
        """By the teacher's attention, where masks follow it."""
        follows = self.mask.needs_attention
        return PatchChoice(source=AttentionSource(network="teacher")) if follows else None

    def build(self, networks: Networks) -> Objective:
        """The objective over the student and its moving average."""
        return MaskedDinoObjective(self, networks)


class MaskedDinoObjective(SelfDistillationObjective):
    """Masks of the global views, drawn after the teacher's pass where they look at it."""

    method: MaskedDino

    def __init__(self, method: MaskedDino, networks: Networks) -> None:
        from harness.models.layers import MaskToken  # here and not above: it imports torch

        super().__init__(method, networks)
        self.patch_masking = self.counted["patch_masking"] = PatchMasking(method.mask, self.device)
        self.token: MaskToken | None = None
        self.teacher_token: MaskToken | None = None
        if method.how == "replace":
            width: int = self.student.vit.embed_dim
            self.token = self.modules["mask_token"] = MaskToken(width, self.device)
            if method.where == "student-and-teacher":
                self.teacher_token = copy.deepcopy(self.token).requires_grad_(False)
                self.modules["teacher_mask_token"] = self.teacher_token
                self.pairs.append((self.teacher_token, self.token))

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`total`."""
        images = torch.cat(batch.views[:2])
        if self.method.where == "student-and-teacher":
            hidden = self._draw(step, images, None)
            with torch.no_grad():
                teacher = self._seen(self.teacher, images, hidden, self.teacher_token)
        else:
            saliency = Saliency() if self.method.mask.needs_attention else None
            outputs = ForwardRequest(saliency=saliency)
            with torch.no_grad():
                taught = self.teacher.forward_features(images, outputs=outputs)
            teacher, hidden = taught.cls, self._draw(step, images, taught.saliency)
        seen = self._seen(self.student, images, hidden, self.token).chunk(2)
        return {"total": self._cls_loss([*seen, *self._locals(batch, step)], teacher, step)}

    def _locals(self, batch: Batch, step: Step) -> Sequence[Tensor]:
        """The student's CLS tokens (B, D) of the local views."""
        views = batch.views[2:]
        if self.method.where != "student-all" or not views:
            return self._local_views(batch)
        images = torch.cat(views)
        hidden = self._draw(step, images, None)
        return self._seen(self.student, images, hidden, self.token).chunk(len(views))

    def _draw(self, step: Step, images: Tensor, attention: Tensor | None) -> PatchMask:
        rows, columns = self.student.vit.patch_embed.patch_size
        grid = (images.shape[2] // rows, images.shape[3] // columns)
        return self.patch_masking.draw(step, len(images), grid, attention)

    def _seen(
        self, model: VisionTransformer, images: Tensor, hidden: PatchMask, token: MaskToken | None
    ) -> Tensor:
        """CLS tokens (V, D) of what is not hidden."""
        if token is None:
            return dropped(model, images, hidden)
        return replaced(model, images, hidden, token).cls
