"""Batched colour changes against torchvision's; crops are a function of the step."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from harness.data.colour import blend_, blurred, color_jitter, grey, shift_hue
from harness.data.multicrop import MultiCrop
from harness.errors import FieldError
from harness.train.config import Augment
from tests.data.conftest import SmallFashion, opened


def pictures(count: int = 4, channels: int = 3, size: int = 9) -> torch.Tensor:
    return 255 * torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.03, 0.4])
def test_hue_turns_as_in_torchvision(turn: float) -> None:
    images = pictures()
    expected = 255 * reference.adjust_hue(images / 255, turn)
    torch.testing.assert_close(
        shift_hue(images, torch.full((4,), turn)), expected, atol=0.01, rtol=0
    )


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.4])
def test_brightness_and_saturation_as_in_torchvision(factor: float) -> None:
    images, share = pictures(), torch.full((4,), factor)
    bright = 255 * reference.adjust_brightness(images / 255, factor)
    torch.testing.assert_close(blend_(images.clone(), None, share), bright, atol=0.01, rtol=0)
    vivid = 255 * reference.adjust_saturation(images / 255, factor)
    torch.testing.assert_close(
        blend_(images.clone(), grey(images), share), vivid, atol=0.02, rtol=0
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_contrast_as_in_torchvision_within_its_range(channels: int) -> None:
    """The factor that was drawn for an image follows from its brightest value."""
    images = 70 + pictures(40, channels) / 3  # nothing is clipped
    only = MultiCrop(jitter=1.0, brightness=0.0, contrast=0.4, saturation=0.0, hue=0.0, grey=0.0)
    found = color_jitter(
        images, only, blur=0, solarize=0, generator=torch.Generator().manual_seed(2)
    )
    factors = []
    for before, after in zip(images, found, strict=True):
        dark, bright = before.flatten().argmin(), before.flatten().argmax()
        gain = after.flatten()[bright] - after.flatten()[dark]
        factors.append(float(gain / (before.max() - before.min())))
        expected = 255 * reference.adjust_contrast(before / 255, factors[-1])
        torch.testing.assert_close(after, expected, atol=0.02, rtol=0)
    assert 0.6 <= min(factors) < 0.65
    assert 1.35 < max(factors) <= 1.4


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_is_a_gaussian_inside_and_keeps_flat_images(sigma: float) -> None:
    images = torch.zeros(1, 1, 21, 21)
    images[0, 0, 10, 10] = 1
    found = blurred(images, torch.tensor([sigma]))[0, 0]
    line = [math.exp(-(d**2) / (2 * sigma**2)) for d in range(-10, 11)]
    assert found[10, 12] == pytest.approx(line[10] * line[12] / sum(line) ** 2, abs=1e-6)
    flat = torch.full((1, 3, 8, 8), 77.0)
    torch.testing.assert_close(blurred(flat, torch.tensor([sigma])), flat)


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_makes_no_denormal_numbers(sigma: float) -> None:
    """Many CPUs compute with them a hundred times slower."""
    images = torch.zeros(1, 3, 96, 96)
    images[0, :, 40:60, 40:60] = 255
    found = blurred(images, torch.tensor([sigma]))[0, 0]
    assert not ((found > 0) & (found < torch.finfo(torch.float32).tiny)).any()
    line = torch.arange(96, dtype=torch.float64)
    weights = torch.exp(-((line[:, None] - line) ** 2) / (2 * sigma**2))
    weights /= weights.sum(dim=1, keepdim=True)
    expected = weights @ images[0, 0].double() @ weights.T
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=0)


def test_probabilities_of_zero_change_nothing() -> None:
    images = pictures()
    off = MultiCrop(jitter=0.0, grey=0.0)
    draws = torch.Generator().manual_seed(0)
    assert torch.equal(color_jitter(images, off, blur=0, solarize=0, generator=draws), images)


def test_each_image_is_changed_as_if_all_were() -> None:
    """Only the images that a part chooses are computed; a loop over all of them gives the same."""
    images = pictures(12, size=16)
    every = MultiCrop(jitter=0.5, grey=0.5)
    found = color_jitter(
        images, every, blur=0.5, solarize=0.5, generator=torch.Generator().manual_seed(4)
    )
    draws = torch.Generator().manual_seed(4)
    chance, order = torch.rand(9, 12, generator=draws), torch.randperm(4, generator=draws)
    assert all(0 < int((chance[row] < 0.5).sum()) < 12 for row in (0, 1, 2, 4))
    for at, image in enumerate(images.clone().split(1)):
        factor = {k: 2 * chance[5 + k, at : at + 1] - 1 for k in range(4)}
        if chance[0, at] < 0.5:
            for operation in order.tolist():
                if operation == 0:
                    image = blend_(image, None, 1 + 0.4 * factor[0])
                elif operation == 1:
                    image = blend_(image, grey(image).mean(), 1 + 0.4 * factor[1])
                elif operation == 2:
                    image = blend_(image, grey(image), 1 + 0.2 * factor[2])
                else:
                    image = shift_hue(image, 0.1 * factor[3])
        image = grey(image).expand(-1, 3, -1, -1) if chance[1, at] < 0.5 else image
        if chance[2, at] < 0.5:
            image = blurred(image, 0.1 + 1.9 * chance[3, at : at + 1])
        if chance[4, at] < 0.5:
            image = torch.where(image >= 128, 255 - image, image)
        torch.testing.assert_close(found[at], image[0], atol=1e-3, rtol=0)


def test_solarise_inverts_the_bright_half() -> None:
    images = torch.tensor([[[[0.0, 127.0, 128.0, 255.0]]]])
    off = MultiCrop(jitter=0.0, grey=0.0)
    found = color_jitter(images, off, blur=0, solarize=1, generator=torch.Generator())
    assert found.flatten().tolist() == [0, 127, 127, 0]


@pytest.mark.parametrize("in_memory", [True, False])
def test_crops_of_a_step_are_the_same_wherever_it_starts(
    in_memory: bool, small: SmallFashion
) -> None:
    crops = MultiCrop(local_crops=2, local_size=14)
    # a colour jitter makes the module read single images
    module = opened(Augment() if in_memory else Augment(color_jitter=0.1), batch=20)
    whole = module.train_crops(crops)
    first, second = next(whole), next(whole)
    assert [tuple(crop.shape) for crop in first[0]] == [(20, 1, 28, 28)] * 2 + [(20, 1, 14, 14)] * 2
    again = next(module.train_crops(crops, 1))
    assert all(torch.equal(a, b) for a, b in zip(second[0], again[0], strict=True))
    assert not torch.equal(first[0][0], first[0][1])


def test_wrong_options_name_themselves() -> None:
    with pytest.raises(FieldError, match="low <= high") as caught:
        MultiCrop(global_scale=(0.5, 0.2))
    assert caught.value.field == "global_scale"
