"""Images with masks: random squares of them to learn from, and whole ones to judge by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from harness.data.dense import TRIES, DenseTransform, moved_boxes
from harness.data.sources import Setup
from harness.data.targets import UNKNOWN
from harness.data.worker_images import seed_all
from harness.errors import FieldError
from harness.train.config import Augment

SIDE = 32
NEAREST = Image.Resampling.NEAREST


def setup(augment: Augment) -> Setup:
    return Setup(augment=augment, image_size=SIDE, mean=(0.5,), seed=0, device=torch.device("cpu"))


def a_mask(height: int, width: int, classes: int = 7) -> NDArray[np.uint8]:
    """Small squares of random classes, some of them unknown."""
    draws = np.random.default_rng(height)
    coarse = draws.integers(0, classes + 1, (height // 4 + 1, width // 4 + 1))
    mask = coarse.repeat(4, axis=0).repeat(4, axis=1)[:height, :width].astype(np.uint8)
    return np.where(mask == classes, np.uint8(UNKNOWN), mask)


@pytest.mark.parametrize("size", [(40, 60), (90, 33), (32, 32), (20, 20)])
@pytest.mark.parametrize("scaled", [(0.5, 2.0), (0.4, 0.6), (1.5, 3.0)])
def test_a_mask_shows_what_its_image_shows(
    size: tuple[int, int], scaled: tuple[float, float]
) -> None:
    """An image that is its own mask stays so, whatever is drawn, where it is resized likewise."""
    mask = a_mask(*size)
    transform = DenseTransform(setup(Augment()), Augment(crop="scaled", scaled=scaled, flip=0.5))
    transform._resample = NEAREST
    seen = set()
    for seed in range(25):
        seed_all(seed)
        pixels, moved = transform(Image.fromarray(mask), mask)
        assert pixels.shape == (1, SIDE, SIDE)
        assert moved.shape == (SIDE, SIDE)
        filled = (moved == UNKNOWN) & (pixels[0] == 128)  # beyond the image: the mean colour
        assert bool(((pixels[0] == moved) | filled).all())
        seen.add(moved.numpy().tobytes())
    assert len(seen) > 5  # drawn anew each time; small ones differ in their size alone


def test_the_square_is_a_part_of_the_scaled_image() -> None:
    mask = a_mask(40, 60)
    transform = DenseTransform(setup(Augment()), Augment(crop="scaled", scaled=(2, 2), flip=0))
    larger = np.asarray(Image.fromarray(mask).resize((96, 64), NEAREST))  # shorter side: 2 x 32
    corners = set()
    for seed in range(20):
        seed_all(seed)
        _, moved = transform(Image.fromarray(mask), mask)
        places = [
            (top, left)
            for top in range(33)
            for left in range(65)
            if np.array_equal(larger[top : top + SIDE, left : left + SIDE], moved.numpy())
        ]
        assert places
        corners.add(places[0])
    assert len({top for top, _ in corners}) > 5
    assert len({left for _, left in corners}) > 5


def test_a_small_image_is_filled_up_on_the_right_and_below() -> None:
    mask = np.full((20, 20), 3, np.uint8)
    image = Image.fromarray(np.full((20, 20), 200, np.uint8))
    transform = DenseTransform(setup(Augment()), Augment(crop="scaled", scaled=(0.5, 0.5), flip=0))
    pixels, moved = transform(image, mask)
    expected = np.full((SIDE, SIDE), UNKNOWN)
    expected[:16, :16] = 3
    assert np.array_equal(moved.numpy(), expected)
    assert np.array_equal(pixels[0].numpy(), np.where(expected == 3, 200, 128))


def test_squares_of_one_class_are_drawn_again() -> None:
    """The left 95 % of a wide image are of class 0: few squares show less than 3/4 of it."""
    mask = np.zeros((SIDE, 640), np.uint8)
    mask[:, 608:] = 1
    image = Image.fromarray(mask)
    transform = DenseTransform(setup(Augment()), Augment(crop="scaled", scaled=(1, 1), flip=0))
    good = 0
    for seed in range(100):
        seed_all(seed)
        share = float((transform(image, mask)[1] == 0).float().mean())
        good += share < 0.75
    chance = 25 / 609  # of one draw; at least 8 columns of class 1
    expected = 100 * (1 - (1 - chance) ** TRIES)
    assert expected - 15 < good < expected + 15
    assert 100 * chance < 5


def test_boxes_follow_too() -> None:
    boxes = np.array([[2, 10, 4, 30, 20, 0]], np.float32)
    transform = DenseTransform(setup(Augment()), Augment(crop="scaled", scaled=(0.5, 0.5), flip=0))
    _, moved = transform(Image.new("L", (40, 40)), boxes)  # 40 pixels become 16 of 32
    assert moved[0].tolist() == pytest.approx([2, 8 / 32, 4.8 / 32, 8 / 32, 6.4 / 32, 0])
    assert moved_boxes.__doc__


def test_judging_sees_the_whole_image_and_its_mask_as_it_is() -> None:
    mask = a_mask(50, 80)
    image = Image.fromarray(np.arange(4000, dtype=np.uint8).reshape(50, 80))
    pixels, same = DenseTransform(setup(Augment()), None)(image, mask)
    assert pixels.shape == (1, SIDE, 51)  # 32 / 50 of 80
    assert np.array_equal(same.numpy(), mask)
    resized = image.resize((51, SIDE), Image.Resampling.BILINEAR)
    assert np.array_equal(pixels[0].numpy(), np.asarray(resized))


def test_colours_change_and_masks_do_not() -> None:
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    mask = a_mask(32, 32)
    augment = Augment(crop="none", flip=0, photometric=1.0)
    three = Setup(
        augment=augment, image_size=SIDE, mean=(0.5,) * 3, seed=0, device=torch.device("cpu")
    )
    seed_all(0)
    pixels, moved = DenseTransform(three, augment)(colour, mask)
    assert np.array_equal(moved.numpy(), mask)
    before = torch.from_numpy(np.array(colour)).permute(2, 0, 1)
    assert 2 < float((pixels.float() - before.float()).abs().mean()) < 80


def test_options_that_have_no_effect_are_told() -> None:
    with pytest.raises(FieldError, match="goes with `crop: scaled`"):
        Augment(crop="resized", scaled=(0.5, 1.0))
    with pytest.raises(FieldError, match="both change colours"):
        Augment(photometric=0.5, color_jitter=0.3)
