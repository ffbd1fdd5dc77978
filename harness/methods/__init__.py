"""A method is a loss over a batch: a frozen config that builds an objective around the networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from harness.batch_slice import FULL_BATCH, BatchSlice
from harness.data.dataset import Labelling
from harness.evidence import FigureOf
from harness.lazy import torch
from harness.precision import autocast
from harness.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

    from harness.data.multicrop import MultiCrop
    from harness.masking import PatchChoice
    from harness.models.architectures import Architecture
    from harness.models.interface import ForwardOutput
    from harness.models.vit import VisionTransformer
    from harness.train.config import Recipe

METHODS: Registry[type[Method]] = Registry("method", "harness.methods", base=lambda: Method)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One (micro-)batch on the device: `images` (B, C, H, W) normalised; `targets` (B, classes),
    soft labels, or of a dense set what `harness.data.dense` says; `views`, for methods with a
    `multicrop`: all crops, (B, C, S, S) each.
    """

    images: torch.Tensor
    targets: torch.Tensor
    views: tuple[torch.Tensor, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Where in training a loss is taken."""

    index: int  # optimiser steps done so far
    total: int
    generator: torch.Generator  # for the method's own draws, seeded from run seed and step
    per_epoch: int = 1  # optimiser steps in an epoch
    # the images of this (micro-)batch, for what is drawn per image
    batch_slice: BatchSlice = FULL_BATCH

    @property
    def epoch(self) -> int:
        """The epoch that this step belongs to, from 0."""
        return self.index // self.per_epoch


class TeacherPass(ABC):
    """One forward pass of a frozen teacher, on images (B, C, H, W) that it was given."""

    @abstractmethod
    def show(self, kept: torch.Tensor | None) -> None:
        """Which patches (B, K) it sees; None: all of them."""

    @abstractmethod
    def output(self) -> ForwardOutput:
        """What came of it; waits for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Networks:
    """The networks of a run; all but the student are frozen and in eval mode."""

    student: VisionTransformer
    teacher: VisionTransformer | None
    saliency_model: VisionTransformer | None = None
    teacher_precision: str | None = None  # the recipe's
    # begins a pass of the teacher that another process computes; none: this one does
    elsewhere: Callable[[torch.Tensor], TeacherPass] | None = None

    def teacher_pass(self, method: Method, images: torch.Tensor) -> TeacherPass:
        """One that has been given its images, and waits to know which patches it sees."""
        if self.elsewhere is not None:
            return self.elsewhere(images)
        assert self.teacher is not None
        return _PassHere(method, self.teacher, images, self.teacher_precision)


class _PassHere(TeacherPass):
    """In this process, once its output is asked for."""

    def __init__(
        self,
        method: Method,
        teacher: VisionTransformer,
        images: torch.Tensor,
        precision: str | None,
    ) -> None:
        self._method, self._teacher, self._images = method, teacher, images
        self._precision = precision
        self._kept: torch.Tensor | None = None

    def show(self, kept: torch.Tensor | None) -> None:
        self._kept = kept

    def output(self) -> ForwardOutput:
        return teach_in(self._method, self._teacher, self._images, self._kept, self._precision)


def teach_in(
    method: Method,
    teacher: VisionTransformer,
    images: torch.Tensor,
    kept: torch.Tensor | None,
    precision: str | None,
) -> ForwardOutput:
    """`method.teach`; with a `precision` of the teacher's own, computed in that and given in fp32,
    for the student may compute in another.
    """
    if precision is None:
        return method.teach(teacher, images, kept)
    with autocast(precision, images.device):
        return method.teach(teacher, images, kept).fp32()


class Objective(ABC):
    """What is minimised: built by a Method, holds whatever state the method has between steps."""

    # everything trained or carried along, by name: what a checkpoint saves
    modules: dict[str, torch.nn.Module]
    decays_tokens: bool = False  # whether CLS and mask tokens and positions have weight decay

    def before_losses(self, pieces: Iterator[tuple[Batch, Step]]) -> None:
        """Called before the losses of a step with all (micro-)batches that follow, in their order:
        for what the whole batch decides. They are made while they are iterated over.
        """

    @abstractmethod
    def losses(self, batch: Batch, step: Step) -> dict[str, torch.Tensor]:
        """Scalar losses of the batch; `total` is minimised, the others are logged."""

    def begin(self, batch: Batch, step: Step) -> Callable[[], dict[str, torch.Tensor]]:
        """The part of `losses` that does not need the teacher's pass; what is returned does the
        rest, and waits for that pass. In a pipeline all micro-batches of a step begin before the
        first one ends. Objectives without a frozen teacher have no two parts.
        """
        return partial(self.losses, batch, step)

    @property
    def final_model(self) -> torch.nn.Module:
        """The network that the run leaves and is judged by."""
        return self.modules["student"]

    def before_update(self, step: Step, optimizer: torch.optim.Optimizer) -> None:
        """Called with the gradients of the whole batch, unscaled, before the optimiser's step."""

    def after_step(self, step: Step) -> None:
        """Called after every optimiser step (EMA teachers), in all processes of a run: what they
        counted in their slices of the batch is added up here.
        """

    def state(self) -> dict[str, Any]:
        """State outside `modules`, tensors and plain values, for the checkpoint. Of all processes,
        only the first is asked.
        """
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""

    def extra_predictors(self) -> Mapping[str, Callable[[torch.Tensor], torch.Tensor]]:
        """Predictors to evaluate beside the student: from images (B, C, H, W) to logits."""
        return {}

    def evaluated(self) -> dict[str, float]:
        """What these predictors did with the images of the evaluation that has just ended, by the
        names of the method's `extra_metrics`. All processes of a run call it.
        """
        return {}

    def summary(self) -> dict[str, Any]:
        """Plain values about the steps since the last call (kept-token shares, say)."""
        return {}

    def artifacts(self) -> Mapping[str, Callable[[Path], None]]:
        """What a finished training leaves beside its network: file name -> what writes it."""
        return {}

    def warnings(self, summary: Mapping[str, Any]) -> Mapping[str, str]:
        """What a summary shows to be going wrong, by a name: each is logged once."""
        return {}


class Method(ABC):
    """The options of a method. `version` is raised when a change of code changes numbers."""

    registry: ClassVar[Registry[type[Method]]] = METHODS
    version: ClassVar[int] = 1
    uses_teacher: ClassVar[bool] = False
    # whether its objective leaves passes of the teacher to `Networks.teacher_pass`, so that another
    # process can compute them
    has_frozen_teacher: ClassVar[bool] = False
    labellings: ClassVar[frozenset[Labelling]] = frozenset({"classes"})  # students it can train
    trains: ClassVar[bool] = True  # False: the row has no training run, only evaluations
    figures: ClassVar[tuple[FigureOf, ...]] = ()  # of what its objective's `summary` records
    # that its objective's `extra_predictors` may give
    extra_predictor_names: ClassVar[frozenset[str]] = frozenset()
    # that its objective's `evaluated` may give
    extra_metrics: ClassVar[frozenset[str]] = frozenset()

    def check(self, networks: Mapping[str, Architecture], recipe: Recipe) -> None:
        """Raise FieldError where it does not go with `student`, `teacher` and `saliency_model`, or
        with the recipe: of a network, of an option (`mask.keep`), or of the whole `method`.
        """

    def why_no_drop_path(self) -> str | None:
        """Why its student cannot have stochastic depth; None if it can."""
        return None

    @abstractmethod
    def build(self, networks: Networks) -> Objective:
        """The objective over these networks."""

    def teach(
        self, teacher: VisionTransformer, images: torch.Tensor, kept: torch.Tensor | None
    ) -> ForwardOutput:
        """A frozen teacher's pass in training, without gradients (`has_frozen_teacher`)."""
        raise NotImplementedError

    @property
    def uses_saliency_model(self) -> bool:
        """Whether it looks at the attention of a third network."""
        return False

    @property
    def group_size(self) -> int:
        """How many images its loss compares with each other; 1: it is the mean of its images'.

        The batch is cut into groups of so many (`BatchSlice.groups`); what is computed at once
        has whole groups.
        """
        return 1

    @property
    def needs_whole_batch(self) -> bool:
        """Whether a process must compute all of its images of a step at once: there is something
        over the whole batch of a step (batch norm) that processes share, and parts of it could not.
        """
        return False

    @property
    def multicrop(self) -> MultiCrop | None:
        """The crops it learns from; None: one picture and its label, as the recipe augments it."""
        return None

    @property
    def uses_labels(self) -> bool:
        """False: it never looks at them, and nothing trains the classifier."""
        return self.multicrop is None

    def image_macs(self, student: Architecture) -> float | None:
        """Multiply-adds of one training image, where that is not three passes of the student and
        one of a frozen teacher.
        """
        return None

    def teacher_keep(self, patches: int) -> int:
        """How many of its `patches` the teacher is shown."""
        return patches

    def student_keep(self, patches: int) -> int | None:
        """How many of its `patches` the student is trained on; None: it chooses none."""
        return None

    def patch_choice(self) -> PatchChoice | None:
        """None: it hides nothing, or looks at no attention to choose it."""
        return None

    def teacher_merge(self) -> int:
        """How many tokens every block of the teacher merges away."""
        return 0
