"""Colour changes of a whole batch at once: jitter, grey, blur, solarise. Images are in 0..255."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.batch_slice import FULL_BATCH, BatchSlice
from harness.data.multicrop import MultiCrop

LUMA = (0.299, 0.587, 0.114)


def color_jitter(
    images: Tensor,
    crops: MultiCrop,
    *,
    blur: float,
    solarize: float,
    generator: torch.Generator,
    batch_slice: BatchSlice = FULL_BATCH,
) -> Tensor:
    """Jitter, grey, blur and solarise (B, C, S, S) floats, each with its probability per image.

    All draws are made on the CPU, whatever the options are: a part that is switched off does not
    shift the others'.
    """
    count, device = len(images), images.device
    draws = batch_slice.draw_for_slice(
        count, lambda rows: torch.rand(9, rows, generator=generator), dim=1
    )
    order = torch.randperm(4, generator=generator).tolist()
    chance, strength = draws.to(device), 2 * draws[5:9].to(device) - 1
    jittered = images
    for operation in order:
        if operation == 0 and crops.brightness > 0:
            jittered = blend(jittered, 0.0, 1 + crops.brightness * strength[0])
        elif operation == 1 and crops.contrast > 0:
            level = grey(jittered).mean(dim=(1, 2, 3), keepdim=True)
            jittered = blend(jittered, level, 1 + crops.contrast * strength[1])
        elif operation == 2 and crops.saturation > 0 and images.shape[1] == 3:
            jittered = blend(jittered, grey(jittered), 1 + crops.saturation * strength[2])
        elif operation == 3 and crops.hue > 0 and images.shape[1] == 3:
            jittered = shift_hue(jittered, crops.hue * strength[3])
    images = _where(chance[0] < crops.jitter, jittered, images)
    if images.shape[1] == 3:
        images = _where(chance[1] < crops.grey, grey(images).expand_as(images), images)
    if blur > 0:
        low, high = crops.blur_sigma
        images = _where(chance[2] < blur, blurred(images, low + (high - low) * chance[3]), images)
    if solarize > 0:
        inverted = torch.where(images >= 128, 255 - images, images)
        images = _where(chance[4] < solarize, inverted, images)
    return images


def _where(chosen: Tensor, changed: Tensor, images: Tensor) -> Tensor:
    return torch.where(chosen[:, None, None, None], changed, images)


def blend(images: Tensor, other: Tensor | float, weight: Tensor) -> Tensor:
    """`weight` (B,) of the images and the rest of `other`, clipped; above 1 it extrapolates."""
    weight = weight[:, None, None, None]
    return (images * weight + other * (1 - weight)).clamp(0, 255)


def grey(images: Tensor) -> Tensor:
    """Luma (B, 1, S, S); images of one channel as they are."""
    if images.shape[1] != 3:
        return images
    weights = torch.tensor(LUMA, device=images.device, dtype=images.dtype)
    return (images * weights[:, None, None]).sum(dim=1, keepdim=True)


def shift_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Hue turned by `turn` (B,), in circles, with saturation and value (of HSV) as they were."""
    value, most = images.max(dim=1)
    chroma = value - images.min(dim=1).values
    red, green, blue = images.unbind(1)
    safe = chroma.clamp(min=1e-6)
    sextants = torch.stack(
        [(green - blue) / safe, (blue - red) / safe + 2, (red - green) / safe + 4]
    )
    hue = sextants.gather(0, most[None])[0] + 6 * turn[:, None, None]
    corner = torch.tensor([5.0, 3.0, 1.0], device=images.device, dtype=images.dtype)
    k = (corner[:, None, None] + hue[:, None]) % 6
    return value[:, None] - chroma[:, None] * torch.minimum(k, 4 - k).clamp(0, 1)


def blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with `sigma` (B,) pixels; what lies outside the image does not count."""
    line = torch.arange(images.shape[-1], device=images.device, dtype=images.dtype)
    distance = (line[:, None] - line[None, :]) ** 2
    weights = torch.exp(-distance / (2 * sigma[:, None, None] ** 2))
    weights = (weights / weights.sum(dim=2, keepdim=True))[:, None]
    return weights @ images @ weights.transpose(2, 3)
