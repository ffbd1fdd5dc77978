"""The images of a run in normalised batches on the device: to train on, and to evaluate with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.data import open_dataset
from harness.data.config import DataConfig
from harness.data.content import OF_A_COPY, files_version
from harness.data.dataset import Arrays, DataSet, Files, Labelling, Split, off_scale
from harness.data.dense import DenseImages
from harness.data.finish import CropColours, Normalise
from harness.data.mixing import erase, mix, soft_targets
from harness.data.multicrop import MultiCrop
from harness.data.naming import shown
from harness.data.sampler import Sampler
from harness.data.sources import ImageSource, MemoryImages, Setup, Stopping, never
from harness.data.subset import split_training
from harness.data.transforms import per_image
from harness.data.worker_images import WorkerImages
from harness.distributed import DistContext
from harness.errors import DataError
from harness.seeding import generator, stream

if TYPE_CHECKING:
    from harness.train.config import Augment


EVAL_BATCH = 500  # images that an evaluation looks at together
EVAL_SIDE = 224  # pixels of a side, beyond which they are fewer


@dataclass(frozen=True, kw_only=True, slots=True)
class DataModule:
    """Batches of one run. Every draw is a function of seed and step: start at any of them.

    Of each batch a process gets its slice; of each evaluation, its part of the batches.
    """

    steps_per_epoch: int
    classes: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_images: int
    eval_images: int
    eval_classes: tuple[int, ...]  # that at least one of them is of, in order
    order: Sampler
    setup: Setup
    train_source: ImageSource
    val_source: ImageSource
    train_eval_source: ImageSource  # the training images as they are
    # how classes count, where a classifier from elsewhere may count them in another order
    class_order: str | None = None
    labelling: Labelling = "classes"
    version: str = ""  # that the run was planned with
    own_files: Path | None = None  # which are read all the time, and whose contents the version is

    @property
    def batch(self) -> int:
        """Images of a batch, over all processes."""
        return min(self.order.batch_size, self.train_images)

    @property
    def eval_batch(self) -> int:
        """Images that an evaluation looks at together: `EVAL_BATCH` of `EVAL_SIDE` pixels and less,
        and of larger ones as many as have no more pixels.
        """
        return max(1, EVAL_BATCH * EVAL_SIDE**2 // max(self.setup.image_size, EVAL_SIDE) ** 2)

    def changed(self) -> str | None:
        """That the user's own images are others than at the beginning, by a look at every file;
        None where they are not, or are known by the publisher's name. DataError if they are gone.
        """
        if self.own_files is None or (now := files_version(self.own_files)) == self.version:
            return None
        return (
            f"{shown(self.own_files)}: the images changed while the run read them (version "
            f"{self.version} is now {now}); nothing was kept, run again"
        )

    def train(self, step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(images (B, C, H, W) normalised, soft targets (B, classes)) from `step` on, endless.

        Of a dense set the targets are boxes or masks, as `harness.data.dense` says.
        `train(k)` yields exactly what `train(0)` yields from its k-th item on.
        """
        for at, (images, labels) in enumerate(self.train_labelled(step), step):
            yield (
                self._mixed(images, labels, at) if self.labelling == "classes" else (images, labels)
            )

    def train_labelled(self, step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """As `train`, without what mixes images and labels: labels are classes (B,)."""
        for pixels, labels in self.train_source.train(self.order, step):
            yield self.normalised(pixels), labels

    def train_crops(
        self, crops: MultiCrop, step: int = 0
    ) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """(crops, each (B, C, S, S) normalised, labels (B,)) from `step` on, without end."""
        colours = CropColours(
            crops=crops,
            image_size=self.setup.image_size,
            seed=self.setup.seed,
            batch_slice=self.setup.dist.batch_slice(self.batch),
            normalise=self._normalise,
        )
        yield from self.train_source.crops(self.order, crops, step, colours)

    def val(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(images (B, C, H, W) normalised, labels (B,)) over every image that evaluates, once."""
        for pixels, labels in self.val_source.in_order(batch_size):
            yield self.normalised(pixels), labels

    def train_eval(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As `val`, over every training image as it is: what k-NN looks up."""
        for pixels, labels in self.train_eval_source.in_order(batch_size):
            yield self.normalised(pixels), labels

    def normalised(self, pixels: Tensor) -> Tensor:
        """From pixels in 0..255 to zero mean and unit spread over the data set."""
        return self._normalise(pixels)

    @property
    def _normalise(self) -> Normalise:
        return Normalise(mean=self.mean, std=self.std)

    def _mixed(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        augment, seed = self.setup.augment, self.setup.seed
        if augment.erasing > 0:
            images = erase(
                images,
                probability=augment.erasing,
                generator=generator(seed, "augment", step, "erasing"),
                batch_slice=self.setup.dist.batch_slice(self.batch),
            )
        targets = soft_targets(labels, classes=self.classes, smoothing=augment.label_smoothing)
        if augment.mixup > 0 or augment.cutmix > 0:
            draws = Random(stream(seed, "augment", step, "mix"))
            images, targets = mix(images, targets, augment, draws=draws)
        return images, targets


def open_data(
    data: DataConfig,
    augment: Augment,
    *,
    image_size: int,
    batch_size: int,
    eval_crop: float,
    seed: int,
    device: torch.device,
    workers: int,
    dist: DistContext | None = None,
    stopping: Stopping = never,
) -> DataModule:
    """The batches of a run; loads (and where needed fetches) the data set. Raises DataError.

    While images do not come, `stopping` is asked whether the run should end.
    """
    dataset = open_dataset(data)
    wrong = "" if dataset.spectrograms else off_scale(dataset.mean, dataset.std)
    if wrong:
        raise DataError(f"data set {dataset.name}: {wrong}")
    splits = dataset.load()
    _check_version(dataset, data)
    trained_on, held_out = split_training(splits.train.labels, data)
    if data.evaluate_on == "val":
        eval_split, evaluated = splits.val, np.arange(len(splits.val.labels))
    else:
        eval_split, evaluated = splits.train, held_out
    setup = Setup(
        augment=augment,
        image_size=image_size,
        mean=dataset.mean,
        classes=dataset.classes,
        native=dataset.size,
        eval_crop=eval_crop,
        seed=seed,
        device=device,
        workers=workers,
        dist=dist or DistContext(),
        stopping=stopping,
    )
    order = Sampler(
        images=len(trained_on), batch_size=batch_size, repeats=augment.repeats, seed=seed
    )
    train_eval, val = (
        _source(split, chosen, setup)
        for split, chosen in ((splits.train, trained_on), (eval_split, evaluated))
    )
    # parts of some recipes work on one image at a time only, even of images in memory
    alone = per_image(augment) and dataset.labelling == "classes"
    train = WorkerImages(splits.train, trained_on, setup) if alone else train_eval
    return DataModule(
        steps_per_epoch=order.steps_per_epoch,
        classes=dataset.classes,
        channels=dataset.channels,
        mean=dataset.mean,
        std=dataset.std,
        train_images=len(trained_on),
        eval_images=len(evaluated),
        eval_classes=tuple(np.unique(eval_split.labels[evaluated]).tolist()),
        order=order,
        setup=setup,
        train_source=train,
        val_source=val,
        train_eval_source=train_eval,
        class_order=dataset.class_order(),
        labelling=dataset.labelling,
        version=data.version,
        own_files=_own_files(splits.train, data.version),
    )


def _own_files(split: Split, version: str) -> Path | None:
    if isinstance(split, Files) and version.startswith(OF_A_COPY):
        return split.tree.path
    return None


def _source(split: Split, chosen: NDArray[np.int64], setup: Setup) -> ImageSource:
    if split.targets is not None:
        return DenseImages(split, chosen, setup)
    if isinstance(split, Arrays):
        return MemoryImages(split, chosen, setup)
    return WorkerImages(split, chosen, setup)


def _check_version(dataset: DataSet, data: DataConfig) -> None:
    if data.version and data.version != dataset.version:
        raise DataError(
            f"data set {data.name}: the run was planned with version {data.version}, "
            f"the images here are version {dataset.version}; plan it again"
        )
