"""Writes packs: a folder's images as they are, or each with a smaller shorter side, as JPEG.

A pack that was begun lies beside the place of the finished one, under a hidden name. Whoever is
asked for the same pack again goes on behind its last whole image.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from harness.data.content import OF_A_COPY
from harness.data.dataset import DataSet, Files
from harness.data.image_tree import ImageTree
from harness.data.naming import from_bytes, shown, to_bytes
from harness.data.pack import END, MAGIC, ORIGIN, RECORD, TRAILER, Pack, index_of, suffix
from harness.data.packs import Times, pack_path, times
from harness.data.telling import Telling
from harness.data.threads import in_threads
from harness.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Header = tuple[int, int, bytes]  # length, CRC-32, SHA-256

QUALITY: Final = 95
"""Of JPEG. Whoever changes it, or the way to reduce, changes `pack.suffix` too: pixels differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """A pack that is there."""

    path: Path
    version: str  # of the set that is read from it
    images: int
    size: int  # bytes
    new: bool  # False: it was there before


def pack_set(
    dataset: DataSet, *, path: Path | None, shorter_side: int | None, to: Path | None, tell: Telling
) -> Packed:
    """Packs the copy of a set at `path` (or the one found), and reads the pack as a run would."""
    name, smaller = dataset.pack_name, dataset.packed_at(shorter_side)
    path = path or dataset.unpacked
    if path is None:
        version, splits = dataset.version, dataset.load(tell)
    else:
        splits, version = dataset.read(path), dataset.version_at(path)
    files = splits.train
    assert isinstance(files, Files), "sets in memory have no name for a pack"
    place = pack_path(name, version, shorter_side) if to is None else to
    other = path is not None and place.exists() and _of_others(files, version, place)
    if other and to is not None:
        raise DataError(
            f"{shown(place)}: was made of other images than {shown(files.tree.path)} holds now; "
            "remove it, and pack them again"
        )
    new = other or not place.exists()
    if new:
        write_pack(files.tree, place, shorter_side=shorter_side, channels=files.channels, tell=tell)
    smaller.read(place)
    found, wanted = smaller.version_at(place), f"{version}{suffix(shorter_side)}"
    if found != wanted:
        raise DataError(
            f"{shown(place)}: holds version {found}, the images are version {wanted} now; remove "
            "it, and pack them again"
        )
    about = Pack(place).about
    return Packed(
        path=place, version=found, images=about["images"], size=place.stat().st_size, new=new
    )


def _of_others(files: Files, version: str, place: Path) -> bool:
    """Whether the pack at `place` was made of other files: their times tell it where the version of
    the set does not.
    """
    if version.startswith(OF_A_COPY):
        return False
    pack = Pack(place)
    made = _planned(files.tree, shorter_side=pack.shorter_side, channels=files.channels)
    return pack.origin != made.origin_as(pack.about["how"])


@dataclass(frozen=True, slots=True)
class _PackPlan:
    """A pack that is to be written."""

    tree: ImageTree
    names: Sequence[bytes]  # sorted
    times: Times  # of the tree, before it is read
    shorter_side: int | None
    channels: int

    @property
    def origin(self) -> bytes:
        """Of what it is made and how; a pack that was begun of something else is begun anew."""
        return self.origin_as(self.how())

    def origin_as(self, how: str) -> bytes:
        """The same where it is made in the way `how`."""
        digest = hashlib.sha256(how.encode())
        for name in self.names:
            stamp = self.tree.stamp(from_bytes(name))
            digest.update(b"%s\0%s\0" % (name, ",".join(map(str, stamp)).encode()))
        return digest.digest()

    def how(self) -> str:
        """In words, for those who open the pack."""
        if self.shorter_side is None:
            return "files as they came"
        import PIL

        return (
            f"shorter sides of more than {self.shorter_side} px reduced to that (bicubic), as JPEG "
            f"of quality {QUALITY} by Pillow {PIL.__version__}; other files as they came"
        )

    def record(self, name: bytes) -> tuple[bytes, bytes]:
        """The header of an image, and what is stored; DataError for one that cannot be used."""
        text = from_bytes(name)
        content = self.tree.read(text)
        sha256 = hashlib.sha256(content).digest()
        if self.shorter_side is not None:
            image = self.tree.decoded(text, content, channels=self.channels)
            if min(image.size) > self.shorter_side:
                content = _reduced(image, self.shorter_side)
        return RECORD.pack(len(content), zlib.crc32(content), sha256), content


def _reduced(image: Image, shorter_side: int) -> bytes:
    """A JPEG of the image with that shorter side, of the same proportions."""
    from PIL import Image as Images

    short = min(image.size)
    width, height = (max(1, round(side * shorter_side / short)) for side in image.size)
    into = io.BytesIO()
    smaller = image.resize((width, height), Images.Resampling.BICUBIC)
    smaller.save(into, "JPEG", quality=QUALITY)
    return into.getvalue()


def write_pack(
    tree: ImageTree,
    path: Path,
    *,
    shorter_side: int | None,
    channels: int,
    tell: Telling,
) -> Pack:
    """The pack at `path` with all images of `tree`, written or completed; it appears there whole.

    DataError for an image that cannot be read, a disk that is full, another process at it.
    """
    if tree.shorter_side is not None:
        raise DataError(
            f"{shown(tree.path)}: holds images that were made smaller; pack the images as they came"
        )
    wanted = _planned(tree, shorter_side=shorter_side, channels=channels)
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(partial, path) as file:
            _fill(file, wanted, tell)
            os.replace(partial, path)
    except OSError as error:
        raise DataError(
            f"{shown(path)}: cannot be written ({error.strerror}); make room, or name another "
            "place by `--to`: given again, the command goes on where it stopped"
        ) from error
    return Pack(path)


def _planned(tree: ImageTree, *, shorter_side: int | None, channels: int) -> _PackPlan:
    images = tree.listing().images
    names = sorted(map(to_bytes, images))
    return _PackPlan(tree, names, times(tree.path, images), shorter_side, channels)


@contextmanager
def _alone(partial: Path, path: Path) -> Iterator[BinaryIO]:
    """The file that becomes the pack, open; DataError where another process writes it. That one's
    lock ends with it.
    """
    with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b") as file:
        with suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise _another(path) from error
        # between opening and locking another process may have finished it, and given it its name
        if not partial.exists() or not os.path.samestat(os.fstat(file.fileno()), partial.stat()):
            raise _another(path)
        yield file


def _another(path: Path) -> DataError:
    return DataError(f"{shown(path)}: another process is writing it; wait for that one")


def _fill(file: BinaryIO, wanted: _PackPlan, tell: Telling) -> None:
    """All of a pack, on disk when this returns."""
    headers = _done(file, wanted, tell)
    begin = len(MAGIC) + ORIGIN
    starts = []
    for length, _, _ in headers:
        starts.append(begin + RECORD.size)
        begin += RECORD.size + length
    count = len(wanted.names)

    def state() -> str:
        return f"{len(headers):,} of {count:,} images, {begin / 1e9:.1f} GB"

    with tell.showing(state, f"packing {shown(wanted.tree.path)}"):
        for header, content in in_threads(wanted.record, wanted.names[len(headers) :]):
            file.write(header)
            file.write(content)
            starts.append(begin + RECORD.size)
            begin += RECORD.size + len(content)
            headers.append(RECORD.unpack(header))
    about = {"shorter_side": wanted.shorter_side, "how": wanted.how(), "times": wanted.times}
    index = index_of(about, wanted.names, starts, headers)
    file.write(b"\0" * (-begin % 8))
    begin += -begin % 8
    file.write(index)
    file.write(TRAILER.pack(begin, len(index), hashlib.sha256(index).digest(), END))
    file.flush()
    os.fsync(file.fileno())


def _done(file: BinaryIO, wanted: _PackPlan, tell: Telling) -> list[Header]:
    """The headers of the images that are in the file whole; it stands behind the last of them."""
    origin = wanted.origin
    headers: list[Header] = []
    whole = len(MAGIC) + ORIGIN
    if file.read(whole) == MAGIC + origin:
        while len(headers) < len(wanted.names):
            header = file.read(RECORD.size)
            if len(header) < RECORD.size:
                break
            length, crc, sha256 = RECORD.unpack(header)
            if length > _size(file) - whole or zlib.crc32(content := file.read(length)) != crc:
                break
            whole += RECORD.size + len(content)
            headers.append((length, crc, sha256))
        if headers:
            tell.say(f"  {len(headers):,} of {len(wanted.names):,} images were packed already")
    else:
        file.seek(0)
        file.write(MAGIC + origin)
    file.seek(whole)
    file.truncate()
    return headers


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size
