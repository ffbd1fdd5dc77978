"""Colour changes of crops in batches: jitter, grey, blur, solarise. Images are in 0..255."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from harness.batch_slice import FULL_BATCH, BatchSlice
from harness.data.chunks import chunks
from harness.data.multicrop import MultiCrop
from harness.transfer import to_device

LUMA = (0.299, 0.587, 0.114)
DENSE: Final = 128
"""Pixels of a side up to which a CPU blurs by whole matrices; larger images by bands of them."""
_BAND: Final = 32  # rows of a band
_REACH: Final = 6.0
"""Standard deviations: what lies farther weighs less than the rounding of 32-bit numbers."""
_FAR: Final = 40.0
"""Weights of a blur below e to the minus this are 0. Rounding loses them anyway; but some of them,
and products of two, would be denormal numbers, which many CPUs multiply a hundred times slower.
"""


@dataclass(frozen=True, slots=True)
class _Parts:
    """Which images (B,) each part changes, and how; on the CPU."""

    jitter: Tensor
    grey: Tensor
    blur: Tensor
    solarize: Tensor
    order: list[int]  # of the four operations of jitter
    strength: Tensor  # (4, B) of these, in -1..1
    sigma: Tensor  # (B,) of blur, pixels


def copied(images: Tensor, out: Tensor) -> Tensor:
    """As they are."""
    return out.copy_(images)


def color_jitter(
    images: Tensor,
    crops: MultiCrop,
    *,
    blur: float,
    solarize: float,
    generator: torch.Generator,
    batch_slice: BatchSlice = FULL_BATCH,
    finish: Callable[[Tensor, Tensor], Tensor] = copied,
    out: Tensor | None = None,
) -> Tensor:
    """Jitter, grey, blur and solarise (B, C, S, S), each with its probability per image; floats.

    All draws are made on the CPU, whatever the options are: a part that is switched off does not
    shift the others'. `finish` writes what comes of it to its place in `out`, in the same pass over
    memory.
    """
    parts = _drawn(
        images, crops, blur=blur, solarize=solarize, generator=generator, batch_slice=batch_slice
    )
    if out is None:
        out = torch.empty(images.shape, device=images.device)
    for piece in chunks(images):
        own = images[piece].to(torch.float32, copy=True)
        finish(_recoloured(own, crops, parts, range(len(images))[piece]), out[piece])
    return out


def _drawn(
    images: Tensor,
    crops: MultiCrop,
    *,
    blur: float,
    solarize: float,
    generator: torch.Generator,
    batch_slice: BatchSlice,
) -> _Parts:
    draws = batch_slice.draw_for_slice(
        len(images), lambda rows: torch.rand(9, rows, generator=generator), dim=1
    )
    order = torch.randperm(4, generator=generator).tolist()
    low, high = crops.blur_sigma
    chosen = [draws[1] < crops.grey, draws[2] < blur, draws[4] < solarize]
    if crops.effects == "one":
        chosen = [(3 * draws[1]).long() == effect for effect in range(3)]
    return _Parts(
        jitter=draws[0] < crops.jitter,
        grey=chosen[0] & (images.shape[1] == 3),
        blur=chosen[1],
        solarize=chosen[2],
        order=order,
        strength=2 * draws[5:9] - 1,
        sigma=low + (high - low) * draws[3],
    )


def _recoloured(images: Tensor, crops: MultiCrop, parts: _Parts, rows: range) -> Tensor:
    """The images at `rows` of the batch that was drawn for, which are written to; only those that a
    part chooses are computed.
    """

    def jitter(some: Tensor, chosen: Tensor) -> Tensor:
        strength = to_device(parts.strength[:, chosen], some.device)
        return _jittered(some, crops, parts.order, strength)

    def to_grey(some: Tensor, _: Tensor) -> Tensor:
        return some.copy_(grey(some))

    def blur(some: Tensor, chosen: Tensor) -> Tensor:
        return blurred(some, to_device(parts.sigma[chosen], some.device))

    def solarize(some: Tensor, _: Tensor) -> Tensor:
        return torch.where(some >= 128, 255 - some, some)

    whole: list[tuple[Tensor, Callable[[Tensor, Tensor], Tensor]]] = [
        (parts.jitter, jitter),
        (parts.grey, to_grey),
        (parts.blur, blur),
        (parts.solarize, solarize),
    ]
    # which images each part changes is known before anything is computed, and without the device:
    # their places go there in one copy
    places = [chosen[rows.start : rows.stop].nonzero()[:, 0] for chosen, _ in whole]
    split = torch.split(
        to_device(torch.cat(places), images.device), [len(place) for place in places]
    )
    for (_, change), place, moved in zip(whole, places, split, strict=True):
        if len(place) == len(images):
            images = change(images, place + rows.start)
        elif len(place):
            images[moved] = change(images[moved], place + rows.start)
    return images


def _jittered(images: Tensor, crops: MultiCrop, order: list[int], strength: Tensor) -> Tensor:
    """The four operations in `order`, each as strong as its row of `strength` (4, B) in -1..1; the
    images given are written to.
    """
    coloured = images.shape[1] == 3
    for operation in order:
        if operation == 0 and crops.brightness > 0:
            blend_(images, None, 1 + crops.brightness * strength[0])
        elif operation == 1 and crops.contrast > 0:
            blend_(images, _levels(grey(images)), 1 + crops.contrast * strength[1])
        elif operation == 2 and crops.saturation > 0 and coloured:
            blend_(images, grey(images), 1 + crops.saturation * strength[2])
        elif operation == 3 and crops.hue > 0 and coloured:
            images = shift_hue(images, crops.hue * strength[3])
    return images


def _levels(images: Tensor) -> Tensor:
    """The mean of each image, (B, 1, 1, 1), to the last bit the same however many threads there
    are: PyTorch splits the sum of a single one among them.
    """
    pair = images.expand(2, -1, -1, -1) if len(images) == 1 else images
    return pair.mean(dim=(1, 2, 3), keepdim=True)[: len(images)]


def blend_(images: Tensor, other: Tensor | None, weight: Tensor) -> Tensor:
    """`weight` (B,) of the images and the rest of `other`, or of black, clipped, in place; above 1
    it extrapolates.
    """
    weight = weight[:, None, None, None]
    images.mul_(weight)
    if other is not None:
        images.add_(other * (1 - weight))
    return images.clamp_(0, 255)


def grey(images: Tensor) -> Tensor:
    """Luma (B, 1, S, S); images of one channel as they are."""
    if images.shape[1] != 3:
        return images
    weights = to_device(torch.tensor(LUMA, dtype=images.dtype), images.device)
    return (images * weights[:, None, None]).sum(dim=1, keepdim=True)


def shift_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Hue turned by `turn` (B,), in circles, with saturation and value (of HSV) as they were.

    The largest channel is chosen by factors of 0 and 1: `torch.where` takes far longer on a CPU.
    """
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    first = value.clone().eq_(red)
    second = value.clone().eq_(green).mul_(1 - first)
    third = 1 - first - second
    hue = (green - blue).mul_(first)
    hue.add_((blue - red).mul_(second)).add_((red - green).mul_(third))
    hue.div_(chroma.clamp(min=1e-6))
    hue.add_(second.mul_(2).add_(third.mul_(4))).add_(6 * turn[:, None, None])
    turned = torch.empty_like(images)
    for channel, corner in enumerate((5.0, 3.0, 1.0)):
        k = hue + corner
        k.sub_((k / 6).floor_(), alpha=6)
        torch.minimum(k, 4 - k, out=k)
        turned[:, channel] = value - k.clamp_(0, 1).mul_(chroma)
    return turned


def blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with `sigma` (B,) pixels; what lies outside the image does not count."""
    size = images.shape[-1]
    if images.device.type == "cpu" and size > DENSE and images.dtype == torch.float32:
        pairs = zip(images, sigma.tolist(), strict=True)
        return torch.stack([_blurred_in_bands(image, one) for image, one in pairs])
    line = torch.arange(size, device=images.device, dtype=images.dtype)
    distance = (line[:, None] - line[None, :]) ** 2
    exponent = distance / (2 * sigma[:, None, None] ** 2)
    weights = torch.exp(-exponent.masked_fill(exponent > _FAR, math.inf))
    weights = (weights / weights.sum(dim=2, keepdim=True))[:, None]
    return weights @ images @ weights.transpose(2, 3)


def _blurred_in_bands(image: Tensor, sigma: float) -> Tensor:
    """One image (C, S, S), where each pixel takes from those near it only."""
    channels, size, _ = image.shape
    reach = min(math.ceil(_REACH * sigma), size - 1)
    weights = torch.exp(_squared_distances(size, reach) / (-2 * sigma**2))
    weights /= weights.sum(dim=2, keepdim=True)
    flat = image.reshape(channels * size, size)
    wide, tall = torch.empty_like(flat), torch.empty_like(image)
    bands = []
    for band, start in enumerate(range(0, size, _BAND)):
        stop = min(start + _BAND, size)
        first, last = max(start - reach, 0), min(stop + reach, size)
        skipped = first - (start - reach)
        own = weights[band, : stop - start, skipped : skipped + last - first]
        bands.append((slice(start, stop), slice(first, last), own))
    for inner, around, own in bands:
        torch.mm(flat[:, around], own.T, out=wide[:, inner])
    columns = wide.view_as(image)
    for inner, around, own in bands:
        tall[:, inner] = own @ columns[:, around]
    return tall


@lru_cache(maxsize=64)
def _squared_distances(size: int, reach: int) -> Tensor:
    """(bands, rows of one, pixels around it): how far each is from each, infinite where it does not
    count.
    """
    starts = torch.arange(0, size, _BAND)[:, None, None]
    rows = starts + torch.arange(_BAND)[:, None]
    columns = starts - reach + torch.arange(_BAND + 2 * reach)
    # rows past the last are not used; they see themselves, so that their weights are numbers
    outside = ((columns < 0) | (columns >= size)) & (columns != rows)
    far = (rows - columns).abs() > reach
    return ((rows - columns) ** 2).float().masked_fill(far | outside, math.inf)
