"""How well a network tells the class of every pixel: mean intersection over union."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from harness.data.targets import UNKNOWN
from harness.distributed import DistContext
from harness.errors import DataError
from harness.evaluate.features import eval_mode
from harness.evaluate.png import PICTURES, png
from harness.models.segmenter import mean_cross_entropy, on_pixels
from harness.models.vit import Normalisation, VisionTransformer

if TYPE_CHECKING:
    from harness.data.module import DataModule

MOST_SCORES = 2**24
"""Of a batch, a score for every class and pixel: 64 MB of floats."""
LONGEST = 320  # pixels of their longer side
Show = Callable[[Tensor, Tensor, Tensor], None]


@dataclass(slots=True)
class Confusion:
    """How many pixels of each class (rows) were taken for each class (columns)."""

    classes: int
    counts: Tensor = field(init=False)  # (classes, classes), int64, on the CPU
    loss: float = 0.0  # nats, a sum over images
    images: int = 0

    def __post_init__(self) -> None:
        self.counts = torch.zeros(self.classes, self.classes, dtype=torch.int64)

    def add(self, predicted: Tensor, truth: Tensor) -> None:
        """Pixels of any shape; where the truth is `UNKNOWN` nothing is counted."""
        known = truth != UNKNOWN
        pairs = truth[known].long() * self.classes + predicted[known].long()
        counted = torch.bincount(pairs, minlength=self.classes**2)
        self.counts += counted.view(self.classes, self.classes).cpu()

    def sum_over_processes(self) -> None:
        """Each process of a run has looked at its part of the images."""
        sums = torch.tensor([self.loss, self.images], dtype=torch.float64)
        DistContext.current().all_reduce_sum_([self.counts, sums])
        self.loss, self.images = float(sums[0]), int(sums[1])

    @property
    def iou(self) -> Tensor:
        """Of each class, (classes,): what is rightly taken for it, over what is of it or is taken
        for it; NaN where there is no such pixel.
        """
        counts = self.counts.double()
        right = counts.diagonal()
        return right / (counts.sum(dim=0) + counts.sum(dim=1) - right)

    def metrics(self) -> dict[str, float]:
        """`miou`, over the classes that appear; `pixel_accuracy`; `one_class_miou`, what the guess
        gets that every pixel is of the most common class; all in percent.
        """
        counts = self.counts.double()
        of_class, total = counts.sum(dim=1), counts.sum()
        most = of_class.max() / total / (of_class > 0).sum()
        return {
            "miou": 100 * float(self.iou.nanmean()),
            "pixel_accuracy": 100 * float(counts.trace() / total),
            "one_class_miou": 100 * float(most),
        }


def windows(height: int, width: int, size: int) -> Iterator[tuple[int, int]]:
    """Upper left corners of squares that cover an image, side by side; the last are at its edge."""
    for top in _starts(height, size):
        for left in _starts(width, size):
            yield top, left


def _starts(length: int, size: int) -> list[int]:
    assert length >= size
    return [*range(0, length - size, size), length - size]


def pixel_scores(model: VisionTransformer, images: Tensor, size: tuple[int, int]) -> Tensor:
    """Scores (B, classes, *size) for images (B, C, H, W) that may be larger than the network's own.

    Windows of its size are looked at one by one (arXiv 2105.05633, section 4.1); where they
    overlap, scores are averaged.
    """
    side, height, width = model.image_size, *images.shape[2:]
    sums: Tensor | None = None
    looks = images.new_zeros(height, width)
    for top, left in windows(height, width, side):
        rows, columns = slice(top, top + side), slice(left, left + side)
        scores = on_pixels(model(images[:, :, rows, columns]).logits, model.grid, (side, side))
        if sums is None:
            sums = scores.new_zeros(*scores.shape[:2], height, width)
        sums[:, :, rows, columns] += scores
        looks[rows, columns] += 1
    assert sums is not None
    mean = sums / looks
    if mean.shape[2:] != size:
        mean = functional.interpolate(mean, size, mode="bilinear", align_corners=False)
    return mean


def batch_size(model: VisionTransformer, data: DataModule) -> int:
    """How many images of `data` are looked at together; where they have many sizes, one."""
    if data.setup.native is None:
        return 1
    return max(1, MOST_SCORES // (data.classes * model.image_size**2))


@torch.no_grad()
def segment(
    model: VisionTransformer, batches: Iterable[tuple[Tensor, Tensor]], show: Show | None = None
) -> dict[str, float]:
    """`Confusion.metrics` and `loss` in nats over (images (B, C, H, W), masks (B, h, w)), each
    image once. `show` gets both and what is told of each pixel, (B, h, w). The model is in eval
    mode meanwhile.
    """
    confusion = Confusion(model.vit.decoder.classes)
    with eval_mode(model):
        for images, masks in batches:
            scores = pixel_scores(model, images, (masks.shape[1], masks.shape[2]))
            told = scores.argmax(dim=1)
            confusion.add(told, masks)
            confusion.loss += float(mean_cross_entropy(scores, masks).sum())
            confusion.images += len(images)
            if show is not None:
                show(images, masks, told)
    confusion.sum_over_processes()
    if not confusion.counts.any():
        raise DataError("the masks that judge hold no pixel of a known class")
    return {**confusion.metrics(), "loss": confusion.loss / confusion.images}


class Pictures:
    """The first images, their true masks and what is told of them, as JSON values: each a PNG in
    base64, masks in grey, a value a class. Large ones are made smaller.
    """

    def __init__(self, norm: Normalisation) -> None:
        self._norm = norm
        self.kept: list[dict[str, str]] = []

    def __call__(self, images: Tensor, masks: Tensor, told: Tensor) -> None:
        """What `segment` shows."""
        left = PICTURES - len(self.kept)
        for image, mask, guess in zip(images[:left], masks[:left], told[:left], strict=True):
            mean, std = (
                image.new_tensor(part)[:, None, None] for part in (self._norm.mean, self._norm.std)
            )
            pixels = 255 * (image.float() * std + mean)
            self.kept.append(
                {
                    "image": png(_smaller(pixels, "area")),
                    "truth": png(_smaller(mask[None].float(), "nearest")),
                    "guess": png(_smaller(guess[None].float(), "nearest")),
                }
            )


def _smaller(picture: Tensor, mode: str) -> Tensor:
    """(C, H, W) with the longer side at most `LONGEST`."""
    scale = LONGEST / max(picture.shape[1:])
    if scale >= 1:
        return picture
    size = [max(1, round(side * scale)) for side in picture.shape[1:]]
    return functional.interpolate(picture[None], size, mode=mode)[0]
