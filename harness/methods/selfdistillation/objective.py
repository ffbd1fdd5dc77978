"""DINO's training step: the student's crops, the teacher's global crops, one loss over pairs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from harness.distributed import DistContext
from harness.evaluate.collapse import signs
from harness.lazy import torch
from harness.methods import Batch, Networks, Objective, Step
from harness.methods.selfdistillation.config import Head, SelfDistillation
from harness.methods.selfdistillation.parts import (
    Center,
    CollapseMonitor,
    Counted,
    center_and_sharpen,
    clip_grad_norm_per_tensor_,
    cosine,
    ema_update_,
    view_loss,
    warmed_up,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.models.layers import ProjectionHead
    from harness.models.vit import VisionTransformer


FORMER_KEYS = {"watch": "collapse_monitor", "hiding": "patch_masking"}
"""Of the state, in checkpoints of earlier versions: a run that they began goes on."""


class SelfDistillationObjective(Objective):
    """Networks, schedules and state; a subclass says what is hidden from whom."""

    decays_tokens = True

    def __init__(self, method: SelfDistillation, networks: Networks) -> None:
        from harness.models.build import freeze  # here and not above: it imports torch

        self.method, self.student = method, networks.student
        vit: Any = networks.student.vit
        device = self.device = vit.cls_token.device
        vit.head.requires_grad_(False)  # the classifier has no part in this
        self.head = self._new_head(method.head)
        self.teacher: VisionTransformer = freeze(copy.deepcopy(networks.student))
        self.teacher_head = copy.deepcopy(self.head).requires_grad_(False)
        self.modules = {
            "student": self.student,
            "head": self.head,
            "teacher": self.teacher,
            "teacher_head": self.teacher_head,
        }
        # what follows what, as a moving average
        self.pairs: list[tuple[nn.Module, nn.Module]] = [
            (self.teacher, self.student),
            (self.teacher_head, self.head),
        ]
        self.center = Center(method.head.out_dim, method.center_momentum, device)
        self.collapse_monitor = CollapseMonitor()
        self.counted: dict[str, Counted] = {
            "center": self.center,
            "collapse_monitor": self.collapse_monitor,
        }

    def _new_head(self, size: Head) -> ProjectionHead:
        from harness.models.layers import ProjectionHead  # here and not above: it imports torch

        head = ProjectionHead(
            self.student.vit.embed_dim,
            hidden=size.hidden,
            bottleneck=size.bottleneck,
            out_dim=size.out_dim,
            norm_last_layer=size.norm_last_layer,
        )
        return head.to(self.device)

    @property
    def final_model(self) -> nn.Module:
        """The teacher, which is what the papers evaluate."""
        return self.teacher

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`total`."""
        with torch.no_grad():  # the two global crops in one pass, crop by crop
            teacher = self.teacher.forward_features(torch.cat(batch.views[:2])).cls
        return {"total": self._cls_loss(self._student_views(batch), teacher, step)}

    def _student_views(self, batch: Batch) -> list[Tensor]:
        """CLS tokens (B, D) of every crop, crops of one size in one pass."""
        return [cls for images in _by_size(batch.views) for cls in self._together(images)]

    def _local_views(self, batch: Batch) -> Sequence[Tensor]:
        """The student's CLS tokens (B, D) of every local crop, in one pass."""
        return self._together(batch.views[2:]) if len(batch.views) > 2 else ()

    def _together(self, images: Sequence[Tensor]) -> Sequence[Tensor]:
        return self.student.forward_features(torch.cat(list(images))).cls.chunk(len(images))

    def _cls_loss(self, student: Sequence[Tensor], teacher: Tensor, step: Step) -> Tensor:
        """DINO's loss over CLS tokens: the student's (B, D) of every view, the teacher's (2B, D).

        The centre sees the raw logits afterwards.
        """
        logits = self.head(torch.cat(list(student))).chunk(len(student))
        with torch.no_grad():
            taught = self.teacher_head(teacher).float()
            targets = center_and_sharpen(taught, self.center.value, self.teacher_temperature(step))
            targets = torch.stack(targets.chunk(2))
        self.center.add(taught.mean(dim=0, keepdim=True), len(taught))
        self.collapse_monitor.observe(targets)
        return view_loss(targets, logits, self.method.temperatures.student)

    def teacher_temperature(self, step: Step) -> float:
        """This epoch's."""
        temperatures = self.method.temperatures
        return warmed_up(
            temperatures.teacher_start, temperatures.teacher, step.epoch, temperatures.warmup_epochs
        )

    def before_update(self, step: Step, optimizer: torch.optim.Optimizer) -> None:
        """Clip each tensor, drop the frozen prototypes' gradients, set this step's weight decay."""
        for group in optimizer.param_groups:
            start = group.setdefault("weight_decay_start", group["weight_decay"])
            if start > 0:
                end = self.method.weight_decay_end
                group["weight_decay"] = cosine(start, end, step.index, step.total)
        if self.method.clip is not None:
            self.clip_gradients(optimizer, self.method.clip)
        if step.index < self.method.head.freeze_last_layer_epochs * step.per_epoch:
            for parameter in self.last_layers():
                parameter.grad = None

    def clip_gradients(self, optimizer: torch.optim.Optimizer, most: float) -> None:
        """Each tensor's to a norm of its own of at most `most`."""
        for group in optimizer.param_groups:
            clip_grad_norm_per_tensor_(
                [p.grad for p in group["params"] if p.grad is not None], most
            )

    def last_layers(self) -> list[nn.Parameter]:
        """The prototypes, which wait in the first epochs."""
        return self.head.last_layer()

    def after_step(self, step: Step) -> None:
        """Move the centre and the teacher."""
        with torch.no_grad():
            DistContext.current().all_reduce_sum_(
                [tensor for part in self.counted.values() for tensor in part.pending()]
            )
            for part in self.counted.values():
                part.update()
            momentum = cosine(self.method.momentum, 1.0, step.index, step.total)
            for slow, fast in self.pairs:
                ema_update_(list(slow.parameters()), list(fast.parameters()), 1 - momentum)

    def state(self) -> dict[str, Any]:
        """Centres, and what was counted since the last summary."""
        return {name: part.state() for name, part in self.counted.items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from those."""
        state = {FORMER_KEYS.get(key, key): value for key, value in state.items()}
        for name, part in self.counted.items():
            part.load_state(state[name], self.device)

    def summary(self) -> dict[str, Any]:
        """Entropies that tell collapse from learning, and what else a subclass counts."""
        return {key: one for part in self.counted.values() for key, one in part.summary().items()}

    def warnings(self, summary: Mapping[str, Any]) -> Mapping[str, str]:
        """Signs of collapse, long before an evaluation shows it."""
        return signs(summary, self.method.head.out_dim)


def _by_size(views: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    for _, group in groupby(views, key=lambda view: view.shape[-1]):
        yield list(group)
