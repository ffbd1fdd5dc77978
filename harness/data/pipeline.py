"""From a data config to batches on the device, for training and for evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.data import open_dataset
from harness.data.config import DataConfig
from harness.data.dataset import Arrays, DataSet, Split
from harness.data.loader import Images, LoaderEvaluation, LoaderTraining, Stopping, never
from harness.data.memory import MemoryEvaluation, MemoryTraining
from harness.data.mixing import erase, mix, soft_targets
from harness.data.sampler import Sampler
from harness.data.subset import split_training
from harness.data.transforms import evaluation_transform, per_image, training_transform
from harness.distributed import DistContext
from harness.errors import DataError
from harness.seeding import generator, stream

if TYPE_CHECKING:
    from harness.train.config import Augment


class TrainingSource(Protocol):
    """Cropped images (B, C, S, S) in 0..255 and labels (B,) on the device, without end."""

    def batches(self, start_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches from `start_step` on."""


class EvaluationSource(Protocol):
    """Images (B, C, S, S) in 0..255 and labels (B,) on the device, every sample once."""

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches, the last one maybe smaller."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """Batches of one run. Every draw is a function of seed and step: start at any of them."""

    steps_per_epoch: int
    classes: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_images: int
    eval_images: int
    batch_size: int
    augment: Augment
    seed: int
    dist: DistContext
    training: TrainingSource
    val: EvaluationSource
    train_eval: (
        EvaluationSource  # the training images as they are, for evaluations that look them up
    )
    # how classes count, where a classifier from elsewhere may count them in another order
    class_order: str | None = None

    @property
    def batch(self) -> int:
        """Images of a batch, over all processes."""
        return min(self.batch_size, self.train_images)

    def batches(self, start_step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(images (B, C, H, W) normalised, soft targets (B, classes)) from `start_step`, endless.

        Of each batch, the share of this process. `batches(k)` yields exactly what `batches(0)`
        yields from its k-th item on.
        """
        for step, (images, labels) in enumerate(self.training.batches(start_step), start_step):
            yield self._finished(self.normalised(images), labels, step)

    def evaluation(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(images (B, C, H, W) normalised, labels (B,)) over every sample exactly once.

        Each in one of the processes.
        """
        for images, labels in self.val.batches(batch_size):
            yield self.normalised(images), labels

    def bank(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As `evaluation`, over every training image: what k-NN looks up."""
        for images, labels in self.train_eval.batches(batch_size):
            yield self.normalised(images), labels

    @property
    def bank_in_memory(self) -> bool:
        """Whether all images are in memory anyway: pixels can then be features."""
        return isinstance(self.train_eval, MemoryEvaluation)

    def normalised(self, images: Tensor) -> Tensor:
        """From pixels in 0..255 to zero mean and unit spread over the data set."""
        scale = torch.tensor([1 / (255 * std) for std in self.std], device=images.device)
        shift = torch.tensor(
            [-mean / std for mean, std in zip(self.mean, self.std, strict=True)],
            device=images.device,
        )
        return torch.addcmul(shift[:, None, None], images.float(), scale[:, None, None])

    def _finished(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        augment = self.augment
        if augment.erasing > 0:
            draws = generator(self.seed, "augment", step, "erasing")
            share = self.dist.batch_slice(self.batch)
            images = erase(images, probability=augment.erasing, generator=draws, batch_slice=share)
        targets = soft_targets(labels, classes=self.classes, smoothing=augment.label_smoothing)
        if augment.mixup > 0 or augment.cutmix > 0:
            chance = Random(stream(self.seed, "augment", step, "mix"))
            images, targets = mix(images, targets, augment, draws=chance)
        return images, targets


def open_pipeline(
    data: DataConfig,
    augment: Augment,
    *,
    image_size: int,
    batch_size: int,
    eval_crop: float,
    seed: int,
    device: torch.device,
    workers: int,
    ranks: DistContext | None = None,
    stopping: Stopping = never,
) -> Pipeline:
    """The batches of a run; loads (and where needed fetches) the data set. Raises DataError.

    While images do not come, `stopping` is asked whether the run should end.
    """
    known = open_dataset(data)
    _check_version(known, data)
    splits = known.load()
    kept, held = split_training(splits.train.labels, data)
    if data.evaluate_on == "val":
        judged, chosen = splits.val, np.arange(len(splits.val.labels))
    else:
        judged, chosen = splits.train, held
    ranks = ranks or DistContext()
    place = _LoaderArgs(
        image_size=image_size,
        seed=seed,
        device=device,
        workers=workers,
        ranks=ranks,
        stopping=stopping,
    )
    order = Sampler(images=len(kept), batch_size=batch_size, repeats=augment.repeats, seed=seed)
    training = _training(known, splits.train, kept, order, augment, place)
    return Pipeline(
        steps_per_epoch=order.steps_per_epoch,
        classes=known.classes,
        channels=known.channels,
        mean=known.mean,
        std=known.std,
        train_images=len(kept),
        eval_images=len(chosen),
        batch_size=batch_size,
        dist=ranks,
        augment=augment,
        seed=seed,
        training=training,
        val=_judging(judged, chosen, eval_crop, place),
        train_eval=_whole(training, splits.train, kept, eval_crop, place),
        class_order=known.class_order(),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _LoaderArgs:
    """Where images go to, and in which size."""

    image_size: int
    seed: int
    device: torch.device
    workers: int
    ranks: DistContext
    stopping: Stopping


def _check_version(known: DataSet, data: DataConfig) -> None:
    if data.version and data.version != known.version:
        raise DataError(
            f"data set {data.name}: the run was planned with version {data.version}, "
            f"the images here are version {known.version}; plan it again"
        )


def _training(
    known: DataSet,
    split: Split,
    kept: NDArray[np.int64],
    order: Sampler,
    augment: Augment,
    place: _LoaderArgs,
) -> TrainingSource:
    if isinstance(split, Arrays) and not per_image(augment):
        images, labels = _moved(split, kept, place.device)
        return MemoryTraining(
            images=images,
            labels=labels,
            order=order,
            augment=augment,
            image_size=place.image_size,
            ranks=place.ranks,
        )
    transform = training_transform(
        augment, image_size=place.image_size, native=known.size, mean=known.mean
    )
    return LoaderTraining(
        images=Images(split, kept, transform, seed=place.seed),
        order=order,
        device=place.device,
        workers=place.workers,
        ranks=place.ranks,
        stopping=place.stopping,
    )


def _judging(
    split: Split, chosen: NDArray[np.int64], eval_crop: float, place: _LoaderArgs
) -> EvaluationSource:
    if isinstance(split, Arrays):
        images, labels = _moved(split, chosen, place.device)
        return MemoryEvaluation(
            images=images,
            labels=labels,
            image_size=place.image_size,
            eval_crop=eval_crop,
            ranks=place.ranks,
        )
    transform = evaluation_transform(image_size=place.image_size, eval_crop=eval_crop)
    return LoaderEvaluation(
        images=Images(split, chosen, transform, seed=place.seed),
        device=place.device,
        workers=place.workers,
        ranks=place.ranks,
        stopping=place.stopping,
    )


def _whole(
    training: TrainingSource,
    split: Split,
    kept: NDArray[np.int64],
    eval_crop: float,
    place: _LoaderArgs,
) -> EvaluationSource:
    """The training images for looking up; those in memory are shared with `training`."""
    if isinstance(training, MemoryTraining):
        return MemoryEvaluation(
            images=training.images,
            labels=training.labels,
            image_size=place.image_size,
            eval_crop=eval_crop,
        )
    return _judging(split, kept, eval_crop, place)


def _moved(split: Arrays, chosen: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(split.images[chosen]).to(device)
    return images, torch.from_numpy(split.labels[chosen]).to(device)
