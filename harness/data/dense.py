"""Images with boxes or masks in batches: what is done to an image is done to its targets.

Boxes of an image, as a set holds them, are (M, 6) floats: class, left, top, right and bottom in
pixels, and 1 for a crowd (objects that are not told apart: nobody learns from them, and what is
found there is not counted) or else 0. In a batch they are (B, M, 6): class, then centre x, centre
y, width and height as shares of the picture that the network sees, then crowd. M is the largest
number in the batch, at least 1; rows that are no object have the class -1.

A mask is (H, W) bytes, the class of every pixel, 255 where nobody knows it; in a batch (B, S, S).

An image keeps its aspect: its longer side gets the network's size, and what is missing on the right
or below is filled with the mean colour, and with 255 in a mask. So is what `crop: pad` moves into
view. The mean is 0 after normalisation, with which DETR and YOLOS fill up a batch. Images with
masks are judged whole and as large as fits over a square of that size, which a network sees in
windows; their masks keep their own size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from harness.data import memory
from harness.data.dataset import Split
from harness.data.sampler import Sampler
from harness.data.sources import Setup
from harness.data.targets import UNKNOWN, check_fit, is_mask
from harness.data.transforms import RandomResizedCrop, to_bytes
from harness.data.worker_images import BatchKeys, Examples, Key, WorkerImages, picture, seed_all
from harness.seeding import stream

if TYPE_CHECKING:
    from harness.train.config import Augment

NO_OBJECT: Final = -1  # class of a row of boxes that only fills up
COLUMNS: Final = 6  # of boxes: class, four numbers, crowd
MOST_OF_ONE_CLASS: Final = 0.75
"""Of the known pixels of a `scaled` crop, which is drawn anew otherwise, as mmsegmentation does."""
TRIES: Final = 10  # of that
# of brightness, contrast, saturation and hue, as mmsegmentation's photometric distortion; its hues
# of bytes go up to 180, a turn
DISTORTION: Final[Mapping[str, Any]] = {
    "brightness": (1 - 32 / 255, 1 + 32 / 255),
    "contrast": (0.5, 1.5),
    "saturation": (0.5, 1.5),
    "hue": 18 / 180,
}
LEAST: Final = 1.0  # pixels of a side: of an object that is cut to less, nothing is left to learn


class DenseImages(WorkerImages):
    """Images of a split whose `targets` are boxes or masks."""

    def train(self, order: Sampler, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As of other images, with targets (B, M, 6) or (B, S, S) in place of labels."""
        keys = BatchKeys(order, step, self.setup.dist)
        return self.transformed(DenseTransform(self.setup, self.setup.augment), keys)

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Whole images, none of them cut, whatever `eval_crop` is."""
        return self.transformed(DenseTransform(self.setup, None), self._in_order(batch_size))

    def _examples(self, transform: Any, finish: object) -> Examples:
        assert finish is None
        return _DenseExamples(
            self.split, self.chosen, transform, seed=self.setup.seed, classes=self.setup.classes
        )


class _DenseExamples(Examples):
    """Transformed images and their boxes or masks."""

    def __init__(
        self,
        split: Split,
        chosen: NDArray[np.int64],
        transform: DenseTransform,
        *,
        seed: int,
        classes: int,
    ) -> None:
        super().__init__(split, chosen)
        self._transform, self._seed, self._classes = transform, seed, classes

    def batch(self, keys: list[Key]) -> Sequence[Tensor]:
        pairs = [self._transformed(key) for key in keys]
        return memory.stack([pixels for pixels, _ in pairs]), stacked([one for _, one in pairs])

    def _transformed(self, key: Key) -> tuple[Tensor, Tensor]:
        epoch, position, index = key
        number = int(self._chosen[index])
        image = picture(self._split, number)
        assert self._split.targets is not None
        target = self._split.targets[number]
        check_fit(self._split, number, image, target, classes=self._classes)
        seed_all(stream(self._seed, "image", epoch, position))
        return self._transform(image, target)


def stacked(targets: Sequence[Tensor]) -> Tensor:
    """The targets of a batch in one tensor: boxes (M, 6) of different numbers, or masks (S, S)."""
    if targets[0].dtype == torch.uint8:
        return torch.stack(list(targets))
    out = torch.zeros(len(targets), max(1, *(len(one) for one in targets)), COLUMNS)
    out[:, :, 0] = NO_OBJECT
    for row, one in zip(out, targets, strict=True):
        row[: len(one)] = one
    return out


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """A part of an image, and where and how large it stands in a square picture."""

    part: tuple[int, int, int, int]  # left, top, right, bottom, pixels of the image
    size: tuple[int, int]  # width and height there
    at: tuple[int, int]  # x and y of its corner there
    flip: bool  # the whole picture is mirrored afterwards


class DenseTransform:
    """Of one image and its boxes or mask: cut, mirrored, and of the network's size."""

    def __init__(self, setup: Setup, augment: Augment | None) -> None:
        self._augment, self._side = augment, setup.image_size
        colour = tuple(round(255 * value) for value in setup.mean)
        self._fill: Any = colour[0] if len(colour) == 1 else colour
        self._resample = Image.Resampling.BICUBIC
        self._recolour: Any = None
        self._crop: RandomResizedCrop | None = None
        if augment is None:
            return
        self._resample = Image.Resampling[augment.interpolation.upper()]
        if augment.color_jitter > 0 and len(colour) == 3:
            self._recolour = v2.ColorJitter(*[augment.color_jitter] * 3)
        elif augment.photometric > 0 and len(colour) == 3:
            parts = [v2.ColorJitter(**{name: range_}) for name, range_ in DISTORTION.items()]
            self._recolour = v2.Compose(
                [v2.RandomApply([one], augment.photometric) for one in parts]
            )
        if augment.crop == "resized":
            self._crop = RandomResizedCrop(self._side, augment.scale, augment.ratio, self._resample)

    def __call__(self, image: Image.Image, target: NDArray[Any]) -> tuple[Tensor, Tensor]:
        """Bytes (C, S, S), and boxes (M, 6) or a mask (S, S) as in a batch."""
        if self._augment is None and is_mask(target):
            return self._whole(image), torch.from_numpy(target)
        cut = self._draw(*image.size, target)
        moved = self._placed(image, cut, self._resample, self._fill)
        if self._recolour is not None:
            moved = self._recolour(moved)
        if is_mask(target):
            mask = Image.fromarray(target)
            nearest = Image.Resampling.NEAREST
            return to_bytes(moved), to_bytes(self._placed(mask, cut, nearest, UNKNOWN))[0]
        least = 0.0 if self._augment is None else LEAST  # whoever judges leaves no object out
        return to_bytes(moved), moved_boxes(target, cut, self._side, least)

    def _whole(self, image: Image.Image) -> Tensor:
        """Bytes (C, H, W), the shorter side of the network's size."""
        scale = self._side / min(image.size)
        size = round(image.width * scale), round(image.height * scale)
        return to_bytes(
            image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)
        )

    def _draw(self, width: int, height: int, target: NDArray[Any]) -> Cut:
        """From torch's global generator."""
        augment, side = self._augment, self._side
        flip = augment is not None and torch.rand(1).item() < augment.flip
        if self._crop is not None:
            part = self._crop.box(width, height)
            return Cut(part=part, size=(side, side), at=(0, 0), flip=flip)
        if augment is not None and augment.crop == "scaled":
            scale = side / min(width, height) * torch.empty(1).uniform_(*augment.scaled).item()
            size = max(1, round(width * scale)), max(1, round(height * scale))
            at = _place(size, side, target if is_mask(target) else None)
            return Cut(part=(0, 0, width, height), size=size, at=at, flip=flip)
        scale = side / max(width, height)
        size = min(side, max(1, round(width * scale))), min(side, max(1, round(height * scale)))
        at = 0, 0
        if augment is not None and augment.crop == "pad":
            shifts = torch.randint(2 * augment.pad_pixels + 1, (2,)) - augment.pad_pixels
            at = int(shifts[0]), int(shifts[1])
        return Cut(part=(0, 0, width, height), size=size, at=at, flip=flip)

    def _placed(self, image: Image.Image, cut: Cut, resample: int, fill: Any) -> Image.Image:
        if cut.part != (0, 0, *image.size):
            image = image.crop(cut.part)
        if image.size != cut.size:
            image = image.resize(cut.size, resample)
        if cut.size != (self._side, self._side) or cut.at != (0, 0):
            canvas = Image.new(image.mode, (self._side, self._side), fill)
            canvas.paste(image, cut.at)
            image = canvas
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if cut.flip else image


def _place(size: tuple[int, int], side: int, mask: NDArray[np.uint8] | None) -> tuple[int, int]:
    """Where the corner of a picture of this size stands: a square is full of it where it can be. It
    is drawn again while the square shows little but one class.
    """
    labels = None
    if mask is not None:
        labels = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    x = y = 0
    for _ in range(TRIES):
        x, y = (int(torch.randint(max(0, length - side) + 1, (1,)).item()) for length in size)
        if labels is None:
            break
        counts = np.bincount(labels[y : y + side, x : x + side].ravel(), minlength=UNKNOWN + 1)
        if counts[:UNKNOWN].max() < MOST_OF_ONE_CLASS * counts[:UNKNOWN].sum():
            break
    return -x, -y


def moved_boxes(boxes: NDArray[Any], cut: Cut, side: int, least: float) -> Tensor:
    """Boxes (M, 6) of an image, as in a batch: those with sides of at least so many pixels in the
    picture.
    """
    rows = boxes[boxes[:, 0] >= 0].astype(np.float64)
    left, top, right, bottom = cut.part
    scale = cut.size[0] / (right - left), cut.size[1] / (bottom - top)
    corners = (rows[:, 1:5].reshape(-1, 2, 2) - (left, top)) * scale + cut.at
    # nothing is seen beyond the part, nor beyond the picture
    low = np.maximum(cut.at, 0)
    high = np.minimum(np.add(cut.at, cut.size), side)
    corners = corners.clip(low, high)
    if cut.flip:
        corners[:, :, 0] = side - corners[:, ::-1, 0]
    sides = corners[:, 1] - corners[:, 0]
    seen = (sides >= least).all(axis=1)
    parts = [rows[:, :1], corners.mean(axis=1) / side, sides / side, rows[:, 5:]]
    return torch.from_numpy(np.concatenate(parts, axis=1)[seen]).float()
