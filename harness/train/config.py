"""A training run as data: networks, data, method, recipe, seed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

from harness.bounds import (
    Bound,
    Count,
    Ends,
    NotNegative,
    Positive,
    PositiveRange,
    Probability,
    Scale,
    Share,
    above,
    at_default,
    at_least,
    check_bounds,
)
from harness.data.config import DataConfig
from harness.errors import FieldError
from harness.methods import Method
from harness.models.architectures import Architecture
from harness.models.config import ModelConfig
from harness.models.families import ArchitectureName, family_of
from harness.train.inputs import check_inputs

RATES: Final = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
MOST_RATES = 1000
MOST_LAYERS, MOST_MAGNITUDE = 20, 1000  # of RandAugment: each layer is a pass over every image
Beta: TypeAlias = Annotated[float, Bound(least=0, below=1)]
DECAYS: Final = {"polynomial": ("decay_power",), "exponential": ("decay_rate", "decay_from")}
"""Options of one kind of decay alone."""
RAND_AUGMENT: Final = r"rand(-(m|n|w|p|inc|t|mstd|mmax)\d+(\.\d+)?)+"


@dataclass(frozen=True, kw_only=True, slots=True)
class Augment:
    """What happens to training images (DeiT's names; 0 or none switches a part off)."""

    # pad: random crop after padding by `pad_pixels`; resized: random area and aspect; scaled, of
    # images with boxes or masks: a random square of the image scaled at random, filled up where
    # that is smaller
    crop: Literal["none", "pad", "resized", "scaled"] = "resized"
    # shorter side, in sizes of the network, for `crop: scaled`
    scaled: Annotated[tuple[float, float], Ends(above=0, most=16)] = (0.5, 2.0)
    pad_pixels: Annotated[int, at_least(0, most=4096)] = 4  # pixels on each side, for `crop: pad`
    scale: Scale = (0.08, 1.0)  # area of the resized crop, fraction of the image
    ratio: PositiveRange = (0.75, 4 / 3)  # aspect of the resized crop
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"  # when an image is resized
    flip: Probability = 0.5  # probability of a horizontal flip
    rand_augment: str | None = None  # timm's notation, rand-m9-mstd0.5-inc1
    color_jitter: NotNegative = 0.0  # as in timm, inert when rand_augment is given
    # probabilities of brightness, contrast, saturation and hue being changed, each; of images with
    # boxes or masks
    photometric: Probability = 0.0
    erasing: Probability = 0.0  # probability of random erasing with pixel noise
    mixup: NotNegative = 0.0  # alpha of mixup's Beta distribution
    cutmix: NotNegative = 0.0  # alpha of cutmix's Beta distribution
    mix_probability: Probability = 1.0  # probability that a batch is mixed at all
    mix_switch: Probability = 0.5  # probability of cutmix when both are on
    # probability that is spread evenly over all classes
    label_smoothing: Annotated[float, Bound(least=0, below=1)] = 0.0
    # repeated augmentation: how often an image appears in an epoch
    repeats: Annotated[int, at_least(1, most=1000)] = 1
    # SpecAugment (arXiv 1904.08779) of spectrograms, here and below: one mask over neighbouring mel
    # bins, fewer than this; 0: none
    frequency_mask: Annotated[int, at_least(0, most=100_000)] = 0
    # and one over neighbouring windows, fewer than this
    time_mask: Annotated[int, at_least(0, most=100_000)] = 0

    ADDED_LATER: ClassVar[frozenset[str]] = frozenset(
        {"scaled", "photometric", "frequency_mask", "time_mask"}
    )

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.color_jitter > 0 and self.photometric > 0:
            raise FieldError("photometric", "and `color_jitter` both change colours: give one")
        if self.crop != "scaled" and self.scaled != (0.5, 2.0):
            raise FieldError("scaled", "goes with `crop: scaled`")
        if self.rand_augment is not None:
            self._check_rand_augment(self.rand_augment)

    def _check_rand_augment(self, text: str) -> None:
        if not re.fullmatch(RAND_AUGMENT, text):
            raise FieldError(
                "rand_augment", f"is timm's notation, `rand-m9-mstd0.5-inc1`; got '{text}'"
            )
        for name, number in re.findall(r"-([a-z]+)([\d.]+)", text):
            most = MOST_LAYERS if name == "n" else MOST_MAGNITUDE
            if float(number) > most:
                raise FieldError("rand_augment", f"{name} is {number} in it, {most} at most")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How weights are fitted."""

    # passes over the training set; a part of an epoch is allowed
    epochs: Annotated[float, above(0, most=1_000_000)]
    # images per optimiser step, over all devices
    batch_size: Annotated[int, at_least(1, most=1_000_000)]
    # peak learning rate, for a batch of `lr_batch` images
    lr: Annotated[float, above(0, most=1e30)]
    # none: the peak is lr as it is; otherwise `lr_rule` says what it is
    lr_batch: Count | None = None
    # linear: peak = lr * batch_size / lr_batch; sqrt: peak = lr * sqrt(batch_size / lr_batch)
    lr_rule: Literal["linear", "sqrt"] = "linear"
    min_lr: NotNegative = 0.0  # learning rate at the end
    # epochs in which the rate rises linearly from `warmup_lr` to its peak
    warmup_epochs: NotNegative = 0.0
    warmup_lr: NotNegative = 0.0  # learning rate before the first step
    # step: by steps; epoch-lagged: as released by DeiT, one epoch late; from-warmup-lr: as released
    # by DINO, the first step at `warmup_lr` itself
    schedule: Literal["step", "epoch-lagged", "from-warmup-lr"] = "step"
    # how the rate falls after warm-up. cosine: half a cosine; polynomial: as the share of time that
    # is left, to the power `decay_power`; exponential: not at all for `decay_from` epochs, then
    # times `decay_rate` with every epoch (AST, as released)
    decay: Literal["cosine", "polynomial", "exponential"] = "cosine"
    decay_power: Positive = 0.9  # of a polynomial decay
    decay_rate: Share = 0.85  # of an exponential decay
    decay_from: Annotated[int, at_least(1, most=1_000_000)] = 5  # of an exponential decay
    # weight decay of adam and sgd is added to the gradient, and adam's takes every parameter (AST)
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    momentum: Beta = 0.9  # SGD's
    nesterov: bool = False  # SGD's: the gradient a momentum step ahead, as timm's `sgd` has it
    # biases and norms have none, tokens and positions in self-distillation alone
    weight_decay: NotNegative = 0.05
    # the rate of every block below the last is that of the next one times this; of networks of one
    # stack of blocks, no Swin or CaiT
    layer_decay: Share = 1.0
    # the rate of the patch embedding is multiplied by this, beside `layer_decay`
    patch_embed_rate: Share = 1.0
    betas: tuple[Beta, Beta] = (0.9, 0.999)  # the optimiser's
    eps: Positive = 1e-8  # the optimiser's
    # largest norm of the gradient of all parameters; none: not clipped
    clip_norm: Positive | None = None
    # of forward and backward pass; weights are always fp32
    # tf32: fp32, whose products an NVIDIA GPU rounds to TF32
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    # of a frozen teacher's passes in training, whose outputs are fp32 again; none: as `precision`.
    # bf16 gains on GPUs and on CPUs that have it (AVX512_BF16, AMX); elsewhere it loses
    teacher_precision: Literal["bf16", "fp16"] | None = None
    # blocks: torch compiles each transformer block of plain ViTs, once for a machine; numbers are
    # rounded otherwise. Worth it in long trainings on a GPU
    compile: Literal["none", "blocks"] = "none"
    augment: Augment = Augment()  # what happens to training images
    evaluate_every: Positive | None = None  # epochs between evaluations; none: only at the end
    # side of the centre crop over the resized image; sets in memory are not cropped
    eval_crop: Share = 0.875

    ADDED_LATER: ClassVar[frozenset[str]] = frozenset(
        {"lr_rule", "patch_embed_rate", "compile", "optimizer", "momentum", "teacher_precision"}
        | {"nesterov", "decay", "decay_power", "decay_rate", "decay_from"}
    )

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.lr_rule == "sqrt" and self.lr_batch is None:
            raise FieldError("lr_rule", "sqrt needs `lr_batch`, the batch that `lr` is meant for")
        if self.optimizer != "sgd" and self.momentum != 0.9:
            raise FieldError("momentum", "is SGD's: give `optimizer: sgd`, or leave it out")
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise FieldError(
                "nesterov", "goes with `optimizer: sgd` and a momentum, or leave it out"
            )
        for decay, keys in DECAYS.items():
            for key in keys if decay != self.decay else ():
                if not at_default(self, key):
                    raise FieldError(key, f"goes with `decay: {decay}`, or leave it out")
        if self.decay == "exponential" and (self.min_lr or self.schedule != "step"):
            key = "min_lr" if self.min_lr else "schedule"
            raise FieldError(key, "goes with other decays than the exponential: leave it out")
        if self.teacher_precision == self.precision:
            what = f"is `precision` already: leave it out, got {self.precision}"
            raise FieldError("teacher_precision", what)
        if self.batch_size % 2 and (self.augment.mixup > 0 or self.augment.cutmix > 0):
            raise FieldError(
                "batch_size", f"must be even with mixup or cutmix, got {self.batch_size}"
            )
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

    @property
    def taught_in(self) -> str:
        """The precision of a frozen teacher's passes in training."""
        return self.teacher_precision or self.precision

    @property
    def peak_lr(self) -> float:
        """The learning rate after warm-up."""
        if self.lr_batch is None:
            return self.lr
        if self.lr_rule == "sqrt":
            return self.lr * math.sqrt(self.batch_size / self.lr_batch)
        return self.lr * self.batch_size / self.lr_batch

    @property
    def _peak_rule(self) -> str:
        if self.lr_batch is None:
            return "lr"
        share = "batch_size / lr_batch"
        return f"lr * sqrt({share})" if self.lr_rule == "sqrt" else f"lr * {share}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """How a linear classifier is trained on frozen features (the task `linear`)."""

    # the class token of so many of the last blocks, each after the last norm
    blocks: Annotated[int, at_least(1, most=1000)] = 4
    average: bool = False  # also the mean of the last block's patch tokens
    epochs: Annotated[int, at_least(1, most=1_000_000)] = 100  # passes over the training set
    batch_size: Annotated[int, at_least(1, most=1_000_000)] = 1024  # images per step
    # learning rates for a batch of 256, all tried at once; each in proportion to `batch_size`
    rates: tuple[Positive, ...] = RATES
    # random resized crops and flips; false: every image as it is, looked at once
    augment: bool = True
    # when the rate moves on along its cosine: DINO and iBOT after an epoch, DINOv2 after a step
    anneal: Literal["epoch", "step"] = "epoch"

    ADDED_LATER: ClassVar[frozenset[str]] = frozenset({"anneal"})

    def __post_init__(self) -> None:
        check_bounds(self)
        if not 0 < len(set(self.rates)) == len(self.rates) <= MOST_RATES:
            shown = list(self.rates) if len(self.rates) < 20 else f"{len(self.rates)} of them"
            raise FieldError("rates", f"must be different and above 0, got {shown}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTune:
    """How a trained network is fine-tuned with labels (the task `finetune`)."""

    # how its weights are fitted; a name of `experiments/recipes/`, or `{from: NAME, ...}`
    recipe: Recipe
    # stochastic depth meanwhile, as of networks
    drop_path: Annotated[float, Bound(least=0, below=1)] = 0.0
    # an architecture of the same dimensions that classifies in another way: `mae_base_patch16_224`
    # reads the mean of the patches; dimensions that the student names itself are its own; none: as
    # the student, by the class token
    arch: ArchitectureName | None = None

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.recipe.teacher_precision is not None:
            what = "is of frozen teachers, and there is none: leave it out"
            raise FieldError("recipe.teacher_precision", what)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Everything that decides the numbers of a training run."""

    data: DataConfig  # the images
    # the network that is trained and judged; a name of `experiments/networks.yaml` or a mapping
    student: ModelConfig
    teacher: ModelConfig | None = None  # a frozen network that the student learns from
    # a third, frozen network whose attention a mask may look at
    saliency_model: ModelConfig | None = None
    method: Method  # the objective
    # how weights are fitted; a name of `experiments/recipes/`, or `{from: NAME, ...}`
    recipe: Recipe
    seed: Annotated[int, at_least(0, most=2**32 - 1)] = 0
    # how the evaluation `linear` trains its classifier; no training run keeps it
    probe: Probe = Probe()
    # how the evaluation `finetune` trains all of the network on labels; no training run keeps it
    finetune: FineTune | None = None

    ADDED_LATER: ClassVar[frozenset[str]] = frozenset({"saliency_model", "probe", "finetune"})
    RENAMED: ClassVar[Mapping[str, str]] = {"guide": "saliency_model"}

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.method.uses_teacher and self.teacher is None:
            raise FieldError("teacher", "is missing: the method distils from one")
        if not self.method.uses_teacher and self.teacher is not None:
            raise FieldError(
                "teacher",
                "is given, but the method has no use for one; remove it or set it to null",
            )
        if self.saliency_model is not None and not self.method.uses_saliency_model:
            raise FieldError(
                "saliency_model",
                "is given, but no criterion of the method looks at it; remove it or set it to null",
            )
        if self.method.multicrop is not None and self.recipe.augment != Augment():
            raise FieldError(
                "recipe",
                "`augment` has no effect here: the method's `crops` say what happens to images",
            )
        if self.recipe.teacher_precision is not None and not self.method.has_frozen_teacher:
            what = "is of frozen teachers, and the method has none: leave it out"
            raise FieldError("recipe.teacher_precision", what)
        networks = self.networks()
        for name, network in networks.items():
            if self.recipe.compile == "blocks" and not family_of(network.shape).compilable:
                what = f"`blocks` is for plain ViTs, and the {name} is a {network.shape.family}"
                raise FieldError("recipe.compile", what)
        if self.recipe.layer_decay != 1 and not family_of(self.student.shape).one_stack:
            what = f"is for networks of one stack of blocks, no {self.student.shape.family}: give 1"
            raise FieldError("recipe.layer_decay", what)
        for name in ("teacher", "saliency_model"):
            if name in networks and networks[name].trained != "all":
                raise FieldError(name, "is not trained: `trained` is for students")
        if self.student.drop_path > 0 and (why := self.method.why_no_drop_path()):
            raise FieldError("student.drop_path", why)
        if self.student.trained == "head" and self.method.trains and not self.method.uses_labels:
            what = "head: the method learns without labels, and has no part for a classifier"
            raise FieldError("student.trained", what)
        check_inputs(self)
        self._check_method({name: model.shape for name, model in networks.items()})

    def _check_method(self, networks: Mapping[str, Architecture]) -> None:
        try:
            self.method.check(networks, self.recipe)
        except FieldError as error:
            if error.field in ("student", "teacher", "saliency_model", "method"):
                raise
            raise FieldError(f"method.{error.field}", error.what) from None

    def networks(self) -> dict[str, ModelConfig]:
        """The student, and the teacher and the saliency model where there are."""
        named = {
            "student": self.student,
            "teacher": self.teacher,
            "saliency_model": self.saliency_model,
        }
        return {name: model for name, model in named.items() if model is not None}
