"""The recipe of every crop, as DINO released it: sizes, areas, and how often each is recoloured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from harness.data.dataset import Arrays
from harness.data.module import DataModule
from harness.data.multicrop import CropSpec, MultiCrop, crop_specs
from harness.data.sampler import Sampler
from harness.data.sources import MemoryImages, Setup
from harness.data.transforms import MultiCropTransform
from harness.train.config import Augment

COUNT, SIDE, LOCAL = 2000, 32, 12
STEP = 7  # of grey, from a column (channel 0) or row (channel 1) to the next
PLAIN = MultiCrop(
    local_crops=2,
    local_size=LOCAL,
    flip=0.0,
    jitter=0.0,
    grey=0.0,
    blur=(0.0, 0.0, 0.0),
    solarize=0.0,
)


def ramps() -> Tensor:
    """A picture (3, S, S), bytes: columns, rows, and a chequerboard."""
    line = STEP * torch.arange(SIDE)
    board = 100 + 100 * ((torch.arange(SIDE)[:, None] + torch.arange(SIDE)) % 2)
    picture = torch.stack([line.expand(SIDE, SIDE), line[:, None].expand(SIDE, SIDE), board])
    return picture.to(torch.uint8)


def views(crops: MultiCrop) -> tuple[Tensor, ...]:
    """Every crop of many copies of the same picture, (COUNT, 3, S, S), in 0..1."""
    images = np.broadcast_to(ramps().numpy(), (COUNT, 3, SIDE, SIDE))
    split = Arrays(images=images, labels=np.zeros(COUNT, np.int64))
    setup = Setup(
        augment=Augment(), image_size=SIDE, mean=(0.0,) * 3, seed=5, device=torch.device("cpu")
    )
    source = MemoryImages(split, np.arange(COUNT), setup)
    module = DataModule(
        steps_per_epoch=1,
        classes=1,
        channels=3,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        train_images=COUNT,
        eval_images=COUNT,
        eval_classes=(0,),
        order=Sampler(images=COUNT, batch_size=COUNT, repeats=1, seed=5),
        setup=setup,
        train_source=source,
        val_source=source,
        train_eval_source=source,
    )
    found, _ = next(module.train_crops(crops))
    return found


@pytest.fixture(scope="module")
def plain() -> tuple[Tensor, ...]:
    return views(PLAIN)


def test_the_defaults_are_dinos() -> None:
    first, second, *local = crop_specs(MultiCrop(), 224)
    assert first == CropSpec(size=224, scale=(0.4, 1.0), blur=1.0, solarize=0.0)
    assert second == CropSpec(size=224, scale=(0.4, 1.0), blur=0.1, solarize=0.2)
    assert local == [CropSpec(size=96, scale=(0.05, 0.4), blur=0.5, solarize=0.0)] * 8


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"blur": (1.0, 0.1, 0.5), "blur_sigma": (1.0, 2.0)}, (1.0, 0.1, 0.5, 0.5)),
        ({"solarize": 0.2}, (0.0, 0.2, 0.0, 0.0)),
        ({"jitter": 0.8}, (0.8, 0.8, 0.8, 0.8)),
        ({"grey": 0.2}, (0.2, 0.2, 0.2, 0.2)),
        ({"flip": 0.5}, (0.5, 0.5, 0.5, 0.5)),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_crop_is_changed_as_often_as_its_recipe_says(
    changed: dict[str, object], expected: tuple[float, ...], plain: tuple[Tensor, ...]
) -> None:
    """A part that is switched off moves no other draw, so the rest of the two is the same."""
    found = views(replace(PLAIN, **changed))  # type: ignore[arg-type]
    for before, after, share in zip(plain, found, expected, strict=True):
        differs = (before - after).abs().amax(dim=(1, 2, 3)) > 1e-3
        error = (share * (1 - share) / COUNT) ** 0.5
        assert float(differs.float().mean()) == pytest.approx(share, abs=4 * error + 1e-9)


def test_crops_are_recoloured_apart(plain: tuple[Tensor, ...]) -> None:
    """Which images are blurred is drawn for every crop, and for every image."""
    found = views(replace(PLAIN, blur=(0.5, 0.5, 0.5), blur_sigma=(1.0, 2.0)))
    pairs = zip(plain, found, strict=True)
    blurred = [(a - b).abs().amax(dim=(1, 2, 3)) > 1e-3 for a, b in pairs]
    for one in range(4):
        for other in range(one):
            both = float((blurred[one] & blurred[other]).float().mean())
            assert both == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / COUNT) ** 0.5)


def areas(crops: Tensor) -> Tensor:
    """The share of the picture that each crop shows, from how steep its ramps are in the middle."""
    size, middle = crops.shape[-1], crops.shape[-1] // 2
    across = crops[:, 0, middle, middle + 1] - crops[:, 0, middle, middle - 1]
    down = crops[:, 1, middle + 1, middle] - crops[:, 1, middle - 1, middle]
    pixels = [255 * slope.abs() / 2 * size / STEP for slope in (across, down)]
    return pixels[0] * pixels[1] / SIDE**2


def check_areas(crops: tuple[Tensor, ...], *, slack: float) -> None:
    """Two crops of 40 to 100 % and two of 5 to 40 %; `slack` for sides of whole pixels."""
    assert [crop.shape[-1] for crop in crops] == [SIDE, SIDE, LOCAL, LOCAL]
    for crop, (low, high) in zip(crops, [(0.4, 1.0)] * 2 + [(0.05, 0.4)] * 2, strict=True):
        found = areas(crop)
        assert float(found.min()) == pytest.approx(low, abs=slack)
        assert float(found.max()) == pytest.approx(high, abs=slack)


def test_global_and_local_crops_show_their_share_of_the_image(plain: tuple[Tensor, ...]) -> None:
    check_areas(plain, slack=0.03)
    assert not torch.equal(plain[0], plain[1])
    assert not torch.equal(plain[2], plain[3])


def test_so_do_crops_of_images_from_files() -> None:
    torch.manual_seed(0)
    picture = Image.fromarray(ramps().permute(1, 2, 0).numpy().astype(np.uint8))
    cropping = MultiCropTransform(PLAIN, SIDE)
    rows = torch.stack([cropping(picture) for _ in range(600)]) / 255
    sizes = (SIDE, SIDE, LOCAL, LOCAL)
    parts = zip(rows.split([3 * size**2 for size in sizes], dim=1), sizes, strict=True)
    crops = tuple(part.view(-1, 3, size, size) for part, size in parts)
    check_areas(crops, slack=0.06)  # slopes between bytes


def test_a_padded_crop_is_the_image_shifted_within_its_reflection() -> None:
    """Against torchvision's padding, for every shift; and each shift is drawn as often."""
    crops = replace(PLAIN, local_crops=0, cut="pad", pad_pixels=2)
    first, second = (255 * view for view in views(crops))
    around = torch.nn.functional.pad(ramps().float()[None], (2, 2, 2, 2), mode="reflect")[0]
    every = {(y, x): around[:, y : y + SIDE, x : x + SIDE] for y in range(5) for x in range(5)}
    counts = dict.fromkeys(every, 0)
    for picture in first[:500]:
        same = [at for at, crop in every.items() if torch.allclose(picture, crop, atol=1e-3)]
        assert len(same) == 1
        counts[same[0]] += 1
    assert min(counts.values()) > 0
    assert max(counts.values()) < 50  # 20 each, standard deviation 4.4
    assert not torch.equal(first, second), "the two views are shifted apart"


def test_padded_crops_of_images_from_files_are_those() -> None:
    crops = replace(PLAIN, local_crops=0, cut="pad", pad_pixels=2)
    picture = Image.fromarray(ramps().permute(1, 2, 0).numpy())
    around = torch.nn.functional.pad(ramps().float()[None], (2, 2, 2, 2), mode="reflect")[0]
    for _ in range(20):
        row = MultiCropTransform(crops, SIDE)(picture).view(2, 3, SIDE, SIDE)
        assert any(
            torch.equal(row[0].float(), around[:, y : y + SIDE, x : x + SIDE])
            for y in range(5)
            for x in range(5)
        )


def test_one_of_grey_blur_and_solarise_changes_the_second_view_alone() -> None:
    crops = replace(
        PLAIN, local_crops=0, cut="pad", pad_pixels=0, recolored="second", effects="one"
    )
    first, second = (255 * view for view in views(crops))
    plain = ramps().float()
    assert torch.allclose(first, plain.expand_as(first), atol=1e-3)
    grey = (second[:, 0] - second[:, 1]).abs().amax(dim=(1, 2)) < 1e-2
    inverted = torch.where(plain >= 128, 255 - plain, plain)
    solarised = (second - inverted).abs().amax(dim=(1, 2, 3)) < 1e-2
    changed = (second - plain).abs().amax(dim=(1, 2, 3)) > 1e-2
    assert not bool((grey & solarised).any())
    for share in (grey, solarised, changed & ~grey & ~solarised):
        assert 0.29 < float(share.float().mean()) < 0.38  # a third, standard deviation 0.011
