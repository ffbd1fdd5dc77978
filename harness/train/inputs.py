"""Whether networks, augmentation and method of a training fit what the data are: pictures, or
spectrograms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.data.dataset import DATASETS, DataSet
from harness.errors import FieldError
from harness.models.families import family_of

if TYPE_CHECKING:
    from harness.train.config import Augment, TrainConfig

SPANS: Final = ("frequency_mask", "time_mask")


def check_inputs(config: TrainConfig) -> None:
    """Raise FieldError for the first thing that does not fit."""
    if config.data.name not in DATASETS.names():
        return  # said elsewhere
    dataset = DATASETS.get(config.data.name)
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
    for name, model in config.networks().items():
        hears = family_of(model.shape).hears
        if hears and not dataset.spectrograms:
            what = f"'{model.arch}' takes spectrograms, and {dataset.name} has pictures"
            raise FieldError(name, what)
        if dataset.spectrograms:
            here = (dataset.size, dataset.width)
            if not hears or model.shape.image_shape != here:
                takes = "pictures" if not hears else _times(model.shape.image_shape)
                raise FieldError(
                    name,
                    f"'{model.arch}' takes {takes}, the spectrograms of {dataset.name} have "
                    f"{_times(here)}: give an `ast_...` with `image_size: {here[0]}, "
                    f"image_width: {here[1]}`",
                )


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
