"""Batches of images that are decoded or transformed one by one, in worker processes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harness.data.dataset import Arrays, Split
from harness.data.processes import PATIENCE, POLL, delivered, shared
from harness.data.sampler import Sampler
from harness.data.transforms import Transform
from harness.distributed import DistContext
from harness.errors import DataError, HarnessError
from harness.seeding import stream

Key = tuple[int, int, int]  # epoch, position in the epoch, index into the chosen images
Item = tuple[Tensor, int] | DataError
Stopping = Callable[[], bool]  # whether the run should end soon


def never() -> bool:
    """For batches that nobody will want to stop."""
    return False


class Images(Dataset[Item]):
    """Images of a split, transformed; each draws from a stream of its own in any process."""

    def __init__(
        self, split: Split, chosen: NDArray[np.int64], transform: Transform, *, seed: int
    ) -> None:
        self._split, self._chosen, self._transform, self._seed = split, chosen, transform, seed

    def __len__(self) -> int:
        return len(self._chosen)

    def transformed(self, transform: Transform) -> Images:
        """The same images, transformed another way."""
        return Images(self._split, self._chosen, transform, seed=self._seed)

    def __getitem__(self, key: Key) -> Item:
        epoch, position, index = key
        at = int(self._chosen[index])
        try:
            image = _picture(self._split, at)
        except DataError as error:
            return error  # raised here, it would reach the user with a worker's traceback around it
        with seeded(stream(self._seed, "image", epoch, position)):
            return self._transform(image), int(self._split.labels[at])


def _picture(split: Split, index: int) -> Image.Image:
    if not isinstance(split, Arrays):
        return split.image(index)
    pixels = split.images[index]
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds the global generators that transforms draw from; afterwards they are as before."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


@dataclass(frozen=True, kw_only=True, slots=True)
class LoaderTraining:
    """Batches in the run's order, transformed one image at a time."""

    images: Images
    order: Sampler
    device: torch.device
    workers: int
    ranks: DistContext = DistContext()
    stopping: Stopping = never

    def batches(self, start_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(images (B, C, S, S) bytes, labels (B,)) from `start_step` on, without end."""
        keys = _Keys(self.order, start_step, self.ranks)
        return load(self.images, keys, self)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoaderEvaluation:
    """Every image once, in order."""

    images: Images
    device: torch.device
    workers: int
    ranks: DistContext = DistContext()
    stopping: Stopping = never

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(images (B, C, S, S) bytes, labels (B,)); the last batch may be smaller."""
        count = len(self.images)
        keys = [
            [(0, index, index) for index in range(first, min(first + batch_size, count))]
            for first in range(0, count, batch_size)
        ]
        mine = keys[self.ranks.rank :: self.ranks.size]
        return load(self.images, mine, self)


@dataclass(frozen=True, slots=True)
class _Keys:
    """The keys of each batch from `start_step` on."""

    order: Sampler
    start_step: int
    ranks: DistContext

    def __iter__(self) -> Iterator[list[Key]]:
        per_epoch, size = self.order.steps_per_epoch, self.order.batch_size
        for step, indices in self.order.batches(self.start_step):
            epoch, first = step // per_epoch, step % per_epoch * size
            chosen = indices.tolist()
            places = self.ranks.shard_indices(len(chosen))
            yield [(epoch, first + at, chosen[at]) for at in places]


def load(
    images: Images, keys: Iterable[list[Key]], source: LoaderTraining | LoaderEvaluation
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of `keys` on the device of `source`.

    DataError for an image that cannot be read, RunFailed where loader processes cannot deliver, and
    Interrupted when a stop is asked for while no batch comes.
    """
    workers, device = source.workers, source.device
    loader = DataLoader(
        images,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # of its own: the loader draws from the global one otherwise
        timeout=POLL if workers else 0,
    )
    patience = 0.0 if source.ranks.size == 1 else PATIENCE
    found: Iterable[Any] = loader
    if workers:
        found = delivered(loader, stopping=source.stopping, patience=patience)
    for batch in found:
        if isinstance(batch, HarnessError):
            raise batch
        pictures, labels = batch
        yield pictures.to(device, non_blocking=True), labels.to(device, non_blocking=True)


def _collate(items: list[Item]) -> tuple[Tensor, Tensor] | HarnessError:
    pictures, labels = [], []
    for item in items:
        if isinstance(item, DataError):
            return item
        pictures.append(item[0])
        labels.append(item[1])
    batch, targets = shared(torch.stack(pictures)), shared(torch.tensor(labels))
    if isinstance(batch, HarnessError):
        return batch
    return targets if isinstance(targets, HarnessError) else (batch, targets)
