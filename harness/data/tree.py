"""Folders of images, `<split>/<class>/*`, as a directory or read in place from one zip."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import warnings
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
)


class ImageTree(ABC):
    """The image files below one root, by their path relative to it, with `/` between the parts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def names(self) -> list[str]:
        """All images, sorted."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Bytes of one image, unpacked."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of one image; OSError, KeyError or a zip's error if it cannot be read."""

    def image(self, name: str, *, channels: int) -> Image:
        """One decoded image, RGB or grey; DataError if it is missing, truncated or no image."""
        from PIL import Image, UnidentifiedImageError

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's remarks on odd EXIF data and palettes
                return Image.open(io.BytesIO(self.read(name))).convert(
                    "RGB" if channels == 3 else "L"
                )
        except (
            OSError,
            KeyError,
            ValueError,
            SyntaxError,
            zipfile.BadZipFile,
            zlib.error,
            struct.error,
        ) as error:
            what = "no known image format" if isinstance(error, UnidentifiedImageError) else error
            raise DataError(
                f"{self.path / name}: cannot be read as an image ({what}); get it again"
            ) from error

    def fingerprint(self) -> str:
        """Of all names and sizes, no image is read; a directory and a zip of it have the same."""
        digest = hashlib.sha256()
        for name in self.names():
            digest.update(f"{name}\0{self.size(name)}\n".encode())
        return digest.hexdigest()[:12]


class Directory(ImageTree):
    """Images in a directory."""

    def names(self) -> list[str]:
        return sorted(_walk(self.path, ""))

    def size(self, name: str) -> int:
        return (self.path / name).stat().st_size

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()


class Zip(ImageTree):
    """Images in a zip; a single folder around everything in it is looked through."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._open: tuple[int, zipfile.ZipFile] | None = None
        files = [entry.filename for entry in self._archive().infolist() if not entry.is_dir()]
        images = [name for name in files if _is_image(name)]
        tops = {name.split("/", 1)[0] for name in images}
        wrapped = len(tops) == 1 and all(name.count("/") > 2 for name in images)
        self._prefix = f"{tops.pop()}/" if wrapped else ""
        self._names = sorted(name.removeprefix(self._prefix) for name in images)

    def names(self) -> list[str]:
        return self._names

    def size(self, name: str) -> int:
        return self._archive().getinfo(self._prefix + name).file_size

    def read(self, name: str) -> bytes:
        return self._archive().read(self._prefix + name)

    def _archive(self) -> zipfile.ZipFile:
        # every process reads through a file of its own: a forked one would share the position
        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), _open_zip(self.path))
        return self._open[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}


def open_tree(path: Path) -> ImageTree:
    """The images at `path`; DataError if there is no directory and no zip."""
    if path.is_dir():
        return Directory(path)
    if path.is_file():
        return Zip(path)
    raise DataError(f"{path}: no such directory or zip")


def files_version(path: Path) -> str:
    """The version of a user's own images: their fingerprint, taken once per process."""
    return f"files-{_fingerprint(path, path.stat().st_mtime_ns)}"


@lru_cache(maxsize=4)
def _fingerprint(path: Path, changed: int) -> str:
    return open_tree(path).fingerprint()


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: truncated or not a zip ({error}); get it again") from error


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/")
        elif _is_image(entry.name):
            yield prefix + entry.name


def _is_image(name: str) -> bool:
    base = name.rsplit("/", 1)[-1]
    hidden = base.startswith(".") or name.startswith("__MACOSX/")
    return not hidden and os.path.splitext(base)[1].lower() in SUFFIXES
