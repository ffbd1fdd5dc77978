"""The cache: verified images in one file, so that a set is open in a fraction of a second the next
time, and the one process at a time that gets a set; what dead ones have left behind is removed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from harness.data.paths import cache_dir
from harness.data.telling import Telling
from harness.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@contextmanager
def kept_at(path: Path) -> Iterator[Path]:
    """A path to write to; what stands there at the end of the block takes the place of `path`."""
    partial = path.with_name(f".{path.stem}-{uuid4().hex}{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink()


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> str | None:
    """Keep `arrays` at `path`; why that could not be, or None."""
    import numpy as np

    try:
        with kept_at(path) as partial:
            np.savez(partial, allow_pickle=False, **arrays)
    except OSError as error:
        return error.strerror or str(error)
    return None


def read_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of `path`, lengths and checksums verified; None if it is missing or damaged."""
    import numpy as np

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except Exception:  # a damaged zip raises nearly everything, and the file can be made again
        return None


POLL = 0.2
"""Seconds between tries to be the one."""


@contextmanager
def only_one(name: str, tell: Telling) -> Iterator[None]:
    """Wait until no other process, on this machine or one with the same cache, gets `name`.

    The lock ends with the process that holds it. Where nothing can be locked (a cache that cannot
    be written, a file system without locks) several may get the set: that costs time, no more.
    """
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
        file = os.open(cache_dir() / f".{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        yield
        return
    try:
        if _taken(file, name, tell):
            with suppress(OSError):
                os.ftruncate(file, 0)
                os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            _remove_leftovers(name)
        yield
    finally:
        os.close(file)


def _taken(file: int, name: str, tell: Telling) -> bool:
    """Wait for the lock; False where there are none."""
    with suppress(BlockingIOError):
        return _try(file)
    who = _holder(file)
    tell.say(f"  waiting for {who}, which gets {name}")
    with tell.showing(lambda: "waiting", f"{who} gets {name}"):
        while True:
            time.sleep(POLL)
            with suppress(BlockingIOError):
                return _try(file)


def _try(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _holder(file: int) -> str:
    try:
        return os.pread(file, 200, 0).decode(errors="replace") or "another process"
    except OSError:
        return "another process"


class CacheError(DataError):
    """The cache cannot take what is downloaded, wherever it comes from."""

    def __init__(self, why: str) -> None:
        super().__init__(f"{cache_dir()}: {why}; set HARNESS_CACHE to a directory with room")


NO_SPACE = 1 << 16
"""Bytes: with less than this left on the disk, what failed failed for lack of space."""


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A folder for one download of `name`, gone afterwards; in the cache, which has room, or
    CacheError.
    """
    base = cache_dir()
    try:
        base.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(dir=base, prefix=_prefix(name)))
    except OSError as error:
        raise CacheError(f"cannot be written ({error.strerror})") from error
    try:
        yield path
    except (DataError, OSError) as error:
        if shutil.disk_usage(path).free < NO_SPACE:  # programs do not always say so
            raise CacheError(f"the disk is full ({error})") from error
        raise
    finally:
        shutil.rmtree(path, ignore_errors=True)


def arrived(name: str) -> int:
    """Bytes that downloads of `name` have written so far."""
    return sum(map(size_of, cache_dir().glob(f"{_prefix(name)}*")))


def size_of(folder: Path) -> int:
    """Bytes of all files below `folder`, as far as they are still there."""
    total = 0
    for place, _, files in os.walk(folder):
        for file in files:
            with suppress(OSError):
                total += os.stat(os.path.join(place, file)).st_size
    return total


def _prefix(name: str) -> str:
    # of this machine: locks of some file systems do not reach others
    return f".fetch-{name}-{socket.gethostname()}-"


def _remove_leftovers(name: str) -> None:
    """Of downloads and of cache files that were cut short; to be called by the one process."""
    for path in cache_dir().glob(f"{_prefix(name)}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in cache_dir().glob(f".{name}-*.npz"):
        with suppress(OSError):
            path.unlink()
