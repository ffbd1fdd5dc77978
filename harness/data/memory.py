"""Training and evaluation batches of images that live in memory as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.data.crops import draw_boxes, mirrored, padded_crops, resized, resized_crops
from harness.data.sampler import Sampler
from harness.distributed import DistContext
from harness.seeding import generator

if TYPE_CHECKING:
    from harness.train.config import Augment


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryTraining:
    """Cropped and mirrored batches, augmented as a whole on the images' device."""

    images: Tensor  # (N, C, H, W) bytes
    labels: Tensor  # (N,)
    order: Sampler
    augment: Augment
    image_size: int
    ranks: DistContext = DistContext()

    def batches(self, start_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(images (B, C, S, S) float in 0..255, labels (B,)) from `start_step` on, without end."""
        for step, indices in self.order.batches(start_step):
            places = self.ranks.shard_indices(len(indices))
            mine = indices[places].to(self.images.device)
            yield self._augmented(self.images[mine], step, len(indices), places), self.labels[mine]

    def _augmented(self, images: Tensor, step: int, count: int, places: list[int]) -> Tensor:
        """Some images of a batch of `count`: the draws are those of the batch."""
        augment, seed = self.augment, self.order.seed
        draws = generator(seed, "augment", step, "crop")
        chances = torch.rand(count, generator=generator(seed, "augment", step, "flip"))
        flip = chances[places] < augment.flip
        if augment.crop == "resized":
            boxes = draw_boxes(
                count,
                size=images.shape[-1],
                scale=augment.scale,
                ratio=augment.ratio,
                generator=draws,
            ).some(places)
            return resized_crops(
                images, boxes, flip, size=self.image_size, interpolation=augment.interpolation
            )
        if augment.crop == "pad":
            shifts = torch.randint(2 * augment.pad_pixels + 1, (2, count), generator=draws)
            y, x = shifts[:, places]
            cropped = padded_crops(images, y, x, flip, padding=augment.pad_pixels)
        else:
            cropped = mirrored(images, flip)
        return resized(cropped, size=self.image_size, interpolation=augment.interpolation)


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryEvaluation:
    """Whole images, resized where the network wants another size.

    Of those that are enlarged, the central `eval_crop` of each side is seen, as of images in files.
    """

    images: Tensor  # (N, C, H, W) bytes
    labels: Tensor  # (N,)
    image_size: int
    eval_crop: float = 1.0
    ranks: DistContext = DistContext()

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(images (B, C, S, S) float in 0..255, labels (B,)), every sample once, in order."""
        ranks, size = self.ranks, self.image_size
        scaled = int(size / self.eval_crop) if size > self.images.shape[-1] else size
        for first in range(ranks.rank * batch_size, len(self.labels), ranks.size * batch_size):
            images = self.images[first : first + batch_size]
            labels = self.labels[first : first + batch_size]
            yield resized(images, size=size, interpolation="bicubic", scaled=scaled), labels
