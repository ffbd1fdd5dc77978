"""Fashion-MNIST, the embedded default: small, real, freely licensed, and packaged by Debian."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data import DATASETS
from harness.data.cache import scratch
from harness.data.dataset import Arrays, DataSet, Source, Splits, cache_path
from harness.data.fetch import debian_package, download
from harness.data.paths import cannot_read, is_file, own_copy
from harness.data.tree import open_regular
from harness.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SYSTEM = Path("/usr/share/datasets/fashion-mnist")
PACKAGE = "dataset-fashion-mnist"
SERVER = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
DOWNLOAD = 30_900_000  # bytes, from either
# SHA-256 of the unpacked files. Debian's .gz lack the names and dates in the authors' headers:
# they differ from the published ones although their content is the same (with the headers put back,
# the published MD5 sums come out).
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


class FashionMnist(DataSet):
    """60,000 + 10,000 grey pictures of clothes, 10 balanced classes (arXiv:1708.07747)."""

    name = "fashion-mnist"
    title = "Fashion-MNIST"
    licence = "MIT"
    classes = 10
    channels = 1
    mean = (0.2860,)
    std = (0.3530,)
    train_images = 60_000
    val_images = 10_000
    size = 28
    in_memory = True
    background = 0
    sha256: Mapping[str, str] = SHA256
    server = SERVER
    next_step = (
        f"Install the Debian package {PACKAGE}, or put the four IDX files (plain or .gz) into "
        "$HARNESS_DATA/fashion-mnist; then `harness data verify fashion-mnist`."
    )

    @property
    def version(self) -> str:
        """From the checksums of the four files."""
        return hashlib.sha256("".join(self.sha256.values()).encode()).hexdigest()[:12]

    @property
    def cache_file(self) -> Path:
        """One file of verified arrays."""
        return cache_path(self.name, self.version)

    @property
    def origins(self) -> tuple[Source, ...]:
        """The user's copy, Debian's installed package, the authors' server, Debian's archive."""
        return (
            Source(
                label="$HARNESS_DATA/fashion-mnist",
                read=lambda: self._from_folders(own_copy(self.name), "HARNESS_DATA is not set"),
                here=lambda: self._complete(own_copy(self.name)),
            ),
            Source(
                label=f"{SYSTEM} (Debian package {PACKAGE})",
                read=lambda: self._from_folders((SYSTEM,), ""),
                here=lambda: self._complete((SYSTEM,)),
            ),
            Source(label="the authors' server", read=self._from_server, size=DOWNLOAD),
            Source(
                label=f"apt-get download {PACKAGE}, unpacked without root",
                read=self._from_apt,
                size=DOWNLOAD,
            ),
        )

    def read(self, path: Path) -> Splits:
        """The four IDX files of the folder `path`, verified."""
        return Splits(
            train=self._split(path, "train", self.train_images),
            val=self._split(path, "t10k", self.val_images),
        )

    def _split(self, folder: Path, prefix: str, count: int) -> Arrays:
        import numpy as np

        images = self._file(folder, f"{prefix}-images-idx3-ubyte", (count, self.size, self.size))
        labels = self._file(folder, f"{prefix}-labels-idx1-ubyte", (count,))
        return Arrays(images=images[:, None], labels=labels.astype(np.int64))

    def _file(self, folder: Path, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        path = _find(folder, name)
        if path is None:
            raise DataError(f"{folder / name}.gz: no such file")
        return read_idx(path, shape=shape, sha256=self.sha256[name])

    def _from_folders(self, folders: Sequence[Path], none: str) -> Splits:
        if not folders:
            raise DataError(none)
        # the first that holds any of the files is meant; its errors are then the telling ones
        meant = [folder for folder in folders if any(_find(folder, name) for name in self.sha256)]
        return self.read((*meant, folders[0])[0])

    def _complete(self, folders: Sequence[Path]) -> bool:
        return any(all(_find(folder, name) for name in self.sha256) for folder in folders)

    def _from_server(self) -> Splits:
        with scratch(self.name) as folder:
            for name in self.sha256:
                download(f"{self.server}/{name}.gz", folder)
            return self.read(folder)

    def _from_apt(self) -> Splits:
        with scratch(self.name) as folder:
            return self.read(debian_package(PACKAGE, folder) / SYSTEM.relative_to("/"))


def _find(folder: Path, name: str) -> Path | None:
    paths = (folder / f"{name}.gz", folder / name)
    return next((path for path in paths if is_file(path)), None)


UNSIGNED_BYTES = 8


def read_idx(path: Path, *, shape: tuple[int, ...], sha256: str) -> NDArray[np.uint8]:
    """The bytes of `path` (plain or gzip) as an array of `shape`; `sha256` is of them unpacked.

    Raises DataError when the file is missing, truncated, of another shape or of other content.
    """
    import numpy as np

    expected = 4 + 4 * len(shape) + math.prod(shape)
    content = _unpacked(path, most=expected)
    actual = _shape(path, content)
    if actual != shape:
        raise DataError(f"{path}: holds {_times(actual)} bytes, expected {_times(shape)}; {_AGAIN}")
    if len(content) != expected:
        here = f"{len(content)}" if len(content) < expected else "more"
        raise DataError(f"{path}: {here} bytes unpacked, expected {expected}; {_AGAIN}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise DataError(
            f"{path}: SHA-256 of its content is {digest[:16]}..., "
            f"expected {sha256[:16]}...; {_AGAIN}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * len(shape)).reshape(shape).copy()


_AGAIN = "delete it and get it again"


def _unpacked(path: Path, *, most: int) -> bytes:
    """At most one byte more than `most`, however much the file unpacks to."""
    try:
        with open_regular(path) as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not packed:
                return file.read(most + 1)
            with gzip.GzipFile(fileobj=file) as inside:
                return inside.read(most + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: truncated or corrupt gzip file ({error}); {_AGAIN}") from error
    except OSError as error:
        raise cannot_read(path, error) from error


def _shape(path: Path, content: bytes) -> tuple[int, ...]:
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTES]):
        raise DataError(f"{path}: not an IDX file of bytes; {_AGAIN}")
    rank = content[3]
    return tuple(
        int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(rank)
    )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(f"{length:,}" for length in shape)


DATASETS.register("fashion-mnist")(FashionMnist())
