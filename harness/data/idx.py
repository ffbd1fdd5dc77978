"""Reads IDX files, the format of MNIST and its relatives."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.regular import open_regular
from harness.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNSIGNED_BYTES = 8


def read_idx(path: Path, *, shape: tuple[int, ...], sha256: str) -> NDArray[np.uint8]:
    """The bytes of `path` (plain or gzip) as an array of `shape`; `sha256` is of them unpacked.

    Raises DataError when the file is missing, truncated, of another shape or of other content.
    """
    import numpy as np

    expected = 4 + 4 * len(shape) + math.prod(shape)
    content = _unpacked(path, most=expected)
    found = _shape(path, content)
    if found != shape:
        raise DataError(f"{path}: holds {_times(found)} bytes, expected {_times(shape)}; {_AGAIN}")
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
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _shape(path: Path, content: bytes) -> tuple[int, ...]:
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTES]):
        raise DataError(f"{path}: not an IDX file of bytes; {_AGAIN}")
    rank = content[3]
    return tuple(
        int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(rank)
    )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(f"{length:,}" for length in shape)
