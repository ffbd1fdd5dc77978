"""Batched crops against torchvision, one image at a time."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from harness.data.crops import (
    Boxes,
    Interpolation,
    draw_boxes,
    mirrored,
    padded_crops,
    resized,
    resized_crops,
)

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def pictures(count: int, channels: int, size: int) -> torch.Tensor:
    draws = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, channels, size, size), generator=draws).to(torch.uint8)


def boxes(count: int, size: int, seed: int = 0) -> Boxes:
    draws = torch.Generator().manual_seed(seed)
    return draw_boxes(count, size=size, scale=SCALE, ratio=RATIO, generator=draws)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("native", "size"), [(28, 28), (32, 48), (32, 12)])
@pytest.mark.parametrize("channels", [1, 3])
def test_resized_crops_equal_torchvision(
    interpolation: Interpolation, native: int, size: int, channels: int
) -> None:
    images, drawn = pictures(24, channels, native), boxes(24, native)
    flip = torch.arange(24) % 2 == 1
    found = resized_crops(images, drawn, flip, size=size, interpolation=interpolation)
    for index in range(24):
        box = [int(side[index]) for side in (drawn.top, drawn.left, drawn.height, drawn.width)]
        expected = reference.resized_crop(
            images[index].float(), *box, [size, size], v2.InterpolationMode(interpolation)
        )
        expected = expected.flip(-1) if flip[index] else expected
        torch.testing.assert_close(found[index], expected.clamp(0, 255), atol=0.01, rtol=0)


def test_boxes_lie_inside_and_are_drawn_as_torchvision_draws_them() -> None:
    count, size = 20_000, 224
    drawn = boxes(count, size)
    assert int(drawn.top.min()) >= 0
    assert int(drawn.left.min()) >= 0
    assert int((drawn.top + drawn.height).max()) <= size
    assert int((drawn.left + drawn.width).max()) <= size
    torch.manual_seed(0)
    transform = v2.RandomResizedCrop(size, SCALE, RATIO)
    params = [transform.make_params([torch.empty(3, size, size)]) for _ in range(4000)]
    for name in ("top", "left", "height", "width"):
        here = getattr(drawn, name).double()
        there = torch.tensor([param[name] for param in params], dtype=torch.float64)
        error = float((here.var() / count + there.var() / len(params)).sqrt())
        assert abs(float(here.mean() - there.mean())) < 4 * error
        assert float(here.std() / there.std()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("ratio", "height", "width"), [((2.0, 3.0), 10, 20), ((0.25, 0.5), 20, 10)]
)
def test_boxes_that_never_fit_become_the_largest_central_one(
    ratio: tuple[float, float], height: int, width: int
) -> None:
    drawn = draw_boxes(
        5, size=20, scale=(1.0, 1.0), ratio=ratio, generator=torch.Generator().manual_seed(0)
    )
    assert drawn.height.tolist() == [height] * 5
    assert drawn.width.tolist() == [width] * 5
    assert drawn.top.tolist() == [(20 - height) // 2] * 5
    assert drawn.left.tolist() == [(20 - width) // 2] * 5


def test_padded_crops_equal_torchvision() -> None:
    images = pictures(16, 3, 12)
    draws = torch.Generator().manual_seed(5)
    shift_y, shift_x = torch.randint(9, (2, 16), generator=draws)
    flip = torch.arange(16) % 3 == 0
    found = padded_crops(images, shift_y, shift_x, flip, padding=4)
    for index in range(16):
        around = reference.pad(images[index], [4])
        cut = reference.crop(around, int(shift_y[index]), int(shift_x[index]), 12, 12)
        assert torch.equal(found[index], (cut.flip(-1) if flip[index] else cut).float())


def test_mirrored_flips_the_chosen_columns_only() -> None:
    images = pictures(4, 1, 6)
    found = mirrored(images, torch.tensor([True, False, True, False]))
    assert torch.equal(found[0], images[0].flip(-1).float())
    assert torch.equal(found[1], images[1].float())


@pytest.mark.parametrize("size", [14, 28, 40])
def test_resized_equals_torchvision(size: int) -> None:
    images = pictures(4, 3, 28)
    expected = reference.resize(images.float(), [size, size], v2.InterpolationMode.BICUBIC)
    found = resized(images, size=size, interpolation="bicubic")
    torch.testing.assert_close(found, expected.clamp(0, 255), atol=0.01, rtol=0)
