"""Batches against the plain way to make them: torchvision's and timm's transforms of single images
from the same seeds, and colours of whole batches in 64 bits.
"""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment
from torch import Tensor
from torchvision.transforms import v2

from harness.data.colour import blurred, color_jitter
from harness.data.config import DataConfig
from harness.data.mixing import _draw_lambda, erase, mix, soft_targets
from harness.data.multicrop import MultiCrop
from harness.data.sampler import Sampler
from harness.data.transforms import RandomFlip, RandomResizedCrop, _posterize, to_bytes
from harness.data.worker_images import seed_all
from harness.seeding import generator, stream
from harness.train.config import Augment
from tests.data.conftest import opened

BICUBIC = v2.InterpolationMode.BICUBIC
EVERY = MultiCrop(
    local_crops=1, local_size=40, grey=0.4, blur=(1.0, 0.5, 0.5), solarize=0.5, jitter=0.8
)
LUMA = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A smooth random one."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("sides", [(64, 64), (50, 90), (200, 9), (9, 200)])
def test_crops_and_flips_are_torchvisions(sides: tuple[int, int], mode: str) -> None:
    """The same draws from the same seeds, and the same pixels; slivers take the centre."""
    image = picture(*sides, mode)
    ours = RandomResizedCrop(24, (0.3, 1.0), (0.75, 4 / 3), Image.Resampling.BICUBIC)
    flip = RandomFlip(0.5)
    theirs = v2.Compose(
        [
            v2.RandomResizedCrop(24, (0.3, 1.0), (0.75, 4 / 3), BICUBIC),
            v2.RandomHorizontalFlip(0.5),
            v2.PILToTensor(),
        ]
    )
    with torch.random.fork_rng(devices=[]):
        for seed in range(40):
            torch.manual_seed(seed)
            found, after = to_bytes(flip(ours(image))), torch.rand(1)
            torch.manual_seed(seed)
            assert torch.equal(found, theirs(image))
            assert torch.equal(after, torch.rand(1))


def jpegs(root: Path, count: int) -> DataConfig:
    """A folder of JPEGs of several sizes."""
    for half in ("train", "val"):
        (root / half / "a").mkdir(parents=True)
        for number in range(count):
            side = 150 + 7 * number
            picture(side, 180).save(root / half / "a" / f"{number}.jpg", quality=90)
    return DataConfig(name="folder", path=str(root))


@pytest.mark.parametrize("mixing", [{"mixup": 0.8, "cutmix": 1.0}, {"mixup": 0.8}, {"cutmix": 1.0}])
def test_the_recipe_of_deit_equals_timms_parts(tmp_path: Path, mixing: dict[str, float]) -> None:
    """RandAugment, erasing, mixup or cutmix, and repeats: equal to the last bit."""
    data = jpegs(tmp_path / "set", 8)
    spec, count, batch = "rand-m9-mstd0.5-inc1", 8, 5
    augment = Augment(rand_augment=spec, erasing=0.6, repeats=3, label_smoothing=0.1, **mixing)
    module = opened(augment, data, size=48, batch=batch, crop=1.0, seed=4)
    colour = tuple(round(255 * value) for value in module.mean)
    options = {"translate_const": int(48 * 0.45), "img_mean": colour, "interpolation": 3}
    policy = auto_augment.rand_augment_transform(spec, options)
    for operation in policy.ops:
        if operation.aug_fn is auto_augment.posterize:
            operation.aug_fn = _posterize
    theirs = [v2.RandomResizedCrop(48, (0.08, 1.0), (0.75, 4 / 3), BICUBIC)]
    theirs += [v2.RandomHorizontalFlip(0.5), policy, v2.PILToTensor()]
    order = Sampler(images=count, batch_size=batch, repeats=3, seed=4)
    names = sorted((tmp_path / "set/train/a").iterdir())
    state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    found = list(islice(module.train(), 3))
    for (step, indices), (images, targets) in zip(order.batches(0), found, strict=False):
        rows = []
        for place, index in enumerate(indices.tolist()):
            seed_all(stream(4, "image", step, place))  # a batch an epoch
            image: object = Image.open(names[index]).convert("RGB")
            for part in theirs:
                image = part(image)
            rows.append(image)
        mean, std = (torch.tensor(v)[:, None, None] for v in (module.mean, module.std))
        pixels = torch.stack(rows).float()  # type: ignore[arg-type]
        scale = torch.tensor([1 / (255 * value) for value in module.std])[:, None, None]
        expected = torch.addcmul(
            torch.tensor([-m / s for m, s in zip(module.mean, module.std, strict=True)])[
                :, None, None
            ],
            pixels,
            scale,
        )
        torch.testing.assert_close(expected, (pixels / 255 - mean) / std, atol=1e-5, rtol=0)
        erase(expected, probability=0.6, generator=generator(4, "augment", step, "erasing"))
        labels = soft_targets(torch.zeros(batch, dtype=torch.long), classes=1, smoothing=0.1)
        draws = Random(stream(4, "augment", step, "mix"))
        cut, weight = _draw_lambda(augment, draws)
        if cut:  # a test of its own holds its box
            expected, labels = mix(
                expected, labels, augment, draws=Random(stream(4, "augment", step, "mix"))
            )
        else:
            expected = expected * weight + expected.flip(0) * (1 - weight)
            labels = labels * weight + labels.flip(0) * (1 - weight)
        assert torch.equal(images, expected)
        assert torch.equal(targets, labels)
    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(state[2])


def reference_colours(
    images: Tensor, crops: MultiCrop, blur: float, solarize: float, draws: torch.Generator
) -> Tensor:
    """Image by image, in 64 bits, by the formulas in full."""
    chance, order = torch.rand(9, len(images), generator=draws), torch.randperm(4, generator=draws)
    done = []
    for at, image in enumerate(images.double()):
        one = image[None]
        if chance[0, at] < crops.jitter:
            for operation in order.tolist():
                power = 2 * float(chance[5 + operation, at]) - 1
                luma = (one * LUMA[:, None, None]).sum(1, keepdim=True)
                if operation == 0:
                    one = one * (1 + crops.brightness * power)
                elif operation == 1:
                    weight = 1 + crops.contrast * power
                    one = one * weight + luma.mean() * (1 - weight)
                elif operation == 2:
                    weight = 1 + crops.saturation * power
                    one = one * weight + luma * (1 - weight)
                else:
                    one = 255 * v2.functional.adjust_hue(one / 255, crops.hue * power)
                one = one.clamp(0, 255)
        if chance[1, at] < crops.grey:
            one = (one * LUMA[:, None, None]).sum(1, keepdim=True).expand(-1, 3, -1, -1)
        if chance[2, at] < blur:
            low, high = crops.blur_sigma
            sigma = low + (high - low) * float(chance[3, at])
            one = blurred(one, torch.tensor([sigma], dtype=torch.float64))  # whole matrices
        if chance[4, at] < solarize:
            one = torch.where(one >= 128, 255 - one, one)
        done.append(one)
    return torch.cat(done)


@pytest.mark.parametrize("size", [40, 150])
@pytest.mark.parametrize("solarize", [0.0, 0.5])
def test_colours_equal_those_in_64_bits(size: int, solarize: float) -> None:
    """In pieces, and above 128 pixels blurred by bands: within 0.001 of 255."""
    draws = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (14, 3, size, size), generator=draws, dtype=torch.uint8)
    before = images.clone()
    for seed in range(2):
        found, expected = (
            function(images, EVERY, 0.6, solarize, torch.Generator().manual_seed(seed))
            for function in (ours, reference_colours)
        )
        # what stands within rounding of 128 may be solarised or not
        near = (expected - 128).abs().min(dim=1, keepdim=True).values < 0.01
        difference = (found.double() - expected).abs() * ~near
        assert float(difference.max()) < 1e-3
        assert torch.equal(images, before)


def ours(
    images: Tensor, crops: MultiCrop, blur: float, solarize: float, draws: torch.Generator
) -> Tensor:
    return color_jitter(images, crops, blur=blur, solarize=solarize, generator=draws)


def test_loader_processes_colour_as_the_run_would(tmp_path: Path) -> None:
    """To the last bit, with every operation on, from any step."""
    data = jpegs(tmp_path / "set", 8)
    alone = opened(Augment(), data, size=136, batch=4)
    helped = opened(Augment(), data, size=136, batch=4, workers=2)
    expected = list(islice(alone.train_crops(EVERY), 4))
    found = list(islice(helped.train_crops(EVERY, 1), 3))
    for (crops, labels), (others, others_labels) in zip(expected[1:], found, strict=True):
        assert [tuple(crop.shape) for crop in crops] == [(4, 3, 136, 136)] * 2 + [(4, 3, 40, 40)]
        assert all(torch.equal(a, b) for a, b in zip(crops, others, strict=True))
        assert torch.equal(labels, others_labels)
