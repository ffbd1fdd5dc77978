"""From the bytes of a batch to what a network sees: colours of crops, and normalisation.

On a CPU a batch goes through piece by piece, each small enough for the core's own cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.batch_slice import BatchSlice
from harness.data.chunks import chunks
from harness.data.colour import color_jitter
from harness.data.multicrop import MultiCrop, crop_specs
from harness.seeding import generator
from harness.transfer import to_device


@dataclass(frozen=True, kw_only=True, slots=True)
class Normalise:
    """From pixels in 0..255 to zero mean and unit spread over the data set."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) floats."""
        scale = torch.tensor([1 / (255 * std) for std in self.std])
        shift = torch.tensor([-mean / std for mean, std in zip(self.mean, self.std, strict=True)])
        scale, shift = to_device(torch.stack([scale, shift]), pixels.device)[:, :, None, None]
        out = torch.empty(pixels.shape, device=pixels.device)
        for piece in chunks(pixels):
            torch.addcmul(shift, pixels[piece].float(), scale, out=out[piece])
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class CropColours:
    """Recolours and normalises all crops of a batch; draws are functions of seed and step."""

    crops: MultiCrop
    image_size: int  # pixels
    seed: int
    batch_slice: BatchSlice
    normalise: Normalise

    def __call__(self, cropped: Sequence[Tensor], step: int) -> tuple[Tensor, ...]:
        """Crops (B, C, S, S) of pixels in 0..255, in the order of `crop_specs`."""
        specs = crop_specs(self.crops, self.image_size)
        return tuple(
            color_jitter(
                pixels,
                self.crops,
                blur=spec.blur,
                solarize=spec.solarize,
                generator=generator(self.seed, "augment", step, "colour", number),
                batch_slice=self.batch_slice,
                finish=self.normalise,
            )
            if spec.recolored
            else self.normalise(pixels)
            for number, (pixels, spec) in enumerate(zip(cropped, specs, strict=True))
        )
