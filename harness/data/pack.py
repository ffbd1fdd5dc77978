"""A pack: all images of a folder in one file, one after another, with an index at its end.

The file is

    MAGIC | 32 bytes: what it was made of | records | index | trailer

A record is its header (the length and CRC-32 of what is stored, the SHA-256 of the image as it
came) and what is stored. The index repeats the headers and adds places and names, in order of the
names as bytes. The trailer says where the index lies and has its SHA-256. So a copy that was cut
off or changed is noticed when it is opened, and an image that was, when it is read.

The index is read into memory, images are read by `pread`, which processes may do side by side.
Nothing is mapped: where a file loses its end or its disk fails, a mapped page kills the process,
and a read is an error that can be told.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.data.image_tree import OneFile
from harness.data.naming import Listing, from_bytes, listed, shown, to_bytes
from harness.data.paths import cannot_read
from harness.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAGIC: Final = b"harness pack 1\n\0"
END: Final = b"harness pack end"
ORIGIN: Final = 32  # bytes after MAGIC
RECORD: Final = struct.Struct("<QI32s")  # length and CRC-32 of what is stored, SHA-256 of the image
TRAILER: Final = struct.Struct("<QQ32s16s")  # place and length of the index, its SHA-256, END
_ONE_READ: Final = 2**30
_MOST_ABOUT: Final = 2**28  # bytes; of a million folders
_AGAIN: Final = "copy it again, or remove it and write it again by `harness data pack`"


def suffix(shorter_side: int | None) -> str:
    """What a pack with smaller images adds to the version of a set; nothing where pixels are the
    same.
    """
    return "" if shorter_side is None else f"-{shorter_side}px"


def is_pack(path: Path) -> bool:
    """Whether the regular file at `path` begins as a pack does; False if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def about_pack(path: Path) -> Mapping[str, Any]:
    """How a pack was made, without a look at its images; empty where it is damaged, which whoever
    opens it is told.
    """
    try:
        with path.open("rb") as file:
            file.seek(-TRAILER.size, os.SEEK_END)
            file.seek(TRAILER.unpack(file.read())[0])
            (length,) = struct.unpack("<Q", file.read(8))
            about = json.loads(file.read(min(length, _MOST_ABOUT)))
    except (OSError, struct.error, OverflowError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


class Pack(OneFile):
    """Images in a pack; names and versions are those of the folder that was packed."""

    _open: _OpenPack | None

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.shorter_side = self._opened().about["shorter_side"]

    @property
    def about(self) -> Mapping[str, Any]:
        """What is written in it of how it was made."""
        return self._opened().about

    @property
    def origin(self) -> bytes:
        """A digest of what it was made of: names, sizes and times of the files."""
        return _read(self._opened().file.fileno(), ORIGIN, len(MAGIC))

    def listing(self) -> Listing:
        opened = self._opened()
        return listed([from_bytes(opened.name(at)) for at in range(len(opened.starts))], ())

    def stamp(self, name: str) -> tuple[int, ...]:
        opened = self._opened()
        at = self._at(opened, name)
        return (*opened.stamp, int(opened.starts[at]), int(opened.lengths[at]))

    def hashes(self) -> Mapping[str, bytes]:
        opened = self._opened()
        return {
            from_bytes(opened.name(at)): opened.sha256[at].tobytes()
            for at in range(len(opened.starts))
        }

    def head(self, name: str, length: int) -> bytes:
        opened = self._opened()
        at = self._at(opened, name)
        size = int(opened.lengths[at])
        try:
            content = _read(opened.file.fileno(), size, int(opened.starts[at]))
        except OSError as error:
            raise self.refused(name, f"cannot be read: {error.strerror}") from error
        if len(content) != size or zlib.crc32(content) != opened.crcs[at]:
            raise self.refused(name, f"the pack is damaged here: {_AGAIN}")
        return content[:length]

    def _at(self, opened: _OpenPack, name: str) -> int:
        wanted = to_bytes(name)
        at = bisect_left(range(len(opened.starts)), wanted, key=opened.name)
        if at == len(opened.starts) or opened.name(at) != wanted:
            raise self.refused(name, "is not in the pack")
        return at

    def _opened(self) -> _OpenPack:
        with self._opening:
            if self._open is None:
                self._open = _OpenPack(self.path)
            return self._open


class _OpenPack:
    """An open pack and its index, checked."""

    def __init__(self, path: Path) -> None:
        try:
            self.file = path.open("rb")
            about = os.fstat(self.file.fileno())
            self._index = self._checked_index(path, about.st_size)
        except OSError as error:
            raise cannot_read(path, error) from error
        self.stamp = (about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
        index = _Columns(self._index)
        self.about: dict[str, Any] = json.loads(index.text())
        count = self.about["images"]
        self.starts: NDArray[np.uint64] = index.numbers(count, "<u8")
        self.lengths: NDArray[np.uint64] = index.numbers(count, "<u8")
        self._ends: NDArray[np.uint64] = index.numbers(count, "<u8")
        self.crcs: NDArray[np.uint32] = index.numbers(count, "<u4")
        self.sha256: NDArray[np.uint8] = index.numbers(32 * count, "u1").reshape(count, 32)
        self._names = index.at
        assert self._names + (int(self._ends[-1]) if count else 0) == len(self._index)

    def __del__(self) -> None:
        if hasattr(self, "file"):
            self.file.close()

    def _checked_index(self, path: Path, size: int) -> bytes:
        """DataError for a pack that is not whole."""
        file = self.file.fileno()
        trailer = os.pread(file, TRAILER.size, max(0, size - TRAILER.size))
        if len(trailer) == TRAILER.size:
            place, length, check, end = TRAILER.unpack(trailer)
            if end == END and place + length + TRAILER.size == size:
                index = _read(file, length, place)
                if hashlib.sha256(index).digest() == check:
                    return index
                raise DataError(f"{shown(path)}: the pack's index is damaged: {_AGAIN}")
        raise DataError(
            f"{shown(path)}: the pack is not whole ({size:,} bytes, without the end of a pack): "
            f"{_AGAIN}"
        )

    def name(self, at: int) -> bytes:
        """The name of an image, as the disk has it."""
        begin = int(self._ends[at - 1]) if at else 0
        return self._index[self._names + begin : self._names + int(self._ends[at])]


def _read(file: int, length: int, place: int) -> bytes:
    """So many bytes, or fewer where the file ends: a read may give 2 GiB at most."""
    parts = []
    while length and (part := os.pread(file, min(length, _ONE_READ), place)):
        parts.append(part)
        place, length = place + len(part), length - len(part)
    return b"".join(parts)


class _Columns:
    """Reads an index from its beginning."""

    def __init__(self, source: bytes) -> None:
        self._source, self.at = source, 0

    def text(self) -> bytes:
        """A text after its length."""
        (length,) = struct.unpack_from("<Q", self._source, self.at)
        begin = self.at + 8
        self.at = begin + length
        return self._source[begin : self.at]

    def numbers(self, count: int, dtype: str) -> NDArray[Any]:
        """The next column, as it lies in the file."""
        import numpy as np

        column = np.frombuffer(self._source, dtype, count, self.at)
        self.at += column.nbytes
        return column


def index_of(
    about: Mapping[str, Any],
    names: Sequence[bytes],
    starts: Sequence[int],
    headers: Sequence[tuple[int, int, bytes]],
) -> bytes:
    """The bytes of an index; the opposite of what `_OpenPack` reads."""
    import numpy as np

    text = json.dumps({**about, "images": len(names)}).encode()
    text += b" " * (-len(text) % 8)  # numbers then lie at multiples of their size
    ends = np.cumsum([len(name) for name in names], dtype="<u8")
    return b"".join(
        (
            struct.pack("<Q", len(text)),
            text,
            np.array(starts, "<u8").tobytes(),
            np.array([length for length, _, _ in headers], "<u8").tobytes(),
            ends.astype("<u8").tobytes(),
            np.array([crc for _, crc, _ in headers], "<u4").tobytes(),
            b"".join(sha256 for _, _, sha256 in headers),
            *names,
        )
    )
