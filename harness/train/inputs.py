"""Whether networks, augmentation and method of a training fit what the data are, pictures or
spectrograms, and what is known of them: classes, boxes or masks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.bounds import at_default
from harness.data.dataset import DATASETS, DataSet
from harness.errors import FieldError
from harness.models.families import family_of

if TYPE_CHECKING:
    from harness.train.config import Augment, TrainConfig

SPANS: Final = ("frequency_mask", "time_mask")
COLOURS: Final = ("color_jitter", "photometric")
CLASSES_ONLY: Final = ("rand_augment", "erasing", "mixup", "cutmix", "label_smoothing")
"""Parts of an augmentation that boxes and masks do not follow."""


def check_inputs(config: TrainConfig) -> None:
    """Raise FieldError for the first thing that does not fit."""
    dataset = DATASETS.get(config.data.name)
    _check_labelling(config, dataset)
    if dataset.spectrograms:
        _check_augment(config.recipe.augment, dataset)
        if config.method.multicrop is not None:
            what = f"learns from crops of pictures, and {dataset.name} has spectrograms"
            raise FieldError("method", what)
    else:
        for key in SPANS:
            if getattr(config.recipe.augment, key):
                what = f"is of spectrograms, and {dataset.name} has pictures: leave it out"
                raise FieldError(f"recipe.augment.{key}", what)
    augment, side = config.recipe.augment, config.student.shape.image_size
    native = side if dataset.labelling != "classes" else dataset.size or side
    if config.method.multicrop is None and augment.crop == "pad" and augment.pad_pixels >= native:
        what = f"must be below the image's {native}, or nothing of it may be seen"
        raise FieldError("recipe.augment.pad_pixels", f"{what}; got {augment.pad_pixels}")
    for name, model in config.networks().items():
        audio = family_of(model.shape).takes_spectrograms
        if audio and not dataset.spectrograms:
            what = f"'{model.arch}' takes spectrograms, and {dataset.name} has pictures"
            raise FieldError(name, what)
        if dataset.spectrograms:
            here = (dataset.size, dataset.width)
            if not audio or model.shape.image_shape != here:
                takes = "pictures" if not audio else _times(model.shape.image_shape)
                raise FieldError(
                    name,
                    f"'{model.arch}' takes {takes}, the spectrograms of {dataset.name} have "
                    f"{_times(here)}: give an `ast_...` with `image_size: {here[0]}, "
                    f"image_width: {here[1]}`",
                )


def _check_labelling(config: TrainConfig, dataset: DataSet) -> None:
    """Data, student, method and augmentation must be about the same thing: boxes, say."""
    known, told = dataset.labelling, family_of(config.student.shape).labelling
    if known != told:
        fitting = [name for name in DATASETS.names() if DATASETS.get(name).labelling == told]
        raise FieldError(
            "data",
            f"'{config.data.name}' has {known} of its images, and '{config.student.arch}' learns "
            f"{told}: give {' or '.join(fitting)}, or another student",
        )
    if told not in config.method.labellings:
        raise FieldError("method", f"does not train networks that tell {told} of an image")
    augment = config.recipe.augment
    for key in CLASSES_ONLY if known != "classes" else ():
        if not at_default(augment, key):
            raise FieldError(f"recipe.augment.{key}", f"is not for images with {known}")
    for key in COLOURS if known != "classes" and dataset.channels == 1 else ():
        if getattr(augment, key) > 0:
            what = f"has no effect: the images of {dataset.name} are grey; leave it out"
            raise FieldError(f"recipe.augment.{key}", what)
    if known == "classes" and (augment.crop == "scaled" or augment.photometric > 0):
        key = "crop" if augment.crop == "scaled" else "photometric"
        raise FieldError(f"recipe.augment.{key}", "is for images with boxes or masks")


def _check_augment(augment: Augment, dataset: DataSet) -> None:
    """Nothing that is done to pictures."""
    off = {
        "crop": "none",
        "flip": 0.0,
        "rand_augment": None,
        "color_jitter": 0.0,
        "erasing": 0.0,
        "cutmix": 0.0,
    }
    for key, value in off.items():
        if getattr(augment, key) != value:
            needed = "null" if value is None else value
            raise FieldError(
                f"recipe.augment.{key}",
                f"is of pictures, and {dataset.name} has spectrograms: give `{key}: {needed:}`",
            )
    for key, most in zip(SPANS, (dataset.size, dataset.width), strict=True):
        if getattr(augment, key) > (most or 0):
            what = f"must be at most {most}, as many as {dataset.name} has"
            raise FieldError(f"recipe.augment.{key}", f"{what}; got {getattr(augment, key)}")


def _times(shape: tuple[int | None, ...]) -> str:
    return " x ".join(map(str, shape))
