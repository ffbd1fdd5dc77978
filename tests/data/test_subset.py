"""Fractions and the holdout."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data import images_per_class, train_images, whole_batches
from harness.data.config import DataConfig
from harness.data.subset import split_training
from harness.errors import DataError, FieldError
from harness.train.config import Recipe

LABELS = np.tile(np.arange(10), 60)  # 60 of each class, interleaved


def test_all_images_are_trained_on_by_default() -> None:
    train, held = split_training(LABELS, DataConfig(name="fashion-mnist"))
    assert train.tolist() == list(range(600))
    assert len(held) == 0


def test_a_fraction_is_the_first_share_of_every_class() -> None:
    data = DataConfig(name="fashion-mnist", train_fraction=0.1)
    train, _ = split_training(LABELS, data)
    assert train.tolist() == list(range(60))
    assert train_images(data) == 6000


def test_the_holdout_is_the_last_tenth_of_every_class_and_is_not_trained_on() -> None:
    data = DataConfig(name="fashion-mnist", evaluate_on="holdout")
    train, held = split_training(LABELS, data)
    assert held.tolist() == list(range(540, 600))
    assert train.tolist() == list(range(540))
    assert train_images(data) == 54_000


def test_a_fraction_beside_a_holdout_is_of_what_is_left() -> None:
    data = DataConfig(name="fashion-mnist", evaluate_on="holdout", train_fraction=0.5)
    train, held = split_training(LABELS, data)
    assert train.tolist() == list(range(270))
    assert held.tolist() == list(range(540, 600))
    assert train_images(data) == 27_000


def test_the_smallest_fraction_leaves_one_image_per_class() -> None:
    assert train_images(DataConfig(name="fashion-mnist", train_fraction=1e-9)) == 10


def test_classes_too_small_for_a_holdout_are_an_error() -> None:
    with pytest.raises(DataError, match="needs at least 10 in each"):
        split_training(np.repeat([0, 1], 9), DataConfig(name="folder", evaluate_on="holdout"))


def test_steps_per_epoch_needs_no_images() -> None:
    recipe = Recipe(epochs=1, batch_size=1024, lr=1e-3)
    assert train_images(DataConfig(name="imagenet-1k")) == 1_281_167
    assert whole_batches(train_images(DataConfig(name="imagenet-1k")), recipe.batch_size) == 1251


def test_so_many_of_every_class_are_its_first() -> None:
    data = DataConfig(name="fashion-mnist", train_per_class=3)
    train, _ = split_training(LABELS, data)
    assert train.tolist() == list(range(30))
    assert train_images(data) == 30


def test_a_share_of_imagenet_is_counted_without_a_copy_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    assert train_images(DataConfig(name="imagenet-1k", train_per_class=260)) == 260_000
    with pytest.raises(DataError, match="HARNESS_DATA is not set"):
        train_images(DataConfig(name="imagenet-1k", train_per_class=1000))


def test_the_smallest_class_says_how_many_of_every_class_there_are() -> None:
    assert images_per_class(DataConfig(name="imagenet-1k")) == 732
    assert images_per_class(DataConfig(name="fashion-mnist")) == 6000
    assert images_per_class(DataConfig(name="fashion-mnist", evaluate_on="holdout")) == 5400


def test_two_ways_of_taking_less_are_one_too_many() -> None:
    with pytest.raises(FieldError, match="not both"):
        DataConfig(name="fashion-mnist", train_per_class=3, train_fraction=0.5)
    with pytest.raises(FieldError, match="at least 1"):
        DataConfig(name="fashion-mnist", train_per_class=0)
