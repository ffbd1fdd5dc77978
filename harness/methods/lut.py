"""LUT: MAE that also learns from what it does not see, "unmasked tokens" (arXiv 2310.13593).

Two views of an image are masked so that they show different places. The student's embedding of each
is to be near the one that its moving average makes of the other view as a whole.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from harness.bounds import NotNegative, Unit, at_least, check_bounds
from harness.data.multicrop import MultiCrop
from harness.errors import FieldError
from harness.lazy import torch
from harness.methods import METHODS, Batch, Networks, Objective, Step
from harness.methods.mae import Mae, MaeObjective, encoder_macs, random_order
from harness.methods.selfdistillation.parts import cosine, ema_update_
from harness.models.architectures import Architecture
from harness.models.interface import ForwardRequest
from harness.transfer import to_device

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.models.vit import VisionTransformer
    from harness.train.config import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoViews(MultiCrop):
    """Two views of the whole image, each shifted and mirrored by itself; the second is recoloured:
    jitter, then one of grey, blur and solarise.
    """

    # crops beside the two views: none
    local_crops: Annotated[int, at_least(0, most=0)] = 0
    cut: Literal["resized", "pad"] = "pad"  # as of `ibot`; here the whole image, shifted
    recolored: Literal["all", "second"] = "second"  # which views' colours are changed
    effects: Literal["each", "one"] = "one"  # what happens after the jitter, as of `ibot`

    ADDED_LATER: ClassVar[frozenset[str]] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class LutHead:
    """Head of student and teacher, and the student's predictor: two layers with batch norm each."""

    hidden: Annotated[int, at_least(1, most=1_000_000)] = 4096  # width between the two layers

    def __post_init__(self) -> None:
        check_bounds(self)


@METHODS.register("lut")
@dataclass(frozen=True, kw_only=True, slots=True)
class Lut(Mae):
    """MAE's loss of the first view + `context_weight` * (2 - 2 cos), the cosine between what the
    student predicts from the patches it sees of one view and the teacher's embedding of all of the
    other; mean over both pairs.

    Embeddings are of the mean over patch tokens, without the class token. Batch norm is over the
    whole batch of a step, so that it cannot be computed in parts.
    """

    version: ClassVar[int] = 2  # from 2 on heads start from Xavier weights too

    crops: TwoViews = TwoViews()  # the two views of an image
    context_weight: NotNegative = 0.25  # weight of the loss between views
    # which patches of the second view are seen. disjoint: other places than in the first; same: the
    # same places; independent: drawn anew
    second_view: Literal["disjoint", "same", "independent"] = "disjoint"
    # which of its two views the teacher is asked about: the other one, or the student's own
    teacher_view: Literal["other", "own"] = "other"
    momentum: Unit = 0.996  # of the teacher, the moving average of the student; cosine to 1
    head: LutHead = LutHead()  # what embeddings go through

    @property
    def needs_whole_batch(self) -> bool:
        """For its batch norm."""
        return True

    @property
    def multicrop(self) -> MultiCrop:
        """Two views."""
        return self.crops

    def check(self, networks: Mapping[str, Architecture], recipe: Recipe) -> None:
        """Also that two views can show different places, that a border can reflect them, and that
        a batch has a variance.
        """
        Mae.check(self, networks, recipe)
        if recipe.batch_size < 2:
            what = "needs a `recipe.batch_size` of 2 or more: its batch norm compares images"
            raise FieldError("method", what)
        student = networks["student"]
        if self.second_view == "disjoint" and 2 * self.seen(student.patches) > student.patches:
            what = f"must be 0.5 or more for disjoint views, got {self.mask_ratio:g}"
            raise FieldError("mask_ratio", what)
        self.crops.check(student.image_size)

    def image_macs(self, student: Architecture) -> float:
        """Also the second view's encoder, and the teacher on two whole views, forward alone."""
        whole = encoder_macs(student, student.patches)
        seen = encoder_macs(student, self.seen(student.patches))
        head = 2 * student.width * self.head.hidden
        return Mae.image_macs(self, student) + 3 * (seen + 4 * head) + 2 * (whole + head)

    def build(self, networks: Networks) -> Objective:
        """The objective over the student and its moving average."""
        return LutObjective(self, networks)


class LutObjective(MaeObjective):
    """The teacher embeds both whole views, then the student what it sees of each."""

    method: Lut

    def __init__(self, method: Lut, networks: Networks) -> None:
        from harness.models.batch_norm import EmbeddingHead  # here and not above: they import torch
        from harness.models.build import freeze

        super().__init__(method, networks)
        vit: Any = self.student.vit
        self.device = vit.cls_token.device
        width, hidden = vit.embed_dim, method.head.hidden
        self.head = EmbeddingHead(width, hidden=hidden, outputs=width).to(self.device)
        self.predictor = EmbeddingHead(width, hidden=hidden, outputs=width).to(self.device)
        self.teacher: VisionTransformer = freeze(copy.deepcopy(self.student))
        self.teacher_head = copy.deepcopy(self.head).requires_grad_(False).eval()
        self.modules |= {
            "head": self.head,
            "predictor": self.predictor,
            "teacher": self.teacher,
            "teacher_head": self.teacher_head,
        }
        self.pairs: list[tuple[nn.Module, nn.Module]] = [
            (self.teacher, self.student),
            (self.teacher_head, self.head),
        ]

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`total`, `pixels` and `context`."""
        drawn = self.draw_views(step, len(batch.images))
        first, second = (to_device(keep, self.device) for keep in drawn)
        images, seen = batch.views[0], self.method.seen(self.student.patches)
        taught = self._taught(batch.views)
        keep = torch.cat([first[:, :seen], second])
        tokens = self.encoded(torch.cat(batch.views[:2]), keep)
        pixels = self.pixel_loss(images, tokens[: len(images)], first[:, :seen], first[:, seen:])
        context = self._context_loss(tokens[:, 1:].mean(dim=1).chunk(2), taught)
        total = pixels + self.method.context_weight * context
        return {"total": total, "pixels": pixels, "context": context}

    def draw_views(self, step: Step, images: int) -> tuple[Tensor, Tensor]:
        """On the CPU: a random order of the first view's patches (B, N), of which the first ones
        are seen, and the patches of the second view that are seen (B, K).
        """
        order, seen = self.draw_order(step, images), self.method.seen(self.student.patches)
        if self.method.second_view == "same":
            return order, order[:, :seen]
        if self.method.second_view == "disjoint":
            return order, order[:, seen : 2 * seen]
        again = random_order(images, self.student.patches, step.generator, step.batch_slice)
        return order, again[:, :seen]

    def _taught(self, views: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The teacher's embeddings (B, D) of both views, whole."""
        with torch.no_grad():
            outputs = ForwardRequest(patches=True)
            features = self.teacher.forward_features(torch.cat(views[:2]), outputs=outputs)
            first, second = self.teacher_head(features.patches.mean(dim=1)).chunk(2)
            return first, second

    def _context_loss(self, pooled: tuple[Tensor, ...], taught: tuple[Tensor, Tensor]) -> Tensor:
        """The mean of 2 - 2 cos over images and both pairs; batch norm sees one view at a time."""
        targets = taught if self.method.teacher_view == "own" else taught[::-1]
        losses = [
            2
            - 2
            * torch.nn.functional.cosine_similarity(
                self.predictor(self.head(own)).float(), target.float(), dim=1
            ).mean()
            for own, target in zip(pooled, targets, strict=True)
        ]
        return torch.stack(losses).mean()

    def after_step(self, step: Step) -> None:
        """Move the teacher, and the running statistics of its batch norm."""
        share = 1 - cosine(self.method.momentum, 1.0, step.index, step.total)
        for slow, fast in self.pairs:
            ema_update_(
                [*slow.parameters(), *slow.buffers()], [*fast.parameters(), *fast.buffers()], share
            )
