"""Distillation from a teacher that merges tokens, a control of Figure 6 (arXiv 2302.10494)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from harness.bounds import NotNegative, at_least, check_bounds
from harness.errors import FieldError
from harness.lazy import torch
from harness.methods import METHODS, Method, Networks
from harness.methods.losses.logit import Logit
from harness.methods.taught import LogitsObjective
from harness.models.architectures import Architecture
from harness.models.families import family_of
from harness.models.interface import ForwardOutput

if TYPE_CHECKING:
    from harness.models.vit import VisionTransformer
    from harness.train.config import Recipe


@METHODS.register("merged-teacher")
@dataclass(frozen=True, kw_only=True, slots=True)
class MergedTeacher(Method):
    """CE(labels) + weight * KL(student, teacher), whose every block merges `merge` tokens away.

    ToMe without training (Bolya et al. 2023, arXiv 2210.09461): see `harness/models/merging.py`.
    """

    uses_teacher: ClassVar[bool] = True
    has_frozen_teacher: ClassVar[bool] = True
    extra_predictor_names: ClassVar[frozenset[str]] = frozenset({"teacher"})
    # tokens that every block of the teacher merges away
    merge: Annotated[int, at_least(1, "token a block")]
    loss: Logit = Logit()  # of the student's and the teacher's logits: `logit` alone
    weight: NotNegative = 1.0  # weight of that loss
    teacher_accuracy: bool = False  # also evaluate the merging teacher: `val/teacher_top1`

    def __post_init__(self) -> None:
        check_bounds(self)

    def check(self, networks: Mapping[str, Architecture], recipe: Recipe) -> None:
        """Only a plain ViT whose one prefix token is pooled can merge."""
        teacher = networks["teacher"]
        plain = teacher.prefix_tokens == 1 and teacher.pooling == "token"
        if not family_of(teacher).mergeable or not plain:
            raise FieldError("teacher", "cannot merge tokens: give a plain ViT with a class token")
        if self.merge >= teacher.patches:
            what = f"must be below the teacher's {teacher.patches} patches, got {self.merge}"
            raise FieldError("merge", what)

    def teacher_merge(self) -> int:
        """`merge`."""
        return self.merge

    def teach(
        self, teacher: VisionTransformer, images: torch.Tensor, kept: torch.Tensor | None
    ) -> ForwardOutput:
        """Its logits, merging."""
        assert kept is None
        return ForwardOutput(logits=teacher.merged_logits(images, self.merge), saliency=None)

    def build(self, networks: Networks) -> MergedTeacherObjective:
        """The objective over student and teacher."""
        return MergedTeacherObjective(self, networks)


class MergedTeacherObjective(LogitsObjective):
    """Student forward, merging teacher forward, two losses."""

    def __init__(self, method: MergedTeacher, networks: Networks) -> None:
        assert networks.teacher is not None
        super().__init__(method, networks, method.loss, method.weight)
        self.method, self.teacher = method, networks.teacher

    def extra_predictors(self) -> Mapping[str, Callable[[torch.Tensor], torch.Tensor]]:
        """`teacher`, merging, if that is asked for."""
        if not self.method.teacher_accuracy:
            return {}
        return {"teacher": lambda images: self.teacher.merged_logits(images, self.method.merge)}
