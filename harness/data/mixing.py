"""Random erasing, mixup and cutmix of a batch, with the meaning they have in timm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from harness.batch_slice import FULL_BATCH, BatchSlice
from harness.data.chunks import chunk_size
from harness.transfer import to_device

if TYPE_CHECKING:
    from harness.train.config import Augment

ERASED_AREA = (0.02, 1 / 3)  # of the image
ERASED_ASPECT = (0.3, 1 / 0.3)
ATTEMPTS = 10


def erase(
    images: Tensor,
    *,
    probability: float,
    generator: torch.Generator,
    batch_slice: BatchSlice = FULL_BATCH,
) -> Tensor:
    """Random erasing (arXiv:1708.04896) of normalised images (B, C, H, W), in place.

    Each image gets one box of normal noise with `probability`. The draws are those of the whole
    batch, of which the images may be a slice.
    """
    channels, height, width = images.shape[1:]
    batch = batch_slice.total(len(images))
    position = {index: at for at, index in enumerate(batch_slice.indices or range(batch))}
    chosen = torch.rand(batch, generator=generator) < probability
    draws = torch.rand(4, ATTEMPTS, batch, generator=generator, dtype=torch.float64)
    area = height * width * (ERASED_AREA[0] + (ERASED_AREA[1] - ERASED_AREA[0]) * draws[0])
    low, high = (math.log(bound) for bound in ERASED_ASPECT)
    aspect = torch.exp(low + (high - low) * draws[1])
    tall = torch.sqrt(area * aspect).round().long()
    wide = torch.sqrt(area / aspect).round().long()
    fits = (tall < height) & (wide < width)
    first = fits.to(torch.uint8).argmax(dim=0, keepdim=True)
    chosen &= fits.any(dim=0)
    tall, wide = tall.gather(0, first)[0], wide.gather(0, first)[0]
    top = (draws[2].gather(0, first)[0] * (height - tall + 1)).long()
    left = (draws[3].gather(0, first)[0] * (width - wide + 1)).long()
    boxes: list[Box] = []
    own, total = [], 0
    for index in chosen.nonzero().flatten().tolist():
        shape = (channels, int(tall[index]), int(wide[index]))
        noise = torch.randn(shape, generator=generator)
        if index in position:
            boxes.append(Box(position[index], int(top[index]), int(left[index]), *shape[1:]))
            own.append(noise)
            total += noise.numel()
    if images.device.type == "cpu":
        for box, noise in zip(boxes, own, strict=True):
            rows, columns = slice(box.top, box.top + box.tall), slice(box.left, box.left + box.wide)
            images[box.image, :, rows, columns] = noise
    elif boxes:
        joined = torch.empty(total, pin_memory=images.device.type == "cuda")
        torch.cat([noise.flatten() for noise in own], out=joined)
        fill_boxes_(images, boxes, to_device(joined, images.device))
    return images


class Box(NamedTuple):
    """A part of an image of a batch, in pixels."""

    image: int
    top: int
    left: int
    tall: int
    wide: int


def fill_boxes_(images: Tensor, boxes: Sequence[Box], values: Tensor) -> None:
    """Put `values`, box after box and each (C, tall, wide), into `images` (B, C, H, W), in place.

    All at once: as many launches for a thousand boxes as for one.
    """
    channels, height, width = images.shape[1:]
    table = torch.tensor(boxes).T
    sizes = channels * table[3] * table[4]
    host = torch.cat([table, sizes[None], (sizes.cumsum(0) - sizes)[None]])
    moved = to_device(host, images.device)
    # for each value its box's column; how many there are is known, or the host would ask the device
    image, top, left, tall, wide, _, start = moved.repeat_interleave(
        moved[5], dim=1, output_size=len(values)
    )
    place = torch.arange(len(values), device=images.device) - start
    column, row, channel = place % wide, place // wide % tall, place // (tall * wide)
    pixel = ((image * channels + channel) * height + top + row) * width + left + column
    images.view(-1).index_copy_(0, pixel, values)


def soft_targets(labels: Tensor, *, classes: int, smoothing: float) -> Tensor:
    """Labels (B,) as rows (B, classes) that sum to 1."""
    off = smoothing / classes
    targets = torch.full((len(labels), classes), off, device=labels.device)
    return targets.scatter_(1, labels[:, None], 1 - smoothing + off)


def mix(
    images: Tensor, targets: Tensor, augment: Augment, *, draws: Random
) -> tuple[Tensor, Tensor]:
    """Mixup (arXiv:1710.09412) or cutmix (arXiv:1905.04899) of the batch with itself reversed, in
    place.

    One weight serves the whole batch; with both on, `mix_switch` is the probability of cutmix.
    """
    use_cutmix, weight = _draw_lambda(augment, draws)
    if weight == 1:
        return images, targets
    if use_cutmix:
        weight = _cutmix(images, weight, draws)
    else:
        _mixup(images, weight)
    return images, targets * weight + targets.flip(0) * (1 - weight)


def _draw_lambda(augment: Augment, draws: Random) -> tuple[bool, float]:
    """Whether to use cutmix, and the weight that each image keeps of itself (1: no mixing)."""
    mixed, switched = draws.random(), draws.random()
    if max(augment.mixup, augment.cutmix) == 0 or mixed >= augment.mix_probability:
        return False, 1.0
    both = augment.mixup > 0 and augment.cutmix > 0
    use_cutmix = switched < augment.mix_switch if both else augment.cutmix > 0
    alpha = augment.cutmix if use_cutmix else augment.mixup
    return use_cutmix, draws.betavariate(alpha, alpha)


def _mixup(images: Tensor, weight: float) -> None:
    """Each image and its partner, which stands opposite it, become mixtures of the two.

    Some pairs at a time: no second batch of floats is needed.
    """
    count, half = len(images), (len(images) + 1) // 2
    step = chunk_size(images)
    for start in range(0, half, step):
        stop = min(start + step, half)
        ones, others = images[start:stop], images[count - stop : count - start]
        partners = others.flip(0)
        given, taken = ones * (1 - weight), partners * (1 - weight)
        ones.mul_(weight).add_(taken)
        others.copy_(partners.mul_(weight).add_(given).flip(0))


def _cutmix(images: Tensor, weight: float, draws: Random) -> float:
    """A box of about `1 - weight` of the area from the reversed batch; the weight really left."""
    height, width = images.shape[2:]
    side = math.sqrt(1 - weight)
    y = _stretch(height, int(height * side), draws.randrange(height))
    x = _stretch(width, int(width * side), draws.randrange(width))
    images[:, :, y, x] = images[:, :, y, x].flip(0)
    box: int = (y.stop - y.start) * (x.stop - x.start)
    return 1 - box / (height * width)


def _stretch(extent: int, length: int, centre: int) -> slice:
    """`length` pixels around `centre`, cut off at the image's border."""
    return slice(max(centre - length // 2, 0), min(centre + length // 2, extent))
