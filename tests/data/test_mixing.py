"""Erasing, mixup and cutmix: what they must keep, and timm's own numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import pytest
import torch
from timm.data.mixup import mixup_target
from timm.data.random_erasing import RandomErasing

from harness.data.mixing import Box, erase, fill_boxes_, mix, soft_targets
from harness.train.config import Augment

OFF = Augment(crop="none", flip=0)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def erased_boxes(images: torch.Tensor) -> list[torch.Tensor]:
    """The changed pixels (H, W) of images that were all zero; noise is never exactly zero."""
    return [image.ne(0).any(0) for image in images if image.ne(0).any()]


def test_erasing_replaces_one_box_by_normal_noise() -> None:
    images = erase(torch.zeros(4000, 3, 32, 32), probability=0.25, generator=generator(0))
    changed = erased_boxes(images)
    assert abs(len(changed) - 1000) < 4 * math.sqrt(4000 * 0.25 * 0.75)
    for box in changed:
        rows, columns = box.any(1), box.any(0)
        assert int(box.sum()) == int(rows.sum()) * int(columns.sum())  # a box, and it is full
        assert 0.01 < float(box.float().mean()) < 0.37  # sides are rounded to pixels
    noise = images[images != 0]
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert float(noise.std()) == pytest.approx(1, abs=0.01)


def test_erasing_covers_as_much_as_timms() -> None:
    ours = erase(torch.zeros(3000, 1, 32, 32), probability=1, generator=generator(1))
    theirs = RandomErasing(probability=1, mode="pixel", device="cpu")(torch.zeros(3000, 1, 32, 32))
    shares = [
        torch.stack([box.float().mean() for box in erased_boxes(images)])
        for images in (ours, theirs)
    ]
    error = float((shares[0].var() / 3000 + shares[1].var() / 3000).sqrt())
    assert abs(float(shares[0].mean() - shares[1].mean())) < 4 * error
    where = [images.ne(0).float().mean((0, 1)) for images in (ours, theirs)]
    assert float((where[0] - where[1]).abs().max()) < 0.06  # each pixel is hit as often


def test_erasing_nothing_keeps_all() -> None:
    images = torch.randn(8, 1, 9, 9)
    assert torch.equal(erase(images.clone(), probability=0, generator=generator(0)), images)


def test_soft_targets_follow_the_closed_form() -> None:
    found = soft_targets(torch.tensor([2, 0]), classes=4, smoothing=0.1)
    expected = torch.tensor([[0.025, 0.025, 0.925, 0.025], [0.925, 0.025, 0.025, 0.025]])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("augment", [replace(OFF, mixup=0.8), replace(OFF, cutmix=1.0)])
def test_mixing_moves_targets_as_far_as_pixels(augment: Augment) -> None:
    labels = torch.arange(6)
    # each image is a constant, its own number: the mean of a mixed one tells the share
    images = labels[:, None, None, None].expand(6, 3, 40, 40).double()
    targets = soft_targets(labels, classes=6, smoothing=0.1)
    for seed in range(50):
        mixed, found = mix(images.clone(), targets, augment, draws=Random(seed))
        share = float((mixed[0].mean() - 5) / (0 - 5))
        expected = mixup_target(labels, 6, lam=share, smoothing=0.1)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(found.sum(1), torch.ones(6))


def test_cutmix_pastes_one_box_of_the_reversed_batch() -> None:
    images = torch.rand(4, 3, 16, 16)
    pasted = 0
    for seed in range(30):
        mixed, _ = mix(images.clone(), torch.eye(4), replace(OFF, cutmix=1.0), draws=Random(seed))
        other = mixed.eq(images.flip(0)).all(0).all(0)
        own = mixed.eq(images).all(0).all(0)
        assert bool((other | own).all())
        rows, columns = other.any(1), other.any(0)
        assert int(other.sum()) == int(rows.sum()) * int(columns.sum())
        pasted += int(other.any())
    assert pasted > 20


def shares(augment: Augment, count: int) -> list[float]:
    """The share of its own target that the first image keeps, for `count` batches."""
    images, targets = torch.zeros(2, 1, 64, 64), torch.eye(2)
    return [
        float(mix(images, targets, augment, draws=Random(seed))[1][0, 0]) for seed in range(count)
    ]


@pytest.mark.parametrize("alpha", [0.2, 0.8])
def test_mixup_draws_its_share_from_beta(alpha: float) -> None:
    drawn = torch.tensor(shares(replace(OFF, mixup=alpha), 3000), dtype=torch.float64)
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(drawn.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08)


def test_mixing_happens_with_its_probability() -> None:
    whole = [share == 1 for share in shares(replace(OFF, mixup=0.8, mix_probability=0.3), 2000)]
    assert abs(sum(whole) - 1400) < 4 * math.sqrt(2000 * 0.3 * 0.7)


def test_with_both_on_the_switch_chooses_cutmix() -> None:
    images, targets = torch.rand(2, 1, 32, 32), torch.eye(2)
    both = replace(OFF, mixup=1.0, cutmix=1.0, mix_switch=0.25)
    cut = 0
    for seed in range(1000):
        mixed, _ = mix(images.clone(), targets, both, draws=Random(seed))
        cut += bool((mixed.eq(images) | mixed.eq(images.flip(0))).all())
    assert abs(cut - 250) < 4 * math.sqrt(1000 * 0.25 * 0.75)


def test_without_mixing_nothing_changes() -> None:
    images, targets = torch.rand(4, 1, 5, 5), torch.eye(4)
    mixed, found = mix(images.clone(), targets, OFF, draws=Random(0))
    assert torch.equal(mixed, images)
    assert torch.equal(found, targets)


def test_boxes_filled_at_once_are_those_filled_one_by_one() -> None:
    draws = Random(0)
    images = torch.randn(5, 3, 17, 23, generator=generator(0))
    expected, boxes, noises = images.clone(), [], []
    for image in (0, 2, 3):
        tall, wide = draws.randrange(1, 17), draws.randrange(1, 23)
        top, left = draws.randrange(18 - tall), draws.randrange(24 - wide)
        noise = torch.randn(3, tall, wide, generator=generator(image))
        expected[image, :, top : top + tall, left : left + wide] = noise
        boxes.append(Box(image, top, left, tall, wide))
        noises.append(noise.flatten())
    fill_boxes_(images, boxes, torch.cat(noises))
    assert torch.equal(images, expected)
