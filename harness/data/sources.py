"""Pixels of a split in batches on the device: what every source of them gives, and those that live
in memory. `worker_images.py` has those that are decoded or transformed one by one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.data.crops import (
    draw_boxes,
    mirrored,
    padded_crops,
    reflected_crops,
    resized,
    resized_crops,
)
from harness.data.dataset import Arrays
from harness.data.multicrop import CropSpec, MultiCrop, crop_specs
from harness.data.sampler import Sampler
from harness.data.specaugment import masked_spans
from harness.distributed import DistContext
from harness.seeding import generator
from harness.transfer import to_device

if TYPE_CHECKING:
    from harness.train.config import Augment

Colours = Callable[[Sequence[Tensor], int], tuple[Tensor, ...]]  # of the crops of a batch, and step
Stopping = Callable[[], bool]  # whether the run should end soon


def never() -> bool:
    """For batches that nobody will want to stop."""
    return False


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """How a run wants its images, and where they go."""

    augment: Augment
    image_size: int  # pixels
    mean: tuple[float, ...]  # of the data set, per channel, in 0..1
    classes: int = 0  # of the data set, for images with boxes or masks
    native: int | None = None  # pixels of the images as they are, where all have one size
    eval_crop: float = 1.0
    seed: int
    device: torch.device
    workers: int = 0
    dist: DistContext = DistContext()
    stopping: Stopping = never


class ImageSource(ABC):
    """Some images of a split. Pixels are in 0..255; every draw is a function of seed and step."""

    @abstractmethod
    def train(self, order: Sampler, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(cropped and mirrored pixels (B, C, S, S), labels (B,)) from `step` on, without end.

        Of each batch, the slice of this process.
        """

    @abstractmethod
    def crops(
        self, order: Sampler, crops: MultiCrop, step: int, colours: Colours
    ) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """As `train`, with what `colours` makes of every crop of multi-crop, each of its own size
        (B, C, S, S).
        """

    @abstractmethod
    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(pixels (B, C, S, S), labels (B,)) of every image once, each in one of the processes."""


class MemoryImages(ImageSource):
    """Images that live on the device, augmented a batch at a time: bytes, or spectrograms."""

    def __init__(self, split: Arrays, chosen: NDArray[np.int64], setup: Setup) -> None:
        self.setup = setup
        self.images = torch.from_numpy(split.images[chosen]).to(setup.device)  # (N, C, H, W)
        self.labels = torch.from_numpy(split.labels[chosen]).to(setup.device)  # (N,)

    def train(self, order: Sampler, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        for at, indices in order.batches(step):
            positions, count = self.setup.dist.shard_indices(len(indices)), len(indices)
            chosen = to_device(indices[positions], self.images.device)
            yield self._augmented(self.images[chosen], at, count, positions), self.labels[chosen]

    def crops(
        self, order: Sampler, crops: MultiCrop, step: int, colours: Colours
    ) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        specs = crop_specs(crops, self.setup.image_size)
        for at, indices in order.batches(step):
            positions, count = self.setup.dist.shard_indices(len(indices)), len(indices)
            chosen = to_device(indices[positions], self.images.device)
            images = self.images[chosen]
            cropped = [
                _random_crops(
                    images,
                    spec,
                    crops,
                    count=count,
                    positions=positions,
                    draws=generator(self.setup.seed, "augment", at, "view", number),
                )
                for number, spec in enumerate(specs)
            ]
            yield colours(cropped, at), self.labels[chosen]

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Whole images, resized where the network wants another size.

        Of those that are enlarged, the central `eval_crop` of each side is seen, as of images in
        files.
        """
        dist, size = self.setup.dist, self.setup.image_size
        enlarged = size > self.images.shape[-1]
        scaled = int(size / self.setup.eval_crop) if enlarged else size
        for first in range(dist.rank * batch_size, len(self.labels), dist.size * batch_size):
            images = self.images[first : first + batch_size]
            labels = self.labels[first : first + batch_size]
            if not images.is_floating_point():  # log energies are seen as they are
                images = resized(images, size=size, interpolation="bicubic", scaled=scaled)
            yield images, labels

    def _augmented(self, images: Tensor, step: int, count: int, positions: list[int]) -> Tensor:
        """The images at `positions` of a batch of `count`: the draws are those of the batch."""
        augment, seed = self.setup.augment, self.setup.seed
        if images.is_floating_point():
            return masked_spans(
                images,
                frequency=augment.frequency_mask,
                time=augment.time_mask,
                count=count,
                positions=positions,
                draws=generator(seed, "augment", step, "spans"),
            )
        draws = generator(seed, "augment", step, "crop")
        chances = torch.rand(count, generator=generator(seed, "augment", step, "flip"))
        flip = chances[positions] < augment.flip
        size, interpolation = self.setup.image_size, augment.interpolation
        if augment.crop == "resized":
            boxes = draw_boxes(
                count,
                size=images.shape[-1],
                scale=augment.scale,
                ratio=augment.ratio,
                generator=draws,
            ).select(positions)
            return resized_crops(images, boxes, flip, size=size, interpolation=interpolation)
        if augment.crop == "pad":
            shifts = torch.randint(2 * augment.pad_pixels + 1, (2, count), generator=draws)
            y, x = shifts[:, positions]
            cropped = padded_crops(images, y, x, flip, padding=augment.pad_pixels)
        else:
            cropped = mirrored(images, flip)
        return resized(cropped, size=size, interpolation=interpolation)


def _random_crops(
    images: Tensor,
    spec: CropSpec,
    crops: MultiCrop,
    *,
    count: int,
    positions: list[int],
    draws: torch.Generator,
) -> Tensor:
    """One crop of each image; they stand at `positions` of a batch of `count`, which is drawn."""
    if spec.padded:
        shifts = torch.randint(2 * crops.pad_pixels + 1, (2, count), generator=draws)
        flip = torch.rand(count, generator=draws)[positions] < crops.flip
        y, x = shifts[:, positions]
        whole = resized(images, size=spec.size, interpolation="bicubic")
        return reflected_crops(whole, y, x, flip, padding=crops.pad_pixels)
    boxes = draw_boxes(
        count, size=images.shape[-1], scale=spec.scale, ratio=crops.ratio, generator=draws
    ).select(positions)
    flip = torch.rand(count, generator=draws)[positions] < crops.flip
    return resized_crops(images, boxes, flip, size=spec.size, interpolation="bicubic")
