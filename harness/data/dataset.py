"""What a data set is: facts that need no file, origins in order, and the images themselves."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from harness.data.cache import CacheError, arrived, only_one, read_arrays, write_arrays
from harness.data.fetch import offline
from harness.data.naming import from_bytes
from harness.data.paths import cache_dir, own_copy
from harness.data.telling import Telling
from harness.errors import DataError
from harness.registry import Registry
from harness.text import duration

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from harness.data.config import DataConfig
    from harness.data.tree import ImageTree

DATASETS: Registry[DataSet] = Registry("data set", "harness.data.sets", base=lambda: DataSet)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Labelling: TypeAlias = Literal["classes", "boxes", "masks"]
"""What is known of an image: its class, boxes around its objects, or the class of every pixel."""

LABELLINGS: Final[frozenset[Labelling]] = frozenset({"classes", "boxes", "masks"})


def off_scale(mean: Sequence[float], std: Sequence[float]) -> str:
    """Why these cannot be of images whose pixels are in [0, 1]; empty where they can."""
    if all(0 <= value <= 1 for value in mean) and all(0 < value <= 1 for value in std):
        return ""
    means, stds = (", ".join(f"{value:g}" for value in values) for values in (mean, std))
    in_bytes = 1 < max(*mean, *std) <= 255 and min(*mean, *std) >= 0
    return (
        f"mean {means} and std {stds} are not of pixels in 0..1, where a mean is from 0 to 1, and "
        "a std above 0 and at most 1"
    ) + ("; they look like those of pixels in 0..255: divide by 255" if in_bytes else "")


class DenseTargets(Protocol):
    """The boxes or the mask of each image; an array of them is one. `harness.data.dense` says how
    they look.
    """

    def __getitem__(self, index: int, /) -> NDArray[Any]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrays:
    """A split that lives in memory."""

    images: NDArray[np.uint8] | NDArray[np.float32]  # (N, C, H, W); floats of spectrograms
    labels: NDArray[np.int64]  # (N,)
    targets: DenseTargets | None = None  # boxes or masks of each image; its label is then 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """A split whose images are decoded when they are wanted."""

    tree: ImageTree
    names: NDArray[np.bytes_]  # (N,), relative to the tree, UTF-8
    labels: NDArray[np.int64]  # (N,)
    channels: int
    targets: DenseTargets | None = None  # boxes or masks of each image; its label is then 0

    def image(self, index: int) -> Image:
        """One decoded image; DataError names the file that is not one."""
        return self.tree.image(self._name(index), channels=self.channels)

    def content(self, index: int) -> bytes:
        """The file of one image, as it is."""
        return self.tree.read(self._name(index))

    def path(self, index: int) -> str:
        """Where one image lies, for messages."""
        return self.tree.where(self._name(index))

    def _name(self, index: int) -> str:
        return from_bytes(bytes(self.names[index]))


Split = Arrays | Files


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """The two halves of a data set."""

    train: Split
    val: Split


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One place a data set can come from."""

    label: str  # as `harness data list` shows it
    read: Callable[[], Splits]  # raises DataError that says why this origin cannot serve
    # quick look whether it is on this machine; None: a download
    here: Callable[[], bool] | None = None
    size: int = 0  # bytes of the download, about


def own_source(
    label: str, find: Callable[[], Path | None], read: Callable[[Path], Splits]
) -> Source:
    """The user's copy, wherever `find` sees one."""

    def found() -> Splits:
        path = find()
        if path is None:
            raise DataError("not found")
        return read(path)

    return Source(label=label, read=found, here=lambda: find() is not None)


class DataSet(ABC):
    """The facts of a data set, known without reading it, and how to get at its images."""

    name: str
    title: str
    licence: str
    classes: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_images: int
    val_images: int
    size: int | None  # pixels, of square images; None: they differ
    width: int | None = None  # pixels, of images that are no squares
    in_memory: bool
    labelling: Labelling = "classes"  # what is known of an image; `classes` are those of it
    spectrograms: bool = False  # log energies, mel bins by windows, which are no pixels
    judges_only: bool = False  # nobody trains on it: both halves are the images that judge
    folds: int = 0  # parts of equal size, each of which can judge what learns from the others
    # what every channel of a pixel is where there is no object; None: nobody has marked objects
    background: int | None = None
    next_step: str  # what to do when no origin works
    # training images of the smallest class, where that is known without looking; 0: not known
    smallest_class: int = 0

    @property
    @abstractmethod
    def version(self) -> str:
        """Content based: other images are another version, and another run."""

    @property
    @abstractmethod
    def origins(self) -> tuple[Source, ...]:
        """Where it comes from; the first that works wins."""

    @abstractmethod
    def read(self, path: Path) -> Splits:
        """The copy at `path`, checked as far as possible without decoding every image."""

    def version_at(self, path: Path) -> str:
        """The version of the copy at `path`, which `read` has accepted."""
        return self.version

    def class_order(self) -> str | None:
        """How classes count, where a classifier from elsewhere may count them in another order."""
        return None

    def left_out(self, path: Path | None) -> list[str]:
        """What of the copy at `path` (or the first here) is no part of the set: a line for each."""
        return []

    @property
    def cache_file(self) -> Path | None:
        """Where verified images are kept for the next opening; None: not kept."""
        return None

    def of(self, config: DataConfig) -> DataSet:
        """This data set as `config` describes it: only sets of image files depend on it."""
        return self.packed_at(config.packed)

    def packed_at(self, shorter_side: int | None) -> DataSet:
        """This data set as a pack holds it; DataError for a set that lives in memory, or has boxes
        or masks: they fit images as they came.
        """
        if shorter_side is not None:
            what = "lives in memory" if self.in_memory else f"has {self.labelling}"
            raise DataError(
                f"data set {self.name}: `packed` is for sets of image files in classes, and this "
                f"one {what}; leave it out"
            )
        return self

    @property
    def pack_name(self) -> str:
        """What its packs are called; DataError where it cannot be packed."""
        if self.in_memory:
            raise DataError(f"data set {self.name} lives in memory: it needs no pack")
        raise DataError(
            f"data set {self.name} cannot be packed: a pack holds images alone, and no annotations"
        )

    @property
    def unpacked(self) -> Path | None:
        """The user's own copy, which a pack is made of; None where there is none."""
        return None

    def class_counts(self) -> tuple[int, ...]:
        """Training images per class; equal unless a set says otherwise. Images with boxes or masks
        are of no class, and count as one.
        """
        if self.labelling != "classes":
            return (self.train_images,)
        return (self.train_images // self.classes,) * self.classes

    def missing(self) -> str | None:
        """What this machine lacks and the next step; None when the set seems to be here. DataError
        where that cannot be told.
        """
        cached = self.cache_file
        if cached is not None and os.path.isfile(cached):  # as `load`, which may not read it either
            return None
        if any(origin.here() for origin in self.origins if origin.here is not None):
            return None
        looked = ""
        if self.download is not None:
            places = [str(path) for path in (*own_copy(self.name)[1:], cache_dir())]
            looked = f" (looked in {' and '.join(places)})"
        return f"data set {self.name} is not on this machine{looked}: {self.remedy}"

    def load(self, tell: Telling | None = None) -> Splits:
        """The images, from the cache or the first origin that works; DataError lists all tried,
        CacheError where a download has no room.

        Where they are kept in the cache, processes that want the same set wait for one of them.
        """
        cached = self.cache_file
        tell = tell or Telling()
        if cached is None:
            return self._from_origins(tell)
        if (splits := _cached(cached)) is not None:
            return splits
        with only_one(self.name, tell):
            if (splits := _cached(cached)) is not None:
                return splits  # another process was faster
            splits = self._from_origins(tell)
            if self.cache_file != cached:  # which would keep them under another version for good
                raise DataError(
                    f"data set {self.name}: the images changed while they were read; run again"
                )
            if (why := _keep(cached, splits)) is not None:
                tell.say(f"  {self.name} cannot be kept at {cached}: {why}")
            return splits

    def _from_origins(self, tell: Telling) -> Splits:
        failures = []
        for origin in self.origins:
            start = time.monotonic()
            try:
                splits = self._from(origin, tell)
            except CacheError:
                raise  # the others have no room either
            except DataError as error:
                failures.append((origin, error))
                tell.say(f"  trying {origin.label}: {error}")
                continue
            size = f"{origin.size / 1e6:.0f} MB " if origin.size else "read "
            tell.say(f"  trying {origin.label}: {size}in {duration(time.monotonic() - start)}")
            return splits
        tried = "\n".join(f"  - {origin.label}: {error}" for origin, error in failures)
        advice = "" if tried.endswith(self.next_step) else f"\n{self.next_step}"
        raise DataError(f"data set {self.name}: no origin works\n{tried}{advice}")

    def _from(self, origin: Source, tell: Telling) -> Splits:
        if origin.here is not None:
            return origin.read()
        if offline():
            raise DataError("HARNESS_OFFLINE forbids downloads")

        most = 0

        def state() -> str:
            nonlocal most
            most = max(most, arrived(self.name))
            if most > origin.size:
                return "unpacking"
            return f"{most / 1e6:.0f} of {origin.size / 1e6:.0f} MB"

        with tell.showing(state, f"trying {origin.label}"):
            return origin.read()

    @property
    def download(self) -> int | None:
        """Bytes, about, that would be downloaded; None: only the user can supply the set."""
        sizes = [origin.size for origin in self.origins if origin.here is None]
        return max(sizes, default=None)

    @property
    def remedy(self) -> str:
        """How to get the set onto this machine: by a command, if it can be downloaded."""
        if self.download is None:
            return self.next_step
        if offline():
            return f"HARNESS_OFFLINE forbids to download it. {self.next_step}"
        size = f"{self.download / 1e6:.0f} MB"
        return f"`harness run` downloads it first ({size}), as does `harness data get {self.name}`"


def cache_path(name: str, version: str) -> Path:
    """The cache file of one version of a set."""
    return cache_dir() / f"{name}-{version}.npz"


def _cached(path: Path) -> Splits | None:
    arrays = read_arrays(path)
    if arrays is None:
        return None
    halves = []
    for half in ("train", "val"):
        images, labels = arrays.get(f"{half}_images"), arrays.get(f"{half}_labels")
        if images is None or labels is None or images.ndim != 4 or labels.shape != images.shape[:1]:
            return None  # not written by this code: get the images anew
        if images.dtype.name not in ("uint8", "float32") or labels.dtype.name != "int64":
            return None
        halves.append(Arrays(images=images, labels=labels))
    return Splits(train=halves[0], val=halves[1])


def _keep(path: Path, splits: Splits) -> str | None:
    train, val = splits.train, splits.val
    assert isinstance(train, Arrays)
    assert isinstance(val, Arrays)
    arrays: dict[str, NDArray[Any]] = {
        "train_images": train.images,
        "train_labels": train.labels,
        "val_images": val.images,
        "val_labels": val.labels,
    }
    return write_arrays(path, arrays)
