"""CIFAR-10 and CIFAR-100: the original files, or the user's own folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.data import DATASETS
from harness.data.cache import scratch
from harness.data.content import files_version
from harness.data.dataset import Arrays, DataSet, Source, Splits, cache_path, own_source
from harness.data.fetch import with_torchvision
from harness.data.layout import check_counts, decoded, left_out, read_layout
from harness.data.paths import is_file, is_folder, own_copy
from harness.data.tree import open_tree
from harness.errors import DataError


class Cifar(DataSet):
    """50,000 + 10,000 pictures of 32 x 32 pixels (Krizhevsky, 2009).

    An image folder is usually a re-encoding of the original: its version is a fingerprint.
    """

    licence = "none stated; research use"
    channels = 3
    train_images = 50_000
    val_images = 10_000
    size = 32
    in_memory = True
    original: str  # MD5 of the authors' archive
    batches: str  # the folder in it
    of_torchvision: str  # torchvision's class of the set

    @property
    def next_step(self) -> str:  # type: ignore[override]
        """Where to put a copy."""
        return (
            f"Put {self.batches}/ (unpacked from the authors' archive) into "
            f"$HARNESS_DATA/{self.name}, or images as train/<class>/* and test/<class>/* there "
            f"or in $HARNESS_DATA/{self.name}.zip; "
            f"then `harness data verify {self.name}`."
        )

    @property
    def version(self) -> str:
        """From the original's checksum, or the fingerprint of the user's image folder."""
        images = self._own_images()
        if images is None:
            return self.original[:12]
        return self.version_at(images)

    def version_at(self, path: Path) -> str:
        """The original's, or a fingerprint of the images."""
        if is_folder(path / self.batches):
            return self.original[:12]
        return files_version(path)

    def missing(self) -> str | None:
        """Without a look at the user's own images: their version takes a reading."""
        return None if self._own_images() is not None else super().missing()

    @property
    def cache_file(self) -> Path:
        """One file of verified arrays, for each version its own."""
        return cache_path(self.name, self.version)

    @property
    def origins(self) -> tuple[Source, ...]:
        """The user's original files, or images in their stead; torchvision's download."""
        images = self._own_images()
        folder = own_source(
            f"$HARNESS_DATA/{self.name}(.zip), a folder of images", self._own_images, self.read
        )
        if images is not None:
            return (folder,)  # the others hold another version
        original = own_source(
            f"$HARNESS_DATA/{self.name}/{self.batches}", self._own_batches, self._original
        )
        download = Source(
            label="torchvision's download", read=self._from_download, size=170_000_000
        )
        return (original, folder, download)

    def read(self, path: Path) -> Splits:
        """The original files in the folder `path`, or its images."""
        if is_folder(path / self.batches):
            return self._original(path)
        layout = read_layout(open_tree(path), val="wanted")
        check_counts(layout, classes=self.classes, train=self.train_images, val=self.val_images)
        assert self.size is not None
        return decoded(layout, channels=self.channels, size=self.size)

    def left_out(self, path: Path | None) -> list[str]:
        """Of a folder of images, what is none."""
        path = path or self._own_images()
        if path is None or is_folder(path / self.batches):
            return []
        return left_out(open_tree(path))

    def _own_batches(self) -> Path | None:
        return next((base for base in own_copy(self.name) if is_folder(base / self.batches)), None)

    def _own_images(self) -> Path | None:
        if self._own_batches() is not None:
            return None
        for path in own_copy(self.name)[:1]:
            if is_folder(path / "train"):
                return path
            if is_file(archive := path.with_name(f"{path.name}.zip")):
                return archive
        return None

    def _from_download(self) -> Splits:
        with scratch(self.name) as folder:
            with_torchvision(lambda: self._torchvision(folder, train=True, download=True))
            return self._original(folder)

    def _original(self, root: Path) -> Splits:
        try:
            parts = [
                self._torchvision(root, train=train, download=False) for train in (True, False)
            ]
        except Exception as error:
            # torchvision checks its MD5 sums first; unpickling what passes them cannot surprise
            raise DataError(
                f"{root / self.batches}: incomplete or corrupt: a file is missing, or its MD5 sum "
                "is not that of the authors' file; unpack the archive again"
            ) from error
        train, val = (_arrays(part) for part in parts)
        return Splits(train=train, val=val)

    def _torchvision(self, root: Path, *, train: bool, download: bool) -> Any:
        """torchvision's data set, which has `data` (N, H, W, C) and `targets`."""
        import torchvision

        images = getattr(torchvision.datasets, self.of_torchvision)
        return images(str(root), train=train, download=download)


class Cifar10(Cifar):
    """10 balanced classes."""

    name = "cifar10"
    title = "CIFAR-10"
    classes = 10
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    original = "c58f30108f718f92721af3b95e74349a"
    batches = "cifar-10-batches-py"
    of_torchvision = "CIFAR10"


class Cifar100(Cifar):
    """100 balanced classes."""

    name = "cifar100"
    title = "CIFAR-100"
    classes = 100
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
    original = "eb9058c3a382ffc7106e4002c42a8d85"
    batches = "cifar-100-python"
    of_torchvision = "CIFAR100"


def _arrays(part: Any) -> Arrays:
    import numpy as np

    images = np.ascontiguousarray(np.asarray(part.data, np.uint8).transpose(0, 3, 1, 2))
    return Arrays(images=images, labels=np.asarray(part.targets, np.int64))


DATASETS.register("cifar10")(Cifar10())
DATASETS.register("cifar100")(Cifar100())
