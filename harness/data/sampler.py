"""In which order the images of an epoch are seen: a function of seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from harness.data import whole_batches
from harness.seeding import generator


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampler:
    """Batches of indices into `images` training images, without end."""

    images: int
    batch_size: int
    repeats: int  # how often each drawn image stands in a row; the epoch keeps its length
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return whole_batches(self.images, self.batch_size)

    def epoch(self, epoch: int) -> Tensor:
        """Indices (images,) in the order of this epoch."""
        drawn = torch.randperm(self.images, generator=generator(self.seed, "order", epoch))
        return drawn.repeat_interleave(self.repeats)[: self.images]

    def batches(self, start_step: int) -> Iterator[tuple[int, Tensor]]:
        """(step, indices (batch_size,)) from `start_step` on."""
        for epoch in count(start_step // self.steps_per_epoch):
            order = self.epoch(epoch)
            first = epoch * self.steps_per_epoch
            for step in range(max(start_step, first), first + self.steps_per_epoch):
                at = (step - first) * self.batch_size
                yield step, order[at : at + self.batch_size]
