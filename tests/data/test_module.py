"""Batches of whole modules: what is in them, and that nothing but seed and step decides it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from harness.data import fingerprint, open_dataset
from harness.data.config import DataConfig
from harness.data.dataset import Arrays, Files
from harness.data.module import DataModule
from harness.data.sampler import Sampler
from harness.data.sources import Setup
from harness.data.transforms import _posterize
from harness.data.worker_images import WorkerImages
from harness.errors import DataError
from harness.train.config import Augment
from tests.data.conftest import TRAIN, VAL, SmallFashion, arrays, opened
from tests.data.test_pack import packed

PLAIN = Augment(crop="none", flip=0)
FULL = Augment(erasing=0.5, mixup=0.8, cutmix=1.0, label_smoothing=0.1, repeats=3)
RAND = Augment(rand_augment="rand-m9-mstd0.5-inc1", erasing=0.25, mixup=0.8, repeats=3)
PAD = Augment(crop="pad", pad_pixels=2, color_jitter=0.3)


def first(
    module: DataModule, count: int, start: int = 0
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(islice(module.train(start), count))


def same(
    these: list[tuple[torch.Tensor, torch.Tensor]], those: list[tuple[torch.Tensor, torch.Tensor]]
) -> bool:
    pairs = zip(these, those, strict=True)
    return all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


def test_a_set_of_images_says_its_mean_of_pixels_from_0_to_1(
    small: SmallFashion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small, "mean", (72.9,))
    with pytest.raises(DataError, match=r"data set small-fashion: mean 72\.9 .* divide by 255"):
        opened(PLAIN)


def test_without_augmentation_batches_are_the_normalised_images(small: SmallFashion) -> None:
    module = opened(PLAIN)
    assert (module.steps_per_epoch, module.classes, module.channels) == (3, 10, 1)
    assert (module.train_images, module.eval_images) == (TRAIN, VAL)
    train, _ = arrays(small.load())
    by_content = {image.tobytes(): label for image, label in zip(*_raw(train), strict=True)}
    seen = set()
    for images, targets in first(module, 3):
        assert images.shape == (16, 1, 28, 28)
        assert images.dtype == targets.dtype == torch.float32
        pixels = (images * 0.3530 + 0.2860) * 255
        assert torch.allclose(pixels, pixels.round(), atol=1e-3)
        for image, target in zip(pixels.round().to(torch.uint8).numpy(), targets, strict=True):
            assert by_content[image.tobytes()] == int(target.argmax())
            assert sorted(target.tolist())[-2:] == [0, 1]
            seen.add(image.tobytes())
    assert len(seen) == 48  # each image once; the last incomplete batch of 12 is dropped


def _raw(split: Arrays) -> tuple[np.ndarray, np.ndarray]:
    return split.images, split.labels


@pytest.mark.parametrize("augment", [FULL, RAND, PAD, Augment(crop="pad", mixup=0.2)])
def test_any_step_can_be_resumed_from(small: SmallFashion, augment: Augment) -> None:
    whole = first(opened(augment), 7)
    for start in (1, 3, 5):
        assert same(first(opened(augment), 7 - start, start), whole[start:])


@pytest.mark.parametrize("augment", [FULL, RAND])
def test_seeds_and_steps_give_other_batches(small: SmallFashion, augment: Augment) -> None:
    one, other = first(opened(augment), 4), first(opened(augment, seed=1), 4)
    assert not any(torch.equal(a[0], b[0]) for a, b in zip(one, other, strict=True))
    assert not torch.equal(one[0][0], one[3][0])


def test_repeated_images_are_augmented_differently(small: SmallFashion) -> None:
    for augment in (Augment(repeats=2), Augment(repeats=2, color_jitter=0.4)):
        images, targets = first(opened(augment), 1)[0]
        assert torch.equal(targets[0], targets[1])
        assert not torch.equal(images[0], images[1])


class CountedFiles(Files):
    """Remembers which images were decoded."""

    decoded: ClassVar[list[int]] = []

    def image(self, index: int) -> Image.Image:
        self.decoded.append(index)
        return Files.image(self, index)


def test_repeated_images_are_decoded_once(folder: Path) -> None:
    files = open_dataset(DataConfig(name="folder", path=str(folder))).load().train
    assert isinstance(files, Files)
    split = CountedFiles(
        tree=files.tree, names=files.names, labels=files.labels, channels=files.channels
    )
    setup = Setup(
        augment=Augment(repeats=3),
        image_size=16,
        mean=(0.5,) * 3,
        seed=0,
        device=torch.device("cpu"),
    )
    source = WorkerImages(split, np.arange(24), setup)
    order = Sampler(images=24, batch_size=12, repeats=3, seed=0)
    images, labels = next(source.train(order, 0))
    assert len(split.decoded) == 4
    assert labels.view(4, 3).unique(dim=1).shape == (4, 1)
    assert not torch.equal(images[0], images[1])


@pytest.mark.parametrize("augment", [RAND, PAD])
def test_worker_processes_change_nothing(small: SmallFashion, augment: Augment) -> None:
    assert same(first(opened(augment), 4), first(opened(augment, workers=2), 4))


@pytest.mark.parametrize("augment", [FULL, RAND])
def test_the_global_generators_are_left_alone(small: SmallFashion, augment: Augment) -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = random.random(), np.random.rand(), float(torch.rand(()))
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    first(opened(augment), 2)
    assert (random.random(), np.random.rand(), float(torch.rand(()))) == expected


def test_one_augmentation_does_not_shift_the_draws_of_another(small: SmallFashion) -> None:
    crops = first(opened(Augment(flip=0)), 3)
    smoothed = first(opened(Augment(flip=0, label_smoothing=0.1, erasing=1e-9)), 3)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(crops, smoothed, strict=True))


@pytest.mark.parametrize("size", [28, 20, 40])
def test_evaluation_shows_every_sample_once(small: SmallFashion, size: int) -> None:
    _, val = arrays(small.load())
    found = list(opened(FULL, size=size).val(8))
    assert [len(labels) for _, labels in found] == [8, 8, 4]
    assert torch.cat([labels for _, labels in found]).tolist() == val.labels.tolist()
    assert {images.shape[1:] for images, _ in found} == {(1, size, size)}
    if size == 28:
        pixels = torch.cat([images for images, _ in found]) * 0.3530 + 0.2860
        expected = torch.from_numpy(val.images).float() / 255
        torch.testing.assert_close(pixels, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("size", "scaled"), [(28, 28), (20, 20), (40, 45)])
def test_enlarged_images_are_cropped_as_images_in_files_are(
    small: SmallFashion, size: int, scaled: int
) -> None:
    """0.875 of each side, against torchvision; images that are not enlarged are seen whole."""
    module = opened(PLAIN, size=size)
    for split, batches in zip(
        arrays(small.load()), (module.train_eval(8), module.val(8)), strict=True
    ):
        found = torch.cat([images for images, _ in batches]) * 0.3530 + 0.2860
        images = torch.from_numpy(split.images).float()
        whole = reference.resize(images, [scaled, scaled], v2.InterpolationMode.BICUBIC)
        expected = reference.center_crop(whole, [size, size]).clamp(0, 255)
        torch.testing.assert_close(255 * found, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("size", "images"), [(28, 500), (224, 500), (225, 495), (384, 170), (512, 95), (4096, 1)]
)
def test_an_evaluation_looks_at_as_many_pixels_at_once(
    small: SmallFashion, size: int, images: int
) -> None:
    """Of 500 images of 224 pixels, the most."""
    module = opened(Augment(), size=size)
    assert module.eval_batch == images
    assert images == 1 or images * size**2 <= 500 * 224**2 or size < 224


def test_the_holdout_is_judged_and_not_trained_on(folder: Path) -> None:
    data = DataConfig(name="folder", path=str(folder), evaluate_on="holdout")
    module = opened(PLAIN, data=data, size=16, batch=22)
    assert (module.train_images, module.eval_images) == (22, 2)
    trained = {image.numpy().tobytes() for image in first(module, 1)[0][0]}
    assert len(trained) == 22
    # as large as the network's input but for the resizing before the centre crop: use the same
    whole = opened(PLAIN, data, size=16, batch=22, crop=1.0)
    judged = [image.numpy().tobytes() for images, _ in whole.val(5) for image in images]
    assert len(set(judged)) == 2
    assert not trained & set(judged)


@pytest.mark.parametrize("workers", [0, 2])
def test_folders_of_images_of_any_size(folder: Path, workers: int) -> None:
    data = DataConfig(name="folder", path=str(folder))
    assert data.version == ""
    module = opened(RAND, data=data, size=32, batch=8, workers=workers)
    images, targets = first(module, 1)[0]
    assert images.shape == (8, 3, 32, 32)
    assert targets.shape == (8, 2)
    found = list(module.val(4))
    assert torch.cat([labels for _, labels in found]).tolist() == [0, 0, 0, 1, 1, 1]
    assert {batch.shape[1:] for batch, _ in found} == {(3, 32, 32)}


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_one_clear_error(folder: Path, workers: int) -> None:
    broken = folder / "val/cat/001.png"
    broken.write_bytes(broken.read_bytes()[:200])
    data = DataConfig(name="folder", path=str(folder))
    with pytest.raises(
        DataError, match=r"^\S*val/cat/001.png: cannot be read as an image"
    ) as error:
        list(opened(PLAIN, data=data, workers=workers).val(4))
    assert "Traceback" not in str(error.value)


def test_randaugment_may_leave_no_bits(small: SmallFashion) -> None:
    image = Image.effect_noise((8, 8), 50).convert("RGB")
    assert _posterize(image, 0).getextrema() == ((0, 0),) * 3
    for bits in (1, 4, 8):
        expected = ImageOps.posterize(image, bits)
        assert _posterize(image, bits).tobytes() == expected.tobytes()
    # magnitude 10 asks for it: half of the operations are applied to each of these images
    strongest = Augment(rand_augment="rand-m10-n4-inc1")
    assert len(first(opened(strongest), 20)) == 20


def test_another_version_than_planned_is_an_error(small: SmallFashion) -> None:
    planned = DataConfig(name="small-fashion", version=small.version)
    assert fingerprint(planned) == small.version
    opened(PLAIN, data=planned)
    with pytest.raises(
        DataError, match=r"planned with version old, .* version \w{12}; plan it again"
    ):
        opened(PLAIN, data=DataConfig(name="small-fashion", version="old"))


def test_a_batch_larger_than_the_set_is_an_error(small: SmallFashion) -> None:
    with pytest.raises(DataError, match="batch_size 64 is larger than the 60 images"):
        opened(PLAIN, batch=64)


def test_real_images_augmented_in_batches(fashion: tuple[Arrays, Arrays]) -> None:
    train, val = fashion
    assert train.images.shape == (60_000, 1, 28, 28)
    assert val.images.shape == (10_000, 1, 28, 28)
    assert np.bincount(train.labels).tolist() == [6000] * 10
    assert np.bincount(val.labels).tolist() == [1000] * 10
    assert train.images.mean() / 255 == pytest.approx(0.2860, abs=5e-5)
    assert train.images.std() / 255 == pytest.approx(0.3530, abs=5e-5)


@pytest.mark.parametrize("kind", ["folder", "zip", "pack"])
def test_images_that_change_while_they_are_read_are_noticed(
    folder: Path, zipped: Callable[..., Path], kind: str
) -> None:
    """By what is in them: other times alone are no change."""
    made_of: dict[str, Callable[[Path], Path]] = {"folder": Path, "zip": zipped, "pack": packed}
    path = made_of[kind](folder)
    data = DataConfig(name="folder", path=str(path))
    data = replace(data, version=fingerprint(data))
    module = opened(PLAIN, data, size=16, batch=4)
    batches = module.train()
    next(batches)
    os.utime(path)
    os.utime(folder / "train/cat/000.png")
    assert module.changed() is None
    Image.new("RGB", (20, 16)).save(folder / "train/cat/000.png")
    if kind != "folder":
        path.unlink()
        assert made_of[kind](folder) == path
    next(batches)
    assert module.changed() == (
        f"{path}: the images changed while the run read them (version {data.version} is now "
        f"{fingerprint(replace(data, version=''))}); nothing was kept, run again"
    )


def test_images_in_memory_are_what_they_were(small: SmallFashion, home: Path) -> None:
    module = opened(PLAIN, DataConfig(name="small-fashion", version=small.version))
    for file in (home / "small-fashion").iterdir():
        file.unlink()
    assert module.changed() is None
