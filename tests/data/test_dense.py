"""Boxes and masks follow their images, held against torchvision's own transforms of both."""

from __future__ import annotations

import colorsys
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from harness.data import DATASETS, open_dataset
from harness.data.config import DataConfig
from harness.data.dataset import Arrays, Splits
from harness.data.dense import DISTORTION, DenseTransform, stacked
from harness.data.sets.canvases import MOST, SIDE, Canvases, CanvasMasks
from harness.data.sets.fashion_mnist import FashionMnist
from harness.data.sources import Setup
from harness.data.telling import Telling
from harness.data.worker_images import seed_all
from harness.train.config import Augment
from tests.data.conftest import arrays, opened

PLAIN = Augment(crop="none", flip=0)
MIRRORED = Augment(crop="none", flip=1)


@pytest.fixture(scope="module")
def canvases(fashion_mnist: Splits) -> dict[str, tuple[Arrays, Arrays]]:
    """The first of both sets."""
    found = {}
    for name, kind in (("canvases", Canvases), ("canvases-masks", CanvasMasks)):
        few = kind()
        few.train_images, few.val_images = FEW
        few.garments = Drawn(fashion_mnist)
        found[name] = arrays(few.load())
    return found


FEW = 300, 100


class Drawn(FashionMnist):
    """What is there already."""

    def __init__(self, splits: Splits) -> None:
        self._splits = splits

    def load(self, tell: Telling | None = None) -> Splits:
        return self._splits


def targets_of(split: Arrays) -> np.ndarray:
    assert isinstance(split.targets, np.ndarray)
    return split.targets


def test_boxes_are_tight_and_apart(canvases: dict[str, tuple[Arrays, Arrays]]) -> None:
    for half, count in zip(canvases["canvases"], FEW, strict=True):
        assert half.images.shape == (count, 1, SIDE, SIDE)
        targets = targets_of(half)
        assert targets.shape == (count, MOST, 6)
        for canvas, boxes in zip(half.images[:, 0], targets, strict=True):
            left_over = canvas.copy()
            seen = boxes[boxes[:, 0] >= 0]
            assert 1 <= len(seen) <= MOST
            for label, left, top, right, bottom, crowd in seen.astype(int):
                assert (0 <= label < 10, crowd) == (True, 0)
                inside = left_over[top:bottom, left:right]
                edges = (inside[0], inside[-1], inside[:, 0], inside[:, -1])
                assert all(edge.any() for edge in edges)
                left_over[top:bottom, left:right] = 0
            assert not left_over.any()
            mine = boxes[:, None, 1:5], boxes[None, :, 1:5]
            low = np.maximum(mine[0][..., :2], mine[1][..., :2])
            high = np.minimum(mine[0][..., 2:], mine[1][..., 2:])
            shared = (high - low).clip(0).prod(axis=-1)
            assert np.count_nonzero(shared[: len(seen), : len(seen)]) == len(seen)


def test_a_canvas_shows_whole_garments_of_its_own_half(
    canvases: dict[str, tuple[Arrays, Arrays]], fashion_mnist: Splits
) -> None:
    _, judged = canvases["canvases"]
    _, garments = arrays(fashion_mnist)
    known: dict[bytes, set[int]] = {}
    for picture, label in zip(garments.images[:, 0], garments.labels, strict=True):
        rows, columns = picture.any(axis=1).nonzero()[0], picture.any(axis=0).nonzero()[0]
        cut = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        known.setdefault(cut.tobytes(), set()).add(int(label))
    for canvas, boxes in zip(judged.images[:, 0], targets_of(judged), strict=True):
        for label, left, top, right, bottom, _ in boxes[boxes[:, 0] >= 0].astype(int):
            assert label in known[canvas[top:bottom, left:right].tobytes()]


def test_masks_are_of_the_same_canvases(canvases: dict[str, tuple[Arrays, Arrays]]) -> None:
    for boxed, masked in zip(*canvases.values(), strict=True):
        assert np.array_equal(boxed.images, masked.images)
        masks = targets_of(masked)
        assert masks.dtype == np.uint8
        assert np.array_equal(masks > 0, boxed.images[:, 0] > 0)
        for mask, boxes in zip(masks, targets_of(boxed), strict=True):
            for label, left, top, right, bottom, _ in boxes[boxes[:, 0] >= 0].astype(int):
                inside = mask[top:bottom, left:right]
                assert set(np.unique(inside)) <= {0, label + 1}


def test_canvases_are_fixed_by_their_index(canvases: dict[str, tuple[Arrays, Arrays]]) -> None:
    """The numbers in results rest on these pixels: another draw needs another version."""
    train, val = canvases["canvases"]
    assert open_dataset(DataConfig(name="canvases")).version == "33daabbed0fa"
    assert targets_of(train)[:, :, 1:].sum() == pytest.approx(TRAIN_SUM)
    assert (int(train.images[0].sum()), int(val.images[0].sum())) == FIRST_SUMS
    assert not np.array_equal(train.images[: len(val.images)], val.images)
    dataset, pixels = DATASETS.get("canvases"), train.images / 255
    assert pixels.mean() == pytest.approx(dataset.mean[0], abs=0.01)
    assert pixels.std() == pytest.approx(dataset.std[0], abs=0.01)


TRAIN_SUM, FIRST_SUMS = 58_739.0, (128_329, 112_318)


def test_batches_have_their_targets(
    canvases: dict[str, tuple[Arrays, Arrays]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, (train, val) in canvases.items():
        dataset = DATASETS.get(name)
        monkeypatch.setattr(type(dataset), "load", lambda _, s=(train, val): _splits(*s))
        plain, mirrored = (opened(one, name, size=SIDE, batch=8) for one in (PLAIN, MIRRORED))
        whole, mirror = list(islice(plain.train(2), 3)), list(islice(mirrored.train(2), 3))
        again = list(islice(opened(PLAIN, name, size=SIDE, batch=8, workers=1).train(0), 5))[2:]
        for (images, targets), (turned, other), same in zip(whole, mirror, again, strict=True):
            assert torch.equal(images, same[0])
            assert torch.equal(targets, same[1])
            assert torch.equal(images.flip(3), turned)
            if name == "canvases":
                there = targets[:, :, 0] >= 0
                expected = targets.clone()
                expected[..., 1] = torch.where(there, 1 - targets[..., 1], targets[..., 1])
                assert torch.allclose(other, expected, atol=1e-6)
                assert ((targets[..., 0] == -1) == ~there).all()
            else:
                assert torch.equal(targets.flip(2), other)
        judged = list(mirrored.val(48))
        assert [len(images) for images, _ in judged] == [48, 48, 4]


def _splits(train: Arrays, val: Arrays) -> Splits:
    return Splits(train=train, val=val)


def an_image(width: int, height: int, channels: int = 3) -> Image.Image:
    draws = np.random.default_rng(width)
    pixels = draws.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels if channels == 3 else pixels[:, :, 0])


def setup(augment: Augment, size: int = 48) -> Setup:
    mean = (0.4, 0.5, 0.6)
    device = torch.device("cpu")
    return Setup(augment=augment, image_size=size, mean=mean, seed=0, device=device)


BOXES = np.array(
    [[2, 10, 5, 60, 40, 0], [0, 50, 20, 80, 50, 1], [-1, 0, 0, 0, 0, 0], [1, 0, 0, 6, 4, 0]],
    np.float32,
)


@pytest.mark.parametrize("size", [(80, 50), (50, 80), (48, 48), (30, 20)])
def test_a_whole_image_keeps_its_aspect(size: tuple[int, int]) -> None:
    image = an_image(*size)
    scale = 48 / max(size)
    wide, tall = round(size[0] * scale), round(size[1] * scale)
    bicubic = v2.InterpolationMode.BICUBIC
    expected = reference.resize(image, [tall, wide], interpolation=bicubic)
    fill = [102, 128, 153]
    expected = reference.pad(expected, [0, 0, 48 - wide, 48 - tall], fill=fill)
    transform = DenseTransform(setup(PLAIN), None)
    pixels, boxes = transform(image, BOXES * np.float32([1, 0.5, 0.5, 0.5, 0.5, 1]))
    assert torch.equal(pixels, reference.pil_to_tensor(expected))
    left, top, right, bottom = (BOXES[0, 1:5] / 2).tolist()
    across, down = wide / size[0] / 48, tall / size[1] / 48
    # what lies outside of the smallest image is cut off there
    right, bottom = min(right, size[0]), min(bottom, size[1])
    want = [(left + right) / 2 * across, (top + bottom) / 2 * down]
    want += [(right - left) * across, (bottom - top) * down]
    assert boxes[0].tolist() == pytest.approx([2, *want, 0], abs=1e-6)
    mask = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size[1], size[0]) % 7
    _, moved = DenseTransform(setup(PLAIN), PLAIN)(image, mask)
    nearest = Image.fromarray(mask).resize((wide, tall), Image.Resampling.NEAREST)
    assert np.array_equal(moved[:tall, :wide].numpy(), np.asarray(nearest))
    assert (moved[tall:] == 255).all()
    assert (moved[:, wide:] == 255).all()


def test_cut_and_mirrored_boxes_are_those_of_torchvision() -> None:
    augment = Augment(crop="resized", scale=(0.1, 0.6), flip=0.5)
    bicubic = v2.InterpolationMode.BICUBIC
    theirs = v2.RandomResizedCrop(48, augment.scale, augment.ratio, bicubic)
    image, rows = an_image(80, 50), BOXES[BOXES[:, 0] >= 0]
    mine = DenseTransform(setup(augment), augment)
    dropped = 0
    for seed in range(30):
        seed_all(seed)
        flip = torch.rand(1).item() < 0.5  # drawn first
        boxes = tv_tensors.BoundingBoxes(  # type: ignore[call-overload]
            torch.tensor(rows[:, 1:5]), format="XYXY", canvas_size=(50, 80)
        )
        cut, moved = theirs(image, boxes)
        if flip:
            cut, moved = reference.horizontal_flip(cut), reference.horizontal_flip(moved)
        seed_all(seed)
        pixels, found = mine(image, BOXES)
        assert torch.equal(pixels, reference.pil_to_tensor(cut))
        corners = moved.as_subclass(torch.Tensor).float()
        left = (corners[:, 2:] - corners[:, :2] >= 1).all(dim=1)
        dropped += int((~left).sum())
        centred = reference.convert_bounding_box_format(
            tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(48, 48)),  # type: ignore[call-overload]
            new_format="CXCYWH",
        )
        expected = torch.cat(
            [torch.tensor(rows[:, :1]), centred / 48, torch.tensor(rows[:, 5:])], 1
        )
        assert torch.allclose(found, expected[left], atol=1e-4)
    assert dropped > 10


def test_a_shifted_image_takes_its_boxes_along() -> None:
    augment = Augment(crop="pad", pad_pixels=6, flip=0)
    transform = DenseTransform(setup(augment), augment)
    white = Image.new("RGB", (48, 48))
    white.paste((255, 255, 255), (10, 12, 30, 40))
    box = np.float32([[3, 10, 12, 30, 40, 0]])
    places = set()
    for seed in range(20):
        seed_all(seed)
        pixels, boxes = transform(white, box)
        seen = (pixels[0] == 255).nonzero()
        (top, left), (bottom, right) = seen.amin(dim=0).tolist(), (seen.amax(dim=0) + 1).tolist()
        x, y, wide, tall = (boxes[0, 1:5] * 48).tolist()
        assert (x - wide / 2, x + wide / 2) == pytest.approx((left, right))
        assert (y - tall / 2, y + tall / 2) == pytest.approx((top, bottom))
        places.add((round(x), round(y)))
    assert len(places) > 10


def test_objects_too_thin_to_learn_from_are_still_to_be_found() -> None:
    """COCO counts every object: a picture made smaller must not leave any out."""
    image, thin = an_image(96, 96), np.float32([[1, 10, 20, 11, 60, 0], [2, 4, 4, 40, 40, 0]])
    _, judged = DenseTransform(setup(PLAIN), None)(image, thin)
    _, learned = DenseTransform(setup(PLAIN), PLAIN)(image, thin)
    assert judged[:, 0].tolist() == [1, 2]
    assert judged[0, 3] * 48 == pytest.approx(0.5)
    assert learned[:, 0].tolist() == [2]


def test_hues_turn_as_far_as_mmsegmentations() -> None:
    """18 steps of the 180 that a byte's hue has there: a tenth of a turn either way."""
    red = torch.tensor([200, 0, 0], dtype=torch.uint8)[:, None, None].expand(3, 4, 4)
    turned = v2.ColorJitter(hue=DISTORTION["hue"])
    found = []
    for seed in range(100):
        torch.manual_seed(seed)
        pixel = turned(red)[:, 0, 0].tolist()
        found.append(colorsys.rgb_to_hsv(*[value / 255 for value in pixel])[0])
    away = [min(hue, 1 - hue) for hue in found]
    assert 0.09 < max(away) <= 0.101


def test_boxes_of_a_batch_are_filled_up() -> None:
    none, two = torch.zeros(0, 6), torch.ones(2, 6)
    batch = stacked([none, two])
    assert batch[1].tolist() == two.tolist()
    assert batch[0, :, 0].tolist() == [-1, -1]
    assert stacked([none, none]).shape == (2, 1, 6)
