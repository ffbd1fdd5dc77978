"""DINOv2: iBOT with targets that the whole batch decides, features that are kept apart, and heads
of their own for CLS token and patches (arXiv 2304.07193; facebookresearch/dinov2).

With `targets: centering`, `koleo_weight: 0`, `heads: shared`, `patch_center_of: all`, `clip_by:
tensor`, `warmup_by: epoch` and iBOT's mask it is iBOT, so a table can add one change a row.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

from harness.bounds import NotNegative, Unit, at_least
from harness.data.multicrop import MultiCrop
from harness.errors import FieldError
from harness.lazy import torch
from harness.masking.views import MaskSampler, PatchMask
from harness.masking.views.stratified import StratifiedBlocks
from harness.methods import METHODS, Batch, Networks, Objective, Step
from harness.methods.ibot import HIDDEN_SHARE, Ibot, IbotObjective
from harness.methods.selfdistillation.config import Head
from harness.methods.selfdistillation.koleo import koleo
from harness.methods.selfdistillation.parts import (
    center_and_sharpen,
    log_distribution_,
    view_loss,
    warmed_up,
)
from harness.methods.selfdistillation.sinkhorn import assigned, prototype_offsets
from harness.models.architectures import Architecture
from harness.models.interface import ForwardRequest, Saliency

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.train.config import Recipe


@METHODS.register("dinov2")
@dataclass(frozen=True, kw_only=True, slots=True)
class Dinov2(Ibot):
    """cls_weight * CLS loss + patch_weight * loss of hidden patches + koleo_weight * KoLeo."""

    # the views of an image
    crops: MultiCrop = MultiCrop(global_scale=(0.32, 1.0), local_scale=(0.05, 0.32))
    # the projection head of student and teacher; with `heads: separate` that of the CLS token
    head: Head = Head(norm_last_layer=False)
    momentum: Unit = 0.992  # of the teacher, the moving average of the student; cosine to 1
    mask: MaskSampler = StratifiedBlocks()  # which patches the student does not see
    # what the teacher's logits become. sinkhorn: every prototype gets the same share of the batch,
    # class tokens and hidden patches apart; centering: less a running mean, as in DINO
    targets: Literal["sinkhorn", "centering"] = "sinkhorn"
    sinkhorn_iterations: Annotated[int, at_least(1, most=1000)] = 3  # of prototypes and samples
    # separate: patches have a head of their own, of the same size; shared: one head, as iBOT
    heads: Literal["separate", "shared"] = "separate"
    # `bottleneck` of the patches' own head; none: that of `head`
    patch_bottleneck: Annotated[int, at_least(1, most=1_000_000)] | None = None
    koleo_weight: NotNegative = 0.1  # weight of KoLeo, summed over both global views
    # images among which nearest neighbours are sought: those of one GPU, as released
    koleo_images: Annotated[int, at_least(2, "images", most=1_000_000)] = 64
    # whose gradient has a norm of at most `clip`. module: network and each head; tensor: as in DINO
    clip_by: Literal["module", "tensor"] = "module"
    # how the teacher's temperature rises: with every step, or by whole epochs, as in DINO
    warmup_by: Literal["step", "epoch"] = "step"
    # whose mean `centering` takes from the patches' logits: of the hidden ones, or of all, as iBOT
    patch_center_of: Literal["hidden", "all"] = "hidden"

    def __post_init__(self) -> None:
        Ibot.__post_init__(self)
        if self.heads == "shared" and self.patch_bottleneck is not None:
            raise FieldError("patch_bottleneck", "has no effect with `heads: shared`: leave it out")

    @property
    def group_size(self) -> int:
        """KoLeo compares images."""
        return self.koleo_images if self.koleo_weight > 0 else 1

    def image_macs(self, student: Architecture) -> float:
        """iBOT's; but where no running mean is over all patches, the teacher's head sees hidden
        ones alone.
        """
        unseen = 0.0
        if self.targets == "sinkhorn" or self.patch_center_of == "hidden":
            unseen = 2 * student.patches * (1 - HIDDEN_SHARE)
        return Ibot.image_macs(self, student) - self.head.macs(student.width, unseen, 0)

    def check(self, networks: Mapping[str, Architecture], recipe: Recipe) -> None:
        """Also that an image has a neighbour."""
        Ibot.check(self, networks, recipe)
        if self.koleo_weight > 0 and recipe.batch_size < 2:
            what = "compares images, and `recipe.batch_size` is 1: give more, or a weight of 0"
            raise FieldError("koleo_weight", what)

    def build(self, networks: Networks) -> Objective:
        """The objective over the student and its moving average."""
        return Dinov2Objective(self, networks)


@dataclass(frozen=True, slots=True)
class _Taught:
    """What the teacher says of a (micro-)batch of B images."""

    hidden: PatchMask  # of the 2B global views
    cls: Tensor  # (2B, K): logits of the CLS tokens
    patches: Tensor  # (M, K): logits of the hidden patches


class Dinov2Objective(IbotObjective):
    """The teacher sees the whole batch first: what its targets are depends on all of it."""

    method: Dinov2

    def __init__(self, method: Dinov2, networks: Networks) -> None:
        super().__init__(method, networks)
        self.patch_head, self.teacher_patch_head = self.head, self.teacher_head
        if method.heads == "separate":
            size = method.head
            if method.patch_bottleneck is not None:
                size = replace(size, bottleneck=method.patch_bottleneck)
            self.patch_head = self._new_head(size)
            self.teacher_patch_head = copy.deepcopy(self.patch_head).requires_grad_(False)
            self.modules["patch_head"] = self.patch_head
            self.modules["teacher_patch_head"] = self.teacher_patch_head
            self.pairs.append((self.teacher_patch_head, self.patch_head))
        self._taught: list[_Taught] = []
        self._offsets: tuple[Tensor, Tensor] | None = None  # of CLS tokens and patches, (1, K) each

    def before_losses(self, pieces: Iterator[tuple[Batch, Step]]) -> None:
        """The teacher's pass over all of this process's batch, and what all processes' decide."""
        self._taught = []
        with torch.no_grad():
            temperatures = (0.0, 0.0)
            for batch, step in pieces:
                self._taught.append(self._teach(batch, step))
                temperatures = self.teacher_temperature(step), self._patch_temperature(step)
            if self.method.targets == "sinkhorn":
                self._offsets = (
                    self._sinkhorn([taught.cls for taught in self._taught], temperatures[0]),
                    self._sinkhorn([taught.patches for taught in self._taught], temperatures[1]),
                )

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`total`, `cls`, `patch`, and `koleo` where it has a weight."""
        assert self._taught, "`before_losses` comes first"
        taught = self._taught.pop(0)
        seen, student = self._seen(batch, torch.cat(batch.views[:2]), taught.hidden)
        logits = self.head(torch.cat(student)).chunk(len(student))
        targets = torch.stack(self._cls_targets(taught, step).chunk(2))
        self.collapse_monitor.observe(targets)
        cold = self.method.temperatures.student
        losses = {"cls": view_loss(targets, logits, cold)}
        raw = self.patch_head(seen.patches.flatten(0, 1)[taught.hidden.indices])
        guesses = log_distribution_(raw, cold)
        each = -(self._patch_targets(taught, step) * guesses).sum(dim=-1)
        losses["patch"] = (each * taught.hidden.weights()).sum()
        total = self.method.cls_weight * losses["cls"] + self.method.patch_weight * losses["patch"]
        if self.method.koleo_weight > 0:
            size = len(batch.images)
            groups = list(step.batch_slice.groups(size, self.method.koleo_images).values())
            # each global view apart: two views of an image are never pushed apart
            losses["koleo"] = torch.stack([koleo(view, groups) for view in student[:2]]).sum()
            total = total + self.method.koleo_weight * losses["koleo"]
        return {"total": total, **losses}

    def _teach(self, batch: Batch, step: Step) -> _Taught:
        """The teacher's logits, and this batch's masks; running means see the logits."""
        images = torch.cat(batch.views[:2])
        saliency = Saliency() if self.method.mask.needs_attention else None
        outputs = ForwardRequest(patches=True, saliency=saliency)
        tokens = self.teacher.forward_features(images, outputs=outputs)
        hidden = self._draw(step, images, tokens.saliency)
        cls, patches, head = self.teacher_head(tokens.cls), tokens.patches, self.teacher_patch_head
        if self.method.targets == "sinkhorn":
            return _Taught(hidden, cls, head(patches.flatten(0, 1)[hidden.indices]))
        self.center.add(cls.float().mean(dim=0, keepdim=True), len(cls))
        if self.method.patch_center_of == "all":
            return _Taught(hidden, cls, self._hidden_logits(head, patches, hidden))
        raw = head(patches.flatten(0, 1)[hidden.indices])
        if len(raw):
            self.patch_center.add(raw.float().mean(dim=0, keepdim=True), len(raw))
        return _Taught(hidden, cls, raw)

    def _sinkhorn(self, parts: list[Tensor], temperature: float) -> Tensor:
        return prototype_offsets(
            parts, temperature, self.method.sinkhorn_iterations, self.method.head.out_dim
        )

    def _cls_targets(self, taught: _Taught, step: Step) -> Tensor:
        temperature = self.teacher_temperature(step)
        if self._offsets is None:
            return center_and_sharpen(taught.cls, self.center.value, temperature)
        return assigned(taught.cls, self._offsets[0], temperature)

    def _patch_targets(self, taught: _Taught, step: Step) -> Tensor:
        temperature = self._patch_temperature(step)
        if self._offsets is None:
            return center_and_sharpen(taught.patches, self.patch_center.value, temperature)
        return assigned(taught.patches, self._offsets[1], temperature)

    def teacher_temperature(self, step: Step) -> float:
        """This step's."""
        if self.method.warmup_by == "epoch":
            return super().teacher_temperature(step)
        shared = self.method.temperatures
        steps = shared.warmup_epochs * step.per_epoch
        return warmed_up(shared.teacher_start, shared.teacher, step.index, steps)

    def _patch_temperature(self, step: Step) -> float:
        if self.method.warmup_by == "epoch":
            return super()._patch_temperature(step)
        hiding = max(0, step.index - self.method.start_epoch * step.per_epoch)
        steps = self.method.temperatures.warmup_epochs * step.per_epoch
        return warmed_up(*self.method.patch_temperatures, hiding, steps)

    def clip_gradients(self, optimizer: torch.optim.Optimizer, most: float) -> None:
        """Those of the network with its mask token, and of each head, to a norm of at most `most`
        together.
        """
        if self.method.clip_by == "tensor":
            super().clip_gradients(optimizer, most)
            return
        parts: list[list[nn.Module]] = [[self.student, self.token], [self.head]]
        if self.patch_head is not self.head:
            parts.append([self.patch_head])
        for modules in parts:
            parameters = [p for module in modules for p in module.parameters()]
            torch.nn.utils.clip_grad_norm_(parameters, most)

    def last_layers(self) -> list[nn.Parameter]:
        """The prototypes of both heads."""
        own = [] if self.patch_head is self.head else self.patch_head.last_layer()
        return [*super().last_layers(), *own]
