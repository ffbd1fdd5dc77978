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
    draws = batch_slice.draw_for_slice(
        len(images), lambda rows: torch.rand(9, rows, generator=generator), dim=1
    )
    order = torch.randperm(4, generator=generator).tolist()
    coloured = images.shape[1] == 3
    # which images each part changes is known before anything is computed, and without the device
    parts = [
        draws[0] < crops.jitter,
        draws[1] < (crops.grey if coloured else 0.0),
        draws[2] < blur,
        draws[4] < solarize,
    ]
    chosen = [part.nonzero()[:, 0] for part in parts]
    draws, moved = draws.to(images.device), torch.cat(chosen).to(images.device)
    jitter, to_grey, to_blur, to_solarize = torch.split(moved, [len(indices) for indices in chosen])
    images = images.clone()
    if len(jitter):
        strength = 2 * draws[5:9, jitter] - 1
        images[jitter] = _jittered(images[jitter], crops, order, strength)
    if len(to_grey):
        images[to_grey] = grey(images[to_grey]).expand(-1, 3, -1, -1)
    if len(to_blur):
        low, high = crops.blur_sigma
        images[to_blur] = blurred(images[to_blur], low + (high - low) * draws[3, to_blur])
    if len(to_solarize):
        bright = images[to_solarize]
        images[to_solarize] = torch.where(bright >= 128, 255 - bright, bright)
    return images


def _jittered(images: Tensor, crops: MultiCrop, order: list[int], strength: Tensor) -> Tensor:
    """The four operations in `order`, each as strong as its row of `strength` (4, B) in -1..1."""
    coloured = images.shape[1] == 3
    for operation in order:
        if operation == 0 and crops.brightness > 0:
            images = blend(images, 0.0, 1 + crops.brightness * strength[0])
        elif operation == 1 and crops.contrast > 0:
            level = grey(images).mean(dim=(1, 2, 3), keepdim=True)
            images = blend(images, level, 1 + crops.contrast * strength[1])
        elif operation == 2 and crops.saturation > 0 and coloured:
            images = blend(images, grey(images), 1 + crops.saturation * strength[2])
        elif operation == 3 and crops.hue > 0 and coloured:
            images = shift_hue(images, crops.hue * strength[3])
    return images


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
