"""Distillation of the attention maps of all layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.bounds import NotNegative, check_bounds
from harness.lazy import torch
from harness.methods.losses import LOSSES, DistillationLoss
from harness.methods.losses.logit import Logit
from harness.models.interface import ForwardOutput, ForwardRequest


@LOSSES.register("attention")
@dataclass(frozen=True, kw_only=True, slots=True)
class Attention(DistillationLoss):
    """KL of the logits, plus the KL between attention rows, mean over queries and layers.

    arXiv 2302.10494 says "all layers, same scale" and no more. Read here as: maps are averaged over
    heads (student and teacher have different numbers), rows and columns are those of CLS and the
    patches, each row a distribution, KL(teacher || student); both terms have weight 1. Student
    layer i of S is compared with teacher layer round(i T / S), counted from 1.

    A masked teacher has rows and columns of the kept patches only. The student's maps are cut to
    them, and each row of either is divided by its sum.
    """

    weight: NotNegative = 1.0  # weight of the maps' term
    logit: NotNegative = 1.0  # weight of the logits' term

    of_student: ClassVar[ForwardRequest] = ForwardRequest(maps=True)
    of_teacher: ClassVar[ForwardRequest] = ForwardRequest(maps=True)

    def __post_init__(self) -> None:
        check_bounds(self)

    def __call__(
        self, student: ForwardOutput, teacher: ForwardOutput, kept: torch.Tensor | None
    ) -> torch.Tensor:
        """Scalar; maps are (B, 1 + N, 1 + N) and (B, 1 + K, 1 + K)."""
        rows = [
            _divergence(_cut(map_, kept), teacher.maps[layer])
            for map_, layer in zip(
                student.maps, matched(len(student.maps), len(teacher.maps)), strict=True
            )
        ]
        maps = torch.stack(rows).mean()
        return self.logit * Logit()(student, teacher, kept) + self.weight * maps


def matched(student: int, teacher: int) -> list[int]:
    """For every student layer the teacher layer at the same relative depth, from 0."""
    return [round((index + 1) * teacher / student) - 1 for index in range(student)]


def _cut(attention: torch.Tensor, kept: torch.Tensor | None) -> torch.Tensor:
    """Rows and columns of CLS and the patches `kept` (B, K)."""
    if kept is None:
        return attention
    token = torch.cat([torch.zeros_like(kept[:, :1]), kept + 1], dim=1)
    rows = attention.gather(1, token.unsqueeze(2).expand(-1, -1, attention.shape[2]))
    return rows.gather(2, token.unsqueeze(1).expand(-1, token.shape[1], -1))


def _divergence(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean over images and rows of KL(teacher || student), both (B, n, n)."""
    log_student, log_teacher = (
        torch.log((x / x.sum(dim=-1, keepdim=True)).clamp_min(1e-12))
        for x in (student.float(), teacher.float())
    )
    return (log_teacher.exp() * (log_teacher - log_student)).sum(dim=-1).mean()
