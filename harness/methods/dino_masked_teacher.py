"""MaskedKD in DINO: the teacher sees what its student attends to (arXiv 2302.10494, Table 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.bounds import KeptPatches
from harness.errors import FieldError
from harness.evidence import FigureOf
from harness.lazy import torch
from harness.masking import Criterion, CriterionInput, PatchChoice, check_criterion
from harness.masking.attention import StudentAttention
from harness.masking.keep import kept_counts, kept_patches
from harness.methods import METHODS, Batch, Networks, Objective, Step
from harness.methods.selfdistillation.config import SelfDistillation
from harness.methods.selfdistillation.objective import SelfDistillationObjective
from harness.methods.selfdistillation.parts import RunningSums
from harness.models.architectures import Architecture
from harness.models.interface import ForwardRequest, Saliency
from harness.shown_patches import KEPT_PATCHES

if TYPE_CHECKING:
    from torch import Tensor

    from harness.train.config import Recipe


@METHODS.register("dino-masked-teacher")
@dataclass(frozen=True, kw_only=True, slots=True)
class DinoMaskedTeacher(SelfDistillation):
    """DINO whose teacher sees `keep` patches of each global view, chosen by the student's CLS token
    on that same view; local views never reach the teacher.

    No code of this was released: the choice per view is our reading of section 4.
    """

    figures: ClassVar[tuple[FigureOf, ...]] = (KEPT_PATCHES,)
    keep: KeptPatches  # patches of a global view that the teacher sees
    criterion: Criterion = StudentAttention()  # which ones

    def __post_init__(self) -> None:
        SelfDistillation.__post_init__(self)
        check_criterion(self.criterion, self.keep)
        look = self.criterion.attention_source()
        free = (None, StudentAttention().attention_source())
        if look not in free:
            raise FieldError(
                "criterion",
                "must look at the student's CLS row in its last block or at nothing: that is all "
                "the attention that the student's own pass gives",
            )

    def teacher_keep(self, patches: int) -> int:
        """The keep count, or all patches."""
        return min(self.keep, patches)

    def patch_choice(self) -> PatchChoice | None:
        """By the criterion."""
        source = self.criterion.attention_source()
        return None if source is None else PatchChoice(source=source)

    def check(self, networks: Mapping[str, Architecture], recipe: Recipe) -> None:
        """More patches than there are would be DINO under another name."""
        patches = networks["student"].patches
        if self.keep > patches:
            raise FieldError("keep", f"must be at most the student's {patches}, got {self.keep}")
        SelfDistillation.check(self, networks, recipe)

    def build(self, networks: Networks) -> Objective:
        """The objective over the student and its moving average."""
        return MaskedTeacherObjective(self, networks)


class _Kept(RunningSums):
    """How often each patch was kept."""

    def summary(self) -> dict[str, Any]:
        """`kept`: share of global views in which each patch was kept, N in raster order."""
        sums = self.take()
        return {"kept": (sums["counts"].double() / sums["views"]).tolist()} if sums else {}


class MaskedTeacherObjective(SelfDistillationObjective):
    """The student's global views first: their attention rows are by-products of its last block."""

    method: DinoMaskedTeacher

    def __init__(self, method: DinoMaskedTeacher, networks: Networks) -> None:
        super().__init__(method, networks)
        self.kept = self.counted["kept"] = _Kept()

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`total`."""
        images = torch.cat(batch.views[:2])
        looks = self.method.criterion.attention_source() is not None
        outputs = ForwardRequest(saliency=Saliency() if looks else None)
        encoded = self.student.forward_features(images, outputs=outputs)
        student = [*encoded.cls.chunk(2), *self._local_views(batch)]
        with torch.no_grad():
            kept = self._choose(encoded.saliency, images, step)
            teacher = self.teacher.forward_features(images, keep=kept).cls
        return {"total": self._cls_loss(student, teacher, step)}

    def _choose(self, attention: Tensor | None, images: Tensor, step: Step) -> Tensor | None:
        """The patches (2B, K) that the teacher is shown; None: all of them."""
        patches, keep = self.student.patches, self.method.keep
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
        kept = kept_patches(self.method.criterion, view)
        views = torch.full((), len(kept), device=self.device)
        self.kept.add(counts=kept_counts(kept, patches), views=views)
        return kept
