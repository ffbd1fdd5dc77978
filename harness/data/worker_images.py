"""Images that are decoded or transformed one by one, in loader processes; batches are bytes until
they are on the device.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from harness.data import memory
from harness.data.dataset import Arrays, Split
from harness.data.multicrop import MultiCrop, crop_specs
from harness.data.processes import PATIENCE, POLL, delivered
from harness.data.sampler import Sampler
from harness.data.sources import Colours, ImageSource, Setup
from harness.data.transforms import (
    MultiCropTransform,
    Transform,
    evaluation_transform,
    training_transform,
)
from harness.distributed import DistContext
from harness.errors import HarnessError
from harness.seeding import stream
from harness.transfer import to_device

Key = tuple[int, int, int]  # epoch, position in the epoch, index into the chosen images
LoadedBatch = tuple[tuple[Tensor, ...], Tensor]  # pixels, or each crop; labels


class WorkerImages(ImageSource):
    """Images that are decoded or transformed one by one, in worker processes; batches are bytes."""

    def __init__(self, split: Split, chosen: NDArray[np.int64], setup: Setup) -> None:
        self.split, self.chosen, self.setup = split, chosen, setup

    def train(self, order: Sampler, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        transform = training_transform(
            self.setup.augment,
            image_size=self.setup.image_size,
            native=self.setup.native,
            mean=self.setup.mean,
        )
        return self.transformed(transform, BatchKeys(order, step, self.setup.dist))

    def crops(
        self, order: Sampler, crops: MultiCrop, step: int, colours: Colours
    ) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """See `ImageSource.crops`. Where a CPU trains, the loader processes colour too; else bytes
        go to the device, and are coloured there.
        """
        finish = _Cropped(crops, self.setup, len(self.setup.mean), order, colours)
        transform = MultiCropTransform(crops, self.setup.image_size)
        keys = BatchKeys(order, step, self.setup.dist)
        if self.setup.device.type == "cpu":
            for batch, labels in self._batches(transform, keys, finish):
                yield batch, labels
            return
        for at, (rows, labels) in enumerate(self.transformed(transform, keys), step):
            yield colours(finish.split(rows), at), labels

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        transform = evaluation_transform(
            image_size=self.setup.image_size, eval_crop=self.setup.eval_crop
        )
        return self.transformed(transform, self._in_order(batch_size))

    def _in_order(self, batch_size: int) -> list[list[Key]]:
        """The keys of every image once, each in one of the processes."""
        count, dist = len(self.chosen), self.setup.dist
        keys = [
            [(0, index, index) for index in range(first, min(first + batch_size, count))]
            for first in range(0, count, batch_size)
        ]
        return keys[dist.rank :: dist.size]

    def transformed(
        self, transform: Any, keys: Iterable[list[Key]]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of `keys` on the device.

        DataError for an image that cannot be read, RunFailed where loader processes cannot deliver,
        and StoppedAlone when a stop is asked for while no batch comes.
        """
        for (pixels,), labels in self._batches(transform, keys, None):
            yield pixels, labels

    def _batches(
        self, transform: Any, keys: Iterable[list[Key]], finish: _Cropped | None
    ) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        workers, device = self.setup.workers, self.setup.device
        loader = DataLoader(
            self._examples(transform, finish),
            batch_sampler=keys,
            num_workers=workers,
            collate_fn=_as_it_is,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # its own: else the loader draws from the global one
            timeout=POLL if workers else 0,
        )
        # of several processes none may leave the others in the middle of a step
        patience = 0.0 if self.setup.dist.size == 1 else PATIENCE
        batches: Iterable[Any] = loader
        if workers:
            batches = delivered(loader, stopping=self.setup.stopping, patience=patience)
        for batch in batches:
            if isinstance(batch, HarnessError):
                raise batch
            pixels, labels = batch
            yield tuple(to_device(part, device) for part in pixels), to_device(labels, device)

    def _examples(self, transform: Any, finish: _Cropped | None) -> Examples:
        """What loader processes ask for the batch of some keys."""
        return _Images(self.split, self.chosen, transform, finish, seed=self.setup.seed)


@dataclass(frozen=True, slots=True)
class BatchKeys:
    """The keys of each batch from a step on, without end."""

    order: Sampler
    step: int
    dist: DistContext

    def __iter__(self) -> Iterator[list[Key]]:
        per_epoch, size = self.order.steps_per_epoch, self.order.batch_size
        for step, batch in self.order.batches(self.step):
            epoch, first = step // per_epoch, step % per_epoch * size
            indices = batch.tolist()
            positions = self.dist.shard_indices(len(indices))
            yield [(epoch, first + position, indices[position]) for position in positions]


@dataclass(frozen=True, slots=True)
class _Cropped:
    """The crops of a batch out of its rows of bytes, coloured."""

    crops: MultiCrop
    setup: Setup
    channels: int
    order: Sampler
    colours: Colours

    def __call__(self, rows: Tensor, key: Key) -> tuple[Tensor, ...]:
        """Of a batch that holds the image of `key`."""
        epoch, position, _ = key
        step = epoch * self.order.steps_per_epoch + position // self.order.batch_size
        return self.colours(self.split(rows), step)

    def split(self, rows: Tensor) -> list[Tensor]:
        """Each crop (B, C, S, S) of its own size."""
        specs = crop_specs(self.crops, self.setup.image_size)
        parts = torch.split(rows, [self.channels * spec.size**2 for spec in specs], dim=1)
        return [
            part.reshape(len(part), self.channels, spec.size, spec.size)
            for part, spec in zip(parts, specs, strict=True)
        ]


class Examples(Dataset[LoadedBatch], ABC):
    """Images of a split by the batch: what all images of one share is done once."""

    def __init__(self, split: Split, chosen: NDArray[np.int64]) -> None:
        self._split, self._chosen = split, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitems__(self, keys: list[Key]) -> LoadedBatch | HarnessError:
        try:
            with kept_generators():
                *pixels, known = map(memory.handed_over, self.batch(keys))
        except HarnessError as error:
            return error  # raised here, it would reach the user with a worker's traceback around it
        return tuple(pixels), known

    @abstractmethod
    def batch(self, keys: list[Key]) -> Sequence[Tensor]:
        """Pixels, or each crop, and last what is known of the images. Draws are from the global
        generators, seeded for each image: the same in any process.
        """


class _Images(Examples):
    """Transformed images and their labels."""

    def __init__(
        self,
        split: Split,
        chosen: NDArray[np.int64],
        transform: Transform,
        finish: _Cropped | None,
        *,
        seed: int,
    ) -> None:
        super().__init__(split, chosen)
        self._transform, self._finish, self._seed = transform, finish, seed
        self._last: tuple[int, Image.Image] | None = None

    def batch(self, keys: list[Key]) -> Sequence[Tensor]:
        pictures = [self._transformed(key) for key in keys]
        numbers = self._chosen[[index for _, _, index in keys]]
        labels = torch.from_numpy(np.asarray(self._split.labels[numbers], np.int64))
        if self._finish:
            return (*self._finish(torch.stack(pictures), keys[0]), labels)
        return memory.stack(pictures), labels

    def _transformed(self, key: Key) -> Tensor:
        epoch, position, index = key
        image = self._image(int(self._chosen[index]))
        seed_all(stream(self._seed, "image", epoch, position))
        return self._transform(image)

    def _image(self, number: int) -> Image.Image:
        """Decoded once where an image stands several times in a row (`Augment.repeats`)."""
        if self._last is None or self._last[0] != number:
            self._last = number, picture(self._split, number)
        return self._last[1]


def picture(split: Split, index: int) -> Image.Image:
    """One image as Pillow has it."""
    if not isinstance(split, Arrays):
        return split.image(index)
    pixels = split.images[index]
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


@contextmanager
def kept_generators() -> Iterator[None]:
    """Afterwards the global generators are as before, but in a loader process, where nothing else
    draws and saving them takes longer than seeding.
    """
    alone = get_worker_info() is not None
    before = None if alone else (random.getstate(), np.random.get_state(), torch.get_rng_state())
    try:
        yield
    finally:
        if before is not None:
            random.setstate(before[0])
            np.random.set_state(before[1])
            torch.set_rng_state(before[2])


def seed_all(seed: int) -> None:
    """Seeds the global generators that transforms draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


def _as_it_is(batch: Any) -> Any:
    return batch
