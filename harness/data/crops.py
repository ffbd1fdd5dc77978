"""Random crops of a whole batch at once, drawn on the CPU and applied where the images are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from harness.transfer import to_device

Interpolation = Literal["bilinear", "bicubic"]
ATTEMPTS = 10  # as torchvision and timm: after that many misfits, the centre


@dataclass(frozen=True, slots=True)
class Boxes:
    """One box per image, in pixels; each of shape (B,), int64."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor

    def select(self, positions: list[int]) -> Boxes:
        """Those of some images, by their positions in the batch."""
        return Boxes(
            top=self.top[positions],
            left=self.left[positions],
            height=self.height[positions],
            width=self.width[positions],
        )


def draw_boxes(
    count: int,
    *,
    size: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: torch.Generator,
) -> Boxes:
    """Boxes in images of `size` pixels, as RandomResizedCrop draws them (arXiv:1409.4842)."""
    draws = torch.rand(4, ATTEMPTS, count, generator=generator, dtype=torch.float64)
    area = size * size * (scale[0] + (scale[1] - scale[0]) * draws[0])
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(log_low + (log_high - log_low) * draws[1])
    width = torch.sqrt(area * aspect).round().long()
    height = torch.sqrt(area / aspect).round().long()
    fits = (width >= 1) & (width <= size) & (height >= 1) & (height <= size)
    first = fits.to(torch.uint8).argmax(dim=0, keepdim=True)
    some = fits.any(dim=0)
    whole = _central(size, ratio)
    height = torch.where(some, height.gather(0, first)[0], whole[0])
    width = torch.where(some, width.gather(0, first)[0], whole[1])
    top = (draws[2].gather(0, first)[0] * (size - height + 1)).long()
    left = (draws[3].gather(0, first)[0] * (size - width + 1)).long()
    return Boxes(
        top=torch.where(some, top, (size - height) // 2),
        left=torch.where(some, left, (size - width) // 2),
        height=height,
        width=width,
    )


def _central(size: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """Height and width of the largest box of an allowed aspect."""
    if ratio[0] > 1:
        return round(size / ratio[0]), size
    if ratio[1] < 1:
        return size, round(size * ratio[1])
    return size, size


def resized_crops(
    images: Tensor, boxes: Boxes, flip: Tensor, *, size: int, interpolation: Interpolation
) -> Tensor:
    """Each image's box resized to `size` pixels, mirrored where `flip` (B,).

    From bytes (B, C, H, W) to floats (B, C, S, S). Resizing is linear in the pixels and separable:
    one matrix per image and axis does crop, filter and mirror at once. The filters are Pillow's
    (antialiased when a box shrinks), so results equal torchvision's up to its rounding.
    """
    batch, channels, native, _ = images.shape
    table = resize_table(native, size, interpolation, images.device)
    moved = to_device(
        torch.stack((boxes.top, boxes.left, boxes.height, boxes.width)), images.device
    )
    rows = table[moved[0] * (native + 1) + moved[2]]  # (B, S, H)
    columns = table[moved[1] * (native + 1) + moved[3]]  # (B, S, W)
    columns = torch.where(to_device(flip, images.device)[:, None, None], columns.flip(1), columns)
    wide = images.reshape(batch, channels * native, native).float() @ columns.transpose(1, 2)
    tall = rows[:, None] @ wide.view(batch, channels, native, size)
    return tall.clamp_(0, 255)


@lru_cache(maxsize=8)
def resize_table(
    native: int, size: int, interpolation: Interpolation, device: torch.device
) -> Tensor:
    """Weights (native * (native + 1), size, native) that resize any stretch of `native` samples.

    Entry `start * (native + 1) + length` is the matrix for that start and length.
    """
    table = torch.zeros(native, native + 1, size, native)
    for length in range(1, native + 1):
        weights = resize_weights(length, size, interpolation).float()
        for start in range(native - length + 1):
            table[start, length, :, start : start + length] = weights
    return table.flatten(0, 1).to(device)


def resize_weights(length: int, size: int, interpolation: Interpolation) -> Tensor:
    """Pillow's resampling of `length` samples to `size`: (size, length), rows sum to 1."""
    step = length / size
    centre = (torch.arange(size, dtype=torch.float64) + 0.5) * step
    sample = torch.arange(length, dtype=torch.float64) + 0.5
    distance = (sample[None] - centre[:, None]).abs() / max(step, 1.0)
    weights = _cubic(distance) if interpolation == "bicubic" else (1 - distance).clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic kernel, support 2."""
    a = -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def padded_crops(
    images: Tensor, shift_y: Tensor, shift_x: Tensor, flip: Tensor, *, padding: int
) -> Tensor:
    """Crops of the native size from images with a black border; shifts (B,) in 0..2 * padding."""
    around = torch.nn.functional.pad(images, (padding, padding, padding, padding))
    y, x = _shifted(torch.arange(images.shape[-1]), shift_y, shift_x, flip)
    return _picked(around, y, x)


def reflected_crops(
    images: Tensor, shift_y: Tensor, shift_x: Tensor, flip: Tensor, *, padding: int
) -> Tensor:
    """As `padded_crops`, with a border that reflects the image."""
    last = images.shape[-1] - 1
    y, x = _shifted(torch.arange(last + 1) - padding, shift_y, shift_x, flip)
    return _picked(images, *(last - (last - at.abs()).abs() for at in (y, x)))


def _shifted(span: Tensor, shift_y: Tensor, shift_x: Tensor, flip: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (B, H) and columns (B, W) of crops that begin at `span` and the shifts."""
    return shift_y[:, None] + span, shift_x[:, None] + torch.where(
        flip[:, None], span.flip(0), span
    )


def _picked(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """The pixels in the rows `y` (B, H) and columns `x` (B, W) of each image, as floats."""
    y, x = to_device(y, images.device), to_device(x, images.device)
    batch = torch.arange(len(images), device=images.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return images[batch, channel, y[:, None, :, None], x[:, None, None, :]].float()


def mirrored(images: Tensor, flip: Tensor) -> Tensor:
    """Images (B, C, H, W) as floats, mirrored where `flip` (B,)."""
    chosen = to_device(flip, images.device)[:, None, None, None]
    return torch.where(chosen, images.flip(3), images).float()


def resized(
    images: Tensor, *, size: int, interpolation: Interpolation, scaled: int | None = None
) -> Tensor:
    """Whole images (B, C, H, W) as floats, resized where they are not of `size` pixels.

    With `scaled` they are resized to so many pixels, of which the central `size` are kept.
    """
    images, scaled = images.float(), scaled or size
    if images.shape[-1] == size == scaled:
        return images
    first = round((scaled - size) / 2)  # as torchvision's CenterCrop
    weights = resize_weights(images.shape[-1], scaled, interpolation)[first : first + size]
    weights = to_device(weights.float(), images.device)
    return (weights @ images @ weights.T).clamp_(0, 255)
