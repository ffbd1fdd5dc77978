"""The options that self-distillation methods share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from harness.bounds import (
    NotNegative,
    NotNegativeInt,
    Positive,
    Unit,
    at_least,
    check_bounds,
)
from harness.data.multicrop import MultiCrop
from harness.errors import FieldError
from harness.methods import Method, Networks, Objective
from harness.models.architectures import Architecture
from harness.models.cost import efficient_macs

if TYPE_CHECKING:
    from harness.train.config import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The projection head (arXiv 2104.14294, appendix C)."""

    # number of prototypes
    out_dim: Annotated[int, at_least(2, "prototypes", most=10_000_000)] = 65536
    hidden: Annotated[int, at_least(1, most=1_000_000)] = 2048  # width of the hidden layers
    # width of what the prototypes are compared with
    bottleneck: Annotated[int, at_least(1, most=1_000_000)] = 256
    norm_last_layer: bool = True  # the prototypes' lengths stay 1
    freeze_last_layer_epochs: NotNegative = 1.0  # epochs in which the prototypes stay as they are

    RENAMED: ClassVar[Mapping[str, str]] = {"freeze_epochs": "freeze_last_layer_epochs"}

    def __post_init__(self) -> None:
        check_bounds(self)

    def macs(self, width: int, tokens: float, prototypes: float) -> float:
        """Multiply-adds of so many tokens through the MLP, and so many through the prototypes."""
        mlp = self.hidden * (width + self.hidden + self.bottleneck)
        return tokens * mlp + prototypes * self.bottleneck * self.out_dim


@dataclass(frozen=True, kw_only=True, slots=True)
class Temperatures:
    """Sharpening: the student's is constant, the teacher's warms up by whole epochs."""

    student: Positive = 0.1  # the student's
    teacher: Positive = 0.04  # the teacher's, after its warm-up
    teacher_start: Positive = 0.04  # the teacher's before its warm-up
    warmup_epochs: NotNegativeInt = 0  # epochs from `teacher_start` to `teacher`

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.warmup_epochs == 0 and self.teacher_start != self.teacher:
            raise FieldError(
                "teacher_start",
                f"has no effect without warmup_epochs: make it {self.teacher:g}, as teacher is, "
                f"or say how many epochs it takes from {self.teacher_start:g} to there",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfDistillation(Method):
    """Student and moving-average teacher over multi-crop views; defaults are DINO's vanilla run.

    The recipe gives rate and epochs; its `weight_decay` is where that schedule starts, its
    `augment` is not used.
    """

    crops: MultiCrop = MultiCrop()  # the views of an image
    head: Head = Head()  # the projection head of student and teacher
    temperatures: Temperatures = Temperatures()  # of the softmax over prototypes
    momentum: Unit = 0.996  # of the teacher, the moving average of the student; cosine to 1
    center_momentum: Unit = 0.9  # of the mean output that is subtracted from the teacher's
    weight_decay_end: NotNegative = 0.4  # the recipe's `weight_decay` goes there, by a cosine
    # largest norm of each parameter tensor's gradient, not of all together; none: not clipped
    clip: Positive | None = 3.0

    def __post_init__(self) -> None:
        check_bounds(self)

    @property
    def multicrop(self) -> MultiCrop:
        """The views of an image."""
        return self.crops

    def local_patches(self, student: Architecture) -> int:
        """Patches of a local crop."""
        return (self.crops.local_size // student.patch_size) ** 2

    def image_macs(self, student: Architecture) -> float:
        """Multiply-adds of one training image: student forward and backward, teacher forward."""
        whole = efficient_macs(student, keep=student.patches, classes=0).total
        local = efficient_macs(student, keep=self.local_patches(student), classes=0).total
        taught = efficient_macs(student, keep=self.teacher_keep(student.patches), classes=0).total
        views = 2 + self.crops.local_crops
        heads = 3 * self.head.macs(student.width, views, views)
        heads += self.head.macs(student.width, 2, 2)
        return 3 * (2 * whole + self.crops.local_crops * local) + 2 * taught + heads

    def check(self, networks: Mapping[str, Architecture], recipe: Recipe) -> None:
        """A plain ViT whose patches fit into the crops, and epochs for the warm-up of the teacher's
        temperature.
        """
        warmup, student = self.temperatures.warmup_epochs, networks["student"]
        if warmup > recipe.epochs:
            what = f"{warmup} is longer than the {recipe.epochs:g} epochs"
            raise FieldError("temperatures.warmup_epochs", what)
        registers = student.registers  # they and the CLS token beside them have no positions
        if student.prefix_tokens != 1 + registers or not (student.positioned_prefix or registers):
            what = "self-distillation needs a plain ViT: one CLS token, with a position"
            raise FieldError("name", what)
        if student.pooling != "token":
            what = "self-distillation needs the CLS token to be pooled: vit_base_patch16_224"
            raise FieldError("name", what)
        self.crops.check(student.image_size)
        if self.crops.local_crops and self.crops.local_size % student.patch_size:
            raise FieldError(
                "crops.local_size",
                f"must be a multiple of the patch size {student.patch_size}, "
                f"got {self.crops.local_size}",
            )

    @abstractmethod
    def build(self, networks: Networks) -> Objective:
        """The objective over the student and a copy of it."""
