"""Which images of a set a run trains on and is judged by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.data.config import DataConfig
from harness.data.dataset import DataSet
from harness.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def train_count(dataset: DataSet, data: DataConfig) -> int:
    """How many training images `data` leaves."""
    if data.evaluate_on == "val":
        wanted = data.train_per_class
        if wanted is None and data.train_fraction == 1:
            return dataset.train_images
        if wanted is not None and wanted <= dataset.smallest_class:
            return wanted * dataset.classes
    return sum(_taken(count, data) for count in dataset.class_counts())


def most_per_class(dataset: DataSet, data: DataConfig) -> int:
    """How many training images `data` can take of every class: those of the smallest one, less what
    is held out of it.
    """
    smallest = dataset.smallest_class or min(filter(None, dataset.class_counts()))
    return smallest - _held(smallest, data)


def split_training(
    labels: NDArray[np.int64], data: DataConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the images trained on, and of those held out (the last tenth of every class)."""
    import numpy as np

    train, held = [], []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        train.append(members[: _taken(len(members), data)])
        held.append(members[len(members) - _held(len(members), data) :])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(held))


def _held(count: int, data: DataConfig) -> int:
    if data.evaluate_on == "val":
        return 0
    if count < 10:
        raise DataError(
            f"data set {data.name}: a class has {count} training images; "
            "`evaluate_on: holdout` needs at least 10 in each"
        )
    return count // 10


def _taken(count: int, data: DataConfig) -> int:
    left = count - _held(count, data)
    if data.train_per_class is not None:
        return min(left, data.train_per_class)
    return min(left, max(1, round(left * data.train_fraction)))
