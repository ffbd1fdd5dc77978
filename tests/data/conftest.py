"""Small data sets on disk, in the formats of the real ones."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from harness.data import DATASETS
from harness.data.config import DataConfig
from harness.data.dataset import Arrays, Source, Splits
from harness.data.module import DataModule, open_data
from harness.data.sets.fashion_mnist import FashionMnist
from harness.train.config import Augment

TRAIN, VAL = 60, 20


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$HARNESS_DATA, empty; the cache is empty too."""
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def fashion(fashion_mnist: Splits) -> tuple[Arrays, Arrays]:
    """The real Fashion-MNIST."""
    return arrays(fashion_mnist)


def opened(
    augment: Augment,
    data: DataConfig | str = "small-fashion",
    *,
    size: int = 28,
    batch: int = 16,
    crop: float = 0.875,
    seed: int = 0,
    workers: int = 0,
) -> DataModule:
    """Batches of a set on the CPU; most tests ask for little of this."""
    return open_data(
        DataConfig(name=data) if isinstance(data, str) else data,
        augment,
        image_size=size,
        batch_size=batch,
        eval_crop=crop,
        seed=seed,
        device=torch.device("cpu"),
        workers=workers,
    )


def small_files() -> dict[str, bytes]:
    """Four IDX files like Fashion-MNIST's, with 60 + 20 images of 10 classes."""
    draws = np.random.default_rng(0)
    files = {}
    for prefix, count in (("train", TRAIN), ("t10k", VAL)):
        images = draws.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        files[f"{prefix}-images-idx3-ubyte"] = idx(images)
        files[f"{prefix}-labels-idx1-ubyte"] = idx(labels)
    return files


def idx(array: NDArray[np.uint8]) -> bytes:
    """An array in the IDX format."""
    lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes()


class SmallFashion(FashionMnist):
    """Fashion-MNIST with 80 random images, and no download."""

    name = "small-fashion"
    train_images = TRAIN
    val_images = VAL
    sha256: Mapping[str, str] = {
        name: hashlib.sha256(content).hexdigest() for name, content in small_files().items()
    }

    @property
    def origins(self) -> tuple[Source, ...]:
        return super().origins[:2]


@pytest.fixture
def small(home: Path, monkeypatch: pytest.MonkeyPatch) -> SmallFashion:
    """A registered set whose four files lie in $HARNESS_DATA/small-fashion."""
    folder = home / "small-fashion"
    folder.mkdir()
    for name, content in small_files().items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    DATASETS.names()
    known = SmallFashion()
    monkeypatch.setitem(DATASETS._items, "small-fashion", known)
    return known


def write_images(
    root: Path, counts: Mapping[str, int], *, size: tuple[int, int] = (20, 16), suffix: str = "png"
) -> None:
    """Random pictures, `counts` of them in each folder."""
    draws = np.random.default_rng(1)
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = draws.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{number:03}.{suffix}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image folder with 2 classes, 12 + 3 images each."""
    root = tmp_path / "pets"
    write_images(root, {"train/cat": 12, "train/dog": 12, "val/cat": 3, "val/dog": 3})
    return root


@pytest.fixture
def zipped(tmp_path: Path) -> Callable[..., Path]:
    """Packs a folder into a zip, below `prefix`."""

    def pack(root: Path, prefix: str = "") -> Path:
        path = tmp_path / f"{root.name}{len(prefix)}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(root.rglob("*")):
                archive.write(file, prefix + str(file.relative_to(root)))
        return path

    return pack


def arrays(splits: Splits) -> tuple[Arrays, Arrays]:
    """Both splits of a set in memory."""
    assert isinstance(splits.train, Arrays)
    assert isinstance(splits.val, Arrays)
    return splits.train, splits.val
