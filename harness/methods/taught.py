"""Objectives with a frozen teacher, whose passes another process may compute."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from harness.lazy import torch
from harness.methods import Batch, Method, Networks, Objective, Step
from harness.methods.labels import soft_cross_entropy
from harness.methods.losses.logit import Logit

if TYPE_CHECKING:
    from harness.models.interface import ForwardOutput


class TaughtObjective(Objective):
    """The losses are those of `begin`, which has the two parts."""

    def losses(self, batch: Batch, step: Step) -> dict[str, torch.Tensor]:
        """Both parts, one after the other."""
        return self.begin(batch, step)()


class LogitsObjective(TaughtObjective):
    """Student and teacher see the image, each in its way; two losses."""

    def __init__(self, method: Method, networks: Networks, loss: Logit, weight: float) -> None:
        self.student, self.loss, self.weight = networks.student, loss, weight
        self.ask_teacher = partial(networks.teacher_pass, method)
        self.modules = {"student": networks.student}

    def student_output(self, images: torch.Tensor) -> ForwardOutput:
        """What the student learns by."""
        output: ForwardOutput = self.student(images)
        return output

    def begin(self, batch: Batch, step: Step) -> Callable[[], dict[str, torch.Tensor]]:
        """The teacher has its images, and the student's passes are done; `total`, `ce` and
        `distill` are left.
        """
        taught = self.ask_teacher(batch.images)
        taught.show(None)
        student = self.student_output(batch.images)

        def rest() -> dict[str, torch.Tensor]:
            ce = soft_cross_entropy(student.logits, batch.targets)
            distill = self.loss(student, taught.output(), None)
            return {"total": ce + self.weight * distill, "ce": ce, "distill": distill}

        return rest
