"""The fine-tuning stage of G2SD (Huang et al. 2023, CVPR): the distillation token learns from the
teacher.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from harness.bounds import Positive, check_bounds
from harness.errors import FieldError
from harness.lazy import torch
from harness.methods.losses import LOSSES, DistillationLoss
from harness.methods.losses.logit import Logit
from harness.models.architectures import Architecture
from harness.models.families import family_of
from harness.models.interface import ForwardOutput, ForwardRequest


@LOSSES.register("g2sd")
@dataclass(frozen=True, kw_only=True, slots=True)
class G2SD(DistillationLoss):
    """Labels teach the class token's head, the teacher the distillation token's.

    At evaluation their logits are averaged, as in DeiT.

    Only G2SD's second, task-specific stage: the student may start from a checkpoint of the first
    (`weights: {file: ..., head: new}`), which is not part of MaskedKD and not here. arXiv
    2302.10494 says only that the teacher is masked in the fine-tuning stage. G2SD's public code
    (pengzhiliang/G2SD at 6178b78, engine_finetune_dis.py) has `hard`, cross-entropy with the
    teacher's choice, and halves the sum of both terms, to which AdamW is indifferent; without
    `hard`, KL at a temperature, ours. There the distillation token stands last and has no position
    embedding.
    """

    temperature: Positive = 1.0  # of both softmaxes, without `hard`
    hard: bool = False  # cross-entropy with the teacher's most likely class instead

    of_student: ClassVar[ForwardRequest] = ForwardRequest(heads=True)

    def __post_init__(self) -> None:
        check_bounds(self)

    def check(self, student: Architecture, teacher: Architecture) -> None:
        """The student needs a distillation token."""
        if not family_of(student).gives_heads or not student.distilled:
            raise FieldError(
                "loss",
                "g2sd needs a student with a distillation token: deit_small_distilled_patch16_224",
            )

    def __call__(
        self, student: ForwardOutput, teacher: ForwardOutput, kept: torch.Tensor | None
    ) -> torch.Tensor:
        """Scalar; logits are (B, classes)."""
        assert student.distilled is not None
        loss = Logit(temperature=self.temperature, hard=self.hard)
        return loss(replace(student, logits=student.distilled), teacher, kept)
