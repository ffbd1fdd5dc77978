"""Supervised distillation, with MaskedKD when a `mask` is given (arXiv 2302.10494)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from harness.batch_slice import FULL_BATCH, BatchSlice
from harness.bounds import KeptPatches, NotNegative, check_bounds
from harness.data.dataset import LABELLINGS, Labelling
from harness.distributed import DistContext
from harness.errors import FieldError
from harness.evidence import FigureOf
from harness.lazy import torch
from harness.masking import AttentionSource, Criterion, CriterionInput, PatchChoice, check_criterion
from harness.masking.attention import StudentAttention
from harness.masking.keep import kept_counts, kept_patches, to_grid
from harness.masking.positions import distance_from_centre, evenness
from harness.methods import METHODS, Batch, Method, Networks, Step
from harness.methods.labels.of_network import label_loss
from harness.methods.losses import DistillationLoss
from harness.methods.losses.logit import Logit
from harness.methods.taught import TaughtObjective
from harness.models.architectures import Architecture
from harness.models.families import family_of
from harness.models.interface import ForwardOutput
from harness.seeding import generator, seed_unnamed, stream
from harness.shown_patches import KEPT_PATCHES
from harness.transfer import to_device

if TYPE_CHECKING:
    from harness.models.vit import VisionTransformer
    from harness.train.config import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Mask:
    """How many patches the teacher sees, and which."""

    keep: KeptPatches  # an absolute number: the paper's "75 %" of 196 is 144
    criterion: Criterion = StudentAttention()  # which ones: the patches with the highest scores

    def __post_init__(self) -> None:
        check_bounds(self)
        check_criterion(self.criterion, self.keep)


@METHODS.register("distillation")
@dataclass(frozen=True, kw_only=True, slots=True)
class Distillation(Method):
    """labels * CE(labels) + weight * loss(student, teacher); with `mask`, the teacher sees only the
    kept patches. In place of CE, networks that find boxes have the loss of DETR.

    The paper writes CE + lambda * KL with lambda = 1; its released code halves both terms. Code
    that weights them by 1 - alpha and alpha has no label term at alpha = 1: `labels: 0.0`.
    """

    uses_teacher: ClassVar[bool] = True
    labellings: ClassVar[frozenset[Labelling]] = LABELLINGS
    figures: ClassVar[tuple[FigureOf, ...]] = (KEPT_PATCHES,)
    extra_predictor_names: ClassVar[frozenset[str]] = frozenset({"teacher"})
    extra_metrics: ClassVar[frozenset[str]] = frozenset({"kept/evenness", "kept/distance"})
    has_frozen_teacher: ClassVar[bool] = True
    loss: DistillationLoss = Logit()  # what of the teacher the student imitates
    weight: NotNegative = 1.0  # weight of that loss, the paper's lambda
    mask: Mask | None = None  # which patches the teacher sees; none: all
    # also evaluate the teacher on the patches that it is shown, `val/teacher_top1`, and which those
    # are: `kept/evenness`, `kept/distance`
    teacher_accuracy: bool = False
    labels: NotNegative = 1.0  # weight of the cross-entropy with the labels

    ADDED_LATER: ClassVar[frozenset[str]] = frozenset({"teacher_accuracy", "labels"})

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.weight == self.labels == 0:
            raise FieldError("labels", "and `weight` are both 0: there is nothing to learn from")

    @property
    def uses_saliency_model(self) -> bool:
        """Whether the mask's criterion does."""
        source = None if self.mask is None else self.mask.criterion.attention_source()
        return source is not None and source.network == "saliency_model"

    @property
    def group_size(self) -> int:
        """As many as the base loss compares."""
        return self.loss.group_size

    def check(self, networks: Mapping[str, Architecture], recipe: Recipe) -> None:
        """The loss must fit the networks, and the criterion's attention must exist."""
        teacher = networks["teacher"]
        if self.mask is not None and self.mask.keep > teacher.patches:
            what = f"the patches of the teacher, got {self.mask.keep}"
            raise FieldError("mask.keep", f"must be at most {teacher.patches}, {what}")
        self._check_labelling(networks["student"], teacher)
        self.loss.check(networks["student"], teacher)
        if self.teacher_keep(family_patches(teacher)) == family_patches(teacher):
            return
        if not family_of(teacher).maskable:
            raise FieldError("teacher", f"a {teacher.family} cannot leave patches out: no mask")
        assert self.mask is not None
        source = self.mask.criterion.attention_source()
        if source is not None:
            _check_attention_source(source, networks)

    def _check_labelling(self, student: Architecture, teacher: Architecture) -> None:
        told = family_of(student).labelling
        if family_of(teacher).labelling != told:
            other = family_of(teacher).labelling
            raise FieldError("teacher", f"tells {other} of an image, and the student {told}")
        if told not in self.loss.labellings:
            known = " and ".join(sorted(self.loss.labellings))
            raise FieldError("loss", f"compares networks that tell {known}, these tell {told}")
        if self.teacher_accuracy and told != "classes":
            raise FieldError("teacher_accuracy", f"is of networks that tell classes, not {told}")

    def teacher_keep(self, patches: int) -> int:
        """The mask's keep count, or all patches."""
        return patches if self.mask is None else min(self.mask.keep, patches)

    def patch_choice(self) -> PatchChoice | None:
        """By the mask's criterion; only the student's own attention comes without another pass."""
        source = None if self.mask is None else self.mask.criterion.attention_source()
        if source is None:
            return None
        return PatchChoice(source=source, own_pass=source.network != "student")

    def teach(
        self, teacher: VisionTransformer, images: torch.Tensor, kept: torch.Tensor | None
    ) -> ForwardOutput:
        """What the loss asks for, of the kept patches."""
        with torch.no_grad():
            output: ForwardOutput = teacher(images, keep=kept, outputs=self.loss.of_teacher)
        return output

    def build(self, networks: Networks) -> DistillationObjective:
        """The objective over student and teacher."""
        return DistillationObjective(self, networks)


def family_patches(shape: Architecture) -> int:
    """Patches of the grid that saliency is given for."""
    rows, columns = family_of(shape).grid(shape)
    return rows * columns


def _check_attention_source(source: AttentionSource, networks: Mapping[str, Architecture]) -> None:
    shape = networks.get(source.network)
    if shape is None:
        raise FieldError(source.network, "is missing: the mask's criterion looks at its attention")
    family = family_of(shape)
    if source.saliency.queries not in family.queries:
        raise FieldError(
            "mask.criterion",
            f"looks at queries of the {source.saliency.queries}, "
            f"a {shape.family} has {' and '.join(sorted(family.queries))} only",
        )
    try:
        source.saliency.index(family.depth(shape))
    except FieldError as error:
        what = f"its layer {error} ({source.network})"
        raise FieldError("mask.criterion", what) from error


class DistillationObjective(TaughtObjective):
    """Student forward, choice of patches, teacher forward on those alone, two losses."""

    def __init__(self, method: Distillation, networks: Networks) -> None:
        assert networks.teacher is not None
        self.method, self.student, self.teacher = method, networks.student, networks.teacher
        self.ask_teacher = partial(networks.teacher_pass, method)
        self.networks = {"teacher": networks.teacher, "saliency_model": networks.saliency_model}
        self.modules: dict[str, torch.nn.Module] = {"student": networks.student}
        self.label_loss = label_loss(networks.student)
        self.adapter = method.loss.adapter(networks.student, networks.teacher)
        if self.adapter is not None:
            self.adapter.to(next(networks.student.parameters()).device)
            self.modules["adapter"] = self.adapter
        mask = method.mask
        self.mask = None if mask is None or mask.keep >= self.teacher.patches else mask
        source = None if self.mask is None else self.mask.criterion.attention_source()
        self.attention_source = source
        self.student_request = method.loss.of_student
        if source is not None and source.network == "student":  # its training pass gives it
            self.student_request = replace(self.student_request, saliency=source.saliency)
        # (N,) how often each patch was kept since the last summary
        self._counts: torch.Tensor | None = None
        self._images: torch.Tensor | int = 0
        self._pending: list[torch.Tensor] = []  # the counts of this step, and of how many images
        # (N,) how often each patch was kept in this evaluation
        self._judged = torch.zeros(networks.teacher.patches, dtype=torch.float64)

    def before_losses(self, pieces: Iterator[tuple[Batch, Step]]) -> None:
        """What the loss of labels needs to know of the whole batch."""
        self.label_loss.prepare(pieces)

    def begin(self, batch: Batch, step: Step) -> Callable[[], dict[str, torch.Tensor]]:
        """The student's pass, and which patches the teacher sees: it then has all it needs.

        A teacher whose patches the student does not choose need not wait for it. What is left are
        `total`, and before their weights `ce` (or the terms in its place) and `distill`.
        """
        taught = self.ask_teacher(batch.images)

        def choose(student: ForwardOutput | None) -> torch.Tensor | None:
            progress = step.index / step.total
            kept = self._choose(student, batch.images, step.generator, progress, step.batch_slice)
            taught.show(kept)
            return kept

        waits = self.attention_source is not None and self.attention_source.network == "student"
        kept = None if waits else choose(None)
        student = self.student(batch.images, outputs=self.student_request)
        if waits:
            kept = choose(student)
        self._count(kept)

        def rest() -> dict[str, torch.Tensor]:
            terms = self.label_loss(student, batch.targets)
            first, *more = terms.values()
            of_labels = sum(more, start=first)
            seen = student
            if self.adapter is not None:
                seen = self.method.loss.adapted(student, self.adapter)
            distill = self._distill(seen, taught.output(), kept, step)
            total = self.method.labels * of_labels + self.method.weight * distill
            return {"total": total, **terms, "distill": distill}

        return rest

    def _distill(
        self, student: ForwardOutput, teacher: ForwardOutput, kept: torch.Tensor | None, step: Step
    ) -> torch.Tensor:
        """The base loss: of all images at once, or the mean of its groups by their sizes."""
        loss, images = self.method.loss, len(student.logits)
        if loss.group_size == 1:
            return loss(student, teacher, kept)
        total = torch.zeros((), device=student.logits.device)
        for number, rows in step.batch_slice.groups(images, loss.group_size).items():
            seed_unnamed(stream(step.generator.initial_seed(), "group", number), total.device)
            if len(rows) == images:  # nothing to pick out
                return loss(student, teacher, kept)
            of_group = loss(
                student.select(rows),
                teacher.select(rows),
                None if kept is None else kept[to_device(torch.tensor(rows), kept.device)],
            )
            total = total + of_group * (len(rows) / images)
        return total

    def _choose(
        self,
        student: ForwardOutput | None,
        images: torch.Tensor,
        draws: torch.Generator,
        progress: float,
        batch_slice: BatchSlice = FULL_BATCH,
    ) -> torch.Tensor | None:
        """The patches (B, K) that the teacher is shown; None: all of them."""
        if self.mask is None:
            return None
        source = self.attention_source
        inputs = CriterionInput(
            attention=None if source is None else self._attention(source, student, images),
            batch=len(images),
            patches=self.teacher.patches,
            keep=self.mask.keep,
            device=images.device,
            generator=draws,
            progress=progress,
            batch_slice=batch_slice,
        )
        return kept_patches(self.mask.criterion, inputs)

    def choose(self, images: torch.Tensor, draws: torch.Generator) -> torch.Tensor | None:
        """The patches (B, K) that the teacher is shown at the end of training; None: all of them.

        The student is as it is now.
        """
        return self._choose(None, images, draws, 1.0)

    def _attention(
        self, source: AttentionSource, student: ForwardOutput | None, images: torch.Tensor
    ) -> torch.Tensor:
        """What `source` asks for, (B, N) on the teacher's grid."""
        if source.network == "student" and student is not None:
            assert student.saliency is not None
            return to_grid(student.saliency, self.student.grid, self.teacher.grid)
        network = self.student if source.network == "student" else self.networks[source.network]
        assert network is not None
        return to_grid(network.saliency(images, source.saliency), network.grid, self.teacher.grid)

    def _count(self, kept: torch.Tensor | None) -> None:
        if kept is None:
            return
        counts = kept_counts(kept, self.teacher.patches)
        images = counts.new_full((1,), len(kept))
        self._pending.append(torch.cat([counts, images]))

    def after_step(self, step: Step) -> None:
        """Count what all processes kept."""
        self._gather()

    def _gather(self) -> None:
        if not self._pending:
            return
        counts = torch.stack(self._pending).sum(0)
        DistContext.current().all_reduce_sum_([counts])
        self._pending = []
        before = torch.zeros_like(counts[:-1]) if self._counts is None else self._counts
        # a checkpoint's are on the CPU, and go back once
        self._counts = counts[:-1] + to_device(before, counts.device)
        self._images = counts[-1] + self._images  # no number yet, or every step would wait for it

    def extra_predictors(self) -> Mapping[str, Callable[[torch.Tensor], torch.Tensor]]:
        """`teacher`, on the patches that it would be shown, if that is asked for.

        The student is as it is now, in eval mode; random draws are the same at every evaluation,
        and for a batch whichever process has it.
        """
        if not self.method.teacher_accuracy:
            return {}
        dist = DistContext.current()
        numbers = itertools.count(dist.rank, dist.size)  # of the batches of this process
        self._judged.zero_()

        def teacher(images: torch.Tensor) -> torch.Tensor:
            kept = self.choose(images, generator(0, "shown", next(numbers)))
            if kept is not None:
                self._judged += kept_counts(kept, self.teacher.patches).cpu()
            logits: torch.Tensor = self.teacher(images, keep=kept).logits
            return logits

        return {"teacher": teacher}

    def evaluated(self) -> dict[str, float]:
        """Which positions the teacher is shown, of the images that judge; nothing where it is shown
        all of them.
        """
        DistContext.current().all_reduce_sum_([self._judged])
        if not self._judged.any():
            return {}
        return {
            "kept/evenness": evenness(self._judged),
            "kept/distance": distance_from_centre(self._judged, self.teacher.grid),
        }

    def summary(self) -> dict[str, Any]:
        """`kept`: share of images in which each patch was kept, N values in raster order."""
        self._gather()
        if self._counts is None:
            return {}
        kept = (self._counts.double() / self._images).tolist()
        self._counts, self._images = None, 0
        return {"kept": kept}

    def state(self) -> dict[str, Any]:
        """The counts since the last summary."""
        self._gather()  # nothing is pending after a step: one process alone may save a checkpoint
        return {"counts": self._counts, "images": self._images}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue those counts."""
        self._counts, self._images = state["counts"], state["images"]
