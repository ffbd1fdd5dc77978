"""From the bytes of a batch to what a network sees: colours of crops, and normalisation.

On a CPU a batch goes through piece by piece, each small enough for the core's own cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.batch_slice import BatchSlice
from harness.data import memory
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

    def __call__(self, pixels: Tensor, out: Tensor | None = None) -> Tensor:
        """(B, C, H, W) floats, in `out` if that is given."""
        shift = torch.tensor([-mean / std for mean, std in zip(self.mean, self.std, strict=True)])
        shift = to_device(shift, pixels.device)
        if out is None:
            out = memory.empty(pixels.shape, torch.float32, pixels.device)
        for piece in chunks(pixels):
            channels = out[piece].copy_(pixels[piece]).unbind(1)
            # one number for a whole channel: only so is PyTorch's CPU code vectorised
            for channel, low, std in zip(channels, shift, self.std, strict=True):
                torch.add(low, channel, alpha=1 / (255 * std), out=channel)
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
        coloured = []
        for number, (pixels, spec) in enumerate(zip(cropped, specs, strict=True)):
            out = memory.empty(pixels.shape, torch.float32, pixels.device)
            if spec.recolored:
                color_jitter(
                    pixels,
                    self.crops,
                    blur=spec.blur,
                    solarize=spec.solarize,
                    generator=generator(self.seed, "augment", step, "colour", number),
                    batch_slice=self.batch_slice,
                    finish=self.normalise,
                    out=out,
                )
            else:
                self.normalise(pixels, out)
            coloured.append(out)
        return tuple(coloured)
