"""A training run as data: networks, data, method, recipe, seed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from harness.data.config import DataConfig
from harness.errors import FieldError
from harness.methods import Method
from harness.models.config import ModelConfig

RATES: Final = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
RAND_AUGMENT: Final = r"rand(-(m|n|w|p|inc|t|mstd|mmax)\d+(\.\d+)?)+"


@dataclass(frozen=True, kw_only=True, slots=True)
class Augment:
    """What happens to training images (DeiT's names; 0 or none switches a part off)."""

    # pad: random crop after padding by `pad_pixels`
    crop: Literal["none", "pad", "resized"] = "resized"
    pad_pixels: int = 4
    scale: tuple[float, float] = (0.08, 1.0)  # area of the resized crop, as a share of the image
    ratio: tuple[float, float] = (0.75, 4 / 3)  # aspect of the resized crop
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    flip: float = 0.5  # probability of a horizontal flip
    rand_augment: str | None = None  # timm's notation, rand-m9-mstd0.5-inc1
    color_jitter: float = 0.0  # as in timm, inert when rand_augment is given
    erasing: float = 0.0  # probability of random erasing with pixel noise
    mixup: float = 0.0  # alpha
    cutmix: float = 0.0  # alpha
    mix_probability: float = 1.0
    mix_switch: float = 0.5  # probability of cutmix when both are on
    label_smoothing: float = 0.0
    repeats: int = 1  # repeated augmentation: how often an image appears in an epoch

    def __post_init__(self) -> None:
        for key in ("flip", "erasing", "mix_probability", "mix_switch"):
            if not 0 <= getattr(self, key) <= 1:
                raise FieldError(key, f"is a probability, from 0 to 1; got {getattr(self, key)}")
        if not 0 <= self.label_smoothing < 1:
            raise FieldError(
                "label_smoothing", f"must be at least 0 and below 1, got {self.label_smoothing}"
            )
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise FieldError(
                "scale", f"is [low, high] with 0 < low <= high <= 1, got {list(self.scale)}"
            )
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise FieldError(
                "ratio", f"is [low, high] with 0 < low <= high, got {list(self.ratio)}"
            )
        for key in ("mixup", "cutmix", "color_jitter"):
            if getattr(self, key) < 0:
                raise FieldError(key, f"must not be negative, got {getattr(self, key)}")
        if self.rand_augment is not None and not re.fullmatch(RAND_AUGMENT, self.rand_augment):
            raise FieldError(
                "rand_augment",
                f"is timm's notation, `rand-m9-mstd0.5-inc1`; got '{self.rand_augment}'",
            )
        if self.repeats < 1:
            raise FieldError("repeats", f"must be at least 1, got {self.repeats}")
        if self.pad_pixels < 0:
            raise FieldError("pad_pixels", f"must not be negative, got {self.pad_pixels}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How weights are fitted."""

    epochs: float  # passes over the training set; a part of an epoch is allowed
    batch_size: int  # images per optimiser step, over all devices
    lr: float  # peak learning rate, for a batch of `lr_batch` images
    lr_batch: int | None = None  # linear rule: peak = lr * batch_size / lr_batch; None: lr as it is
    min_lr: float = 0.0
    warmup_epochs: float = 0.0
    warmup_lr: float = 0.0
    # epoch-lagged: as released by DeiT, one epoch late
    # from-warmup-lr: as released by DINO, the first step at `warmup_lr` itself
    schedule: Literal["step", "epoch-lagged", "from-warmup-lr"] = "step"
    weight_decay: float = 0.05
    # the rate of every block below the last is that of the next one times this
    layer_decay: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip_norm: float | None = None  # global gradient norm
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    augment: Augment = Augment()
    evaluate_every: float | None = None  # epochs between evaluations; None: only at the end
    # side of the centre crop over the resized image; sets in memory are not cropped
    eval_crop: float = 0.875

    def __post_init__(self) -> None:
        if self.epochs <= 0:
            raise FieldError("epochs", f"must be above 0, got {self.epochs}")
        if self.batch_size < 1:
            raise FieldError("batch_size", f"must be at least 1, got {self.batch_size}")
        if self.batch_size % 2 and (self.augment.mixup > 0 or self.augment.cutmix > 0):
            raise FieldError(
                "batch_size", f"must be even with mixup or cutmix, got {self.batch_size}"
            )
        if not 0 < self.layer_decay <= 1:
            raise FieldError(
                "layer_decay", f"must be above 0 and at most 1, got {self.layer_decay}"
            )
        if self.lr <= 0:
            raise FieldError("lr", f"must be above 0, got {self.lr}")
        if self.lr_batch is not None and self.lr_batch < 1:
            raise FieldError("lr_batch", f"must be at least 1, got {self.lr_batch}")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise FieldError("clip_norm", f"must be above 0, got {self.clip_norm}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise FieldError("betas", f"are at least 0 and below 1, got {list(self.betas)}")
        if not 0 < self.eval_crop <= 1:
            raise FieldError("eval_crop", f"must be above 0 and at most 1, got {self.eval_crop}")
        for key in ("min_lr", "warmup_epochs", "warmup_lr", "weight_decay"):
            if getattr(self, key) < 0:
                raise FieldError(key, f"must not be negative, got {getattr(self, key)}")
        for key in ("min_lr", "warmup_lr"):
            if getattr(self, key) > self.peak_lr:
                raise FieldError(
                    key,
                    f"must be at most {self.peak_lr:g}, the peak rate ({self._peak_rule}); "
                    f"got {getattr(self, key):g}",
                )
        if self.warmup_epochs > self.epochs:
            raise FieldError(
                "warmup_epochs", f"{self.warmup_epochs} is longer than the {self.epochs} epochs"
            )
        if self.evaluate_every is not None and self.evaluate_every <= 0:
            raise FieldError("evaluate_every", f"must be above 0, got {self.evaluate_every}")

    @property
    def peak_lr(self) -> float:
        """The learning rate after warm-up."""
        return self.lr if self.lr_batch is None else self.lr * self.batch_size / self.lr_batch

    @property
    def _peak_rule(self) -> str:
        return "lr" if self.lr_batch is None else "lr * batch_size / lr_batch"


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """How a linear classifier is trained on frozen features (the run kind `linear`)."""

    blocks: int = 4  # the class token of so many of the last blocks, each after the last norm
    average: bool = False  # and the mean of the last block's patch tokens
    epochs: int = 100
    batch_size: int = 1024
    # tried all at once, each for a batch of 256 and in proportion to `batch_size`
    rates: tuple[float, ...] = RATES
    augment: bool = True  # random resized crops and flips; False: every image as it is

    def __post_init__(self) -> None:
        for key in ("blocks", "epochs", "batch_size"):
            if getattr(self, key) < 1:
                raise FieldError(key, f"must be at least 1, got {getattr(self, key)}")
        if not self.rates or min(self.rates) <= 0 or len(set(self.rates)) < len(self.rates):
            raise FieldError("rates", f"must be different and above 0, got {list(self.rates)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Everything that decides the numbers of a training run."""

    data: DataConfig
    student: ModelConfig
    teacher: ModelConfig | None = None
    guide: ModelConfig | None = None  # a third, frozen network whose attention a mask may look at
    method: Method
    recipe: Recipe
    seed: int = 0
    probe: Probe = Probe()  # of the evaluation after it: no training run keeps it

    ADDED_LATER: ClassVar[frozenset[str]] = frozenset({"guide", "probe"})

    def __post_init__(self) -> None:
        if self.method.uses_teacher and self.teacher is None:
            raise FieldError("teacher", "is missing: the method distils from one")
        if not self.method.uses_teacher and self.teacher is not None:
            raise FieldError(
                "teacher",
                "is given, but the method has no use for one; remove it or set it to null",
            )
        if self.guide is not None and not self.method.uses_guide:
            raise FieldError(
                "guide",
                "is given, but no criterion of the method looks at it; remove it or set it to null",
            )
        if self.method.multicrop is not None and self.recipe.augment != Augment():
            raise FieldError(
                "recipe",
                "`augment` has no effect here: the method's `crops` say what happens to images",
            )
        wrong = self.method.wrong_length(self.recipe.epochs)
        if wrong is None and self.student.planned is None:
            wrong = self.method.wrong_shape(self.student.shape)
        if wrong is not None:
            raise FieldError("method", f"{wrong[0]}: {wrong[1]}")
        if self.seed < 0:
            raise FieldError("seed", f"must not be negative, got {self.seed}")
        networks = self.networks()
        for name in ("teacher", "guide"):
            if name in networks and networks[name].trained != "all":
                raise FieldError(name, "is not trained: `trained` is for students")
        if not any(model.planned for model in networks.values()):
            self.method.check({name: model.shape for name, model in networks.items()})

    def networks(self) -> dict[str, ModelConfig]:
        """The student, and the teacher and the guide where there are."""
        named = {"student": self.student, "teacher": self.teacher, "guide": self.guide}
        return {name: model for name, model in named.items() if model is not None}
