"""The catalogue of data sets: facts for specs, plans and status, so nothing here imports torch."""

from __future__ import annotations

from harness.data.config import DataConfig
from harness.data.dataset import DATASETS, DataSet
from harness.data.subset import most_per_class, train_count
from harness.errors import DataError

__all__ = [
    "DATASETS",
    "check_classes",
    "fingerprint",
    "images_per_class",
    "open_dataset",
    "ready",
    "train_images",
    "whole_batches",
]


def open_dataset(data: DataConfig) -> DataSet:
    """The set that `data` names, with the facts of the user's files where it is `folder`."""
    return DATASETS.get(data.name).of(data)


def fingerprint(data: DataConfig) -> str:
    """The version of the images `data` means: what `DataConfig.version` is completed with."""
    return open_dataset(data).version


def check_classes(dataset: DataSet) -> None:
    """DataError where all images are of one class, before anything learns or judges by that."""
    if dataset.labelling == "classes" and dataset.classes == 1:
        raise DataError(
            f"all images of data set {dataset.name} are of one class, so no answer can be wrong; "
            "sort them into a folder for each class, or learn from them without labels"
        )


def train_images(data: DataConfig) -> int:
    """How many images one epoch draws from."""
    return train_count(open_dataset(data), data)


def images_per_class(data: DataConfig) -> int:
    """How many images of every class can be trained on."""
    return most_per_class(open_dataset(data), data)


def pixel_side(data: DataConfig) -> int:
    """Side of the images of a set that is held in memory, in pixels."""
    size = open_dataset(data).size
    assert size is not None, "sets in memory have square images of one size"
    return size


def whole_batches(images: int, batch_size: int) -> int:
    """Batches of `batch_size` in `images`; the last, incomplete one is dropped."""
    if batch_size > images:
        raise DataError(
            f"batch_size {batch_size} is larger than the {images} images; "
            "lower recipe.batch_size or raise data.train_fraction"
        )
    return images // batch_size


def ready(data: DataConfig) -> str | None:
    """What this machine lacks and the next step; None when the set is here. Reads no image."""
    try:
        return open_dataset(data).missing()
    except DataError as error:
        return f"data set {data.name}: {error}"
