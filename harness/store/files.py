"""Files that appear whole or not at all, also on network file systems and full disks."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.errors import HarnessError

CANNOT_WRITE = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EFBIG", "EIO", "ESTALE")
)


LONGEST_LINE = 2000
LARGEST_JSON = 1 << 26
"""Bytes of a JSON file; more is none of ours."""
_TEMPORARY = re.compile(r"\.(?P<of>.+)\.[0-9a-f]{32}")


class StoreError(HarnessError):
    """The results folder cannot be written: a full disk, no permission, a read-only file system."""


class FileError(HarnessError):
    """One file cannot be read, or is no file: that says nothing about what was computed.

    It may be readable the next time, so nobody may replace it, or compute anew what it holds.
    """


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a full or locked disk met while writing `path` into one message with the next step."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EEXIST, errno.ENOTDIR):
            raise  # what that means, those know who write
        if error.errno not in CANNOT_WRITE:  # a folder where a file should be, links in a circle
            raise FileError(f"cannot write {path}: {error.strerror}") from error
        raise StoreError(
            f"cannot write {path}: {error.strerror}. Finished runs and checkpoints are kept: "
            "free or unlock the disk (or set HARNESS_RESULTS to another folder) and run again"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; what stands there at the end of the block takes the place of `path`."""
    with temporary_beside(path) as temporary, writing(path):
        yield temporary
        os.replace(temporary, path)


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A name `beside` it; what has that name at the end of the block is removed."""
    temporary = beside(path)
    try:
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink()


def beside(path: Path) -> Path:
    """A name in the same folder that nobody else uses; readers skip it."""
    return path.with_name(f".{path.name[:64]}.{uuid.uuid4().hex}")


def replace_json(path: Path, value: Mapping[str, Any]) -> None:
    """Put `value` at `path`, whatever stands there."""
    with replacing(path) as temporary:
        write_json(temporary, value)


def create_json(path: Path, value: Mapping[str, Any], *, durable: bool = False) -> bool:
    """Put `value` at `path` if nothing stands there: of many that try, exactly one gets True."""
    with temporary_beside(path) as temporary, writing(path):
        write_json(temporary, value, durable=durable)
        return link(temporary, path)


def link(source: Path, target: Path) -> bool:
    """Give `source` the name `target` too, unless it is taken."""
    try:
        os.link(source, target)
    except FileExistsError:
        # a file server may have linked and lost its answer: then the repeated request says "exists"
        return source.stat().st_nlink == 2
    return True


def write_json(path: Path, value: Mapping[str, Any], *, durable: bool = False) -> None:
    """Readable JSON with a line end."""
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        if durable:
            file.flush()
            os.fsync(file.fileno())  # or a power cut after the rename leaves an empty file


def read_bytes(path: Path) -> bytes:
    """What a file holds; FileNotFoundError where there is none, FileError where it cannot be read.

    What is no regular file is not waited for: a pipe without a writer would never end.
    """
    try:
        try:
            return _read_bytes(path)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            return _read_bytes(path)  # replaced while it was being opened over a network
    except FileNotFoundError:
        if any(part.is_symlink() for part in (path, path.parent)):
            raise FileError(f"cannot read {path}: a link to something that is not there") from None
        raise
    except NotADirectoryError as error:  # a file lies where its folder would
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from error


def _read_bytes(path: Path) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        about = os.fstat(handle)
        if stat.S_ISDIR(about.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        content = os.read(handle, about.st_size + 1)
        while more := os.read(handle, 1 << 20):  # it grew, or was not read at once
            content += more
        return content
    finally:
        os.close(handle)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; FileNotFoundError, FileError, or ValueError where it is no JSON object.
    NaN and infinity, which JSON does not know, are refused.
    """
    return json_object(read_bytes(path), finite=True)


def json_object(content: bytes, *, finite: bool) -> dict[str, Any]:
    """The object that a file holds; ValueError where it is none. Who does not want it `finite`
    looks for NaN and infinity itself.
    """
    if len(content) > LARGEST_JSON:
        raise ValueError(f"larger than {LARGEST_JSON >> 20} MiB")
    value = parsed(content, finite=finite)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def parsed(content: bytes, *, finite: bool = True) -> Any:
    """JSON values; ValueError for whatever else."""
    try:
        text = content.decode(json.detect_encoding(content), "surrogatepass")
        return (_FINITE if finite else _ANY).decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


@lru_cache(maxsize=4096)  # configurations have the same few
def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


_ANY = json.JSONDecoder()
_FINITE = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite)


def read_json_or_nothing(path: Path) -> dict[str, Any]:
    """The object in a file; an empty one where there is none or it is damaged.

    FileError where it cannot be read: that is not nothing.
    """
    try:
        return read_json(path)
    except (FileNotFoundError, ValueError):
        return {}


def number_in(value: object) -> float | None:
    """A finite number that JSON gave; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def whole_in(value: object) -> int | None:
    """A whole number from 0 up that JSON gave; None for anything else."""
    number = number_in(value)
    return None if number is None or number < 0 or not number.is_integer() else int(number)


def line_in(value: object) -> str | None:
    """A text that JSON gave, as one line that every terminal takes; None for anything else."""
    if not isinstance(value, str):
        return None
    if value.isprintable():
        return value[:LONGEST_LINE]
    plain = value.encode("utf-8", "replace").decode("utf-8")  # half of a surrogate pair
    return "".join(sign if sign.isprintable() else " " for sign in plain)[:LONGEST_LINE]


def leftovers(folder: Path) -> dict[str, list[Path]]:
    """Files in a folder that a killed process did not get to put in their place, by that place."""
    by_place: dict[str, list[Path]] = {}
    with suppress(OSError):
        for name in os.listdir(folder):
            match = _TEMPORARY.fullmatch(name)
            if match is not None:
                by_place.setdefault(match["of"], []).append(folder / name)
    return by_place


def clock_of(folder: Path) -> float:
    """The time by the clock of the file system that holds `folder`, which stamps its files.

    Of a file that has no name, where that is possible: nothing changes for those who look. The own
    clock where nothing may be written.
    """
    with suppress(OSError, AttributeError):  # Linux alone has such files
        handle = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.utime(handle)
            return os.fstat(handle).st_mtime
        finally:
            os.close(handle)
    with suppress(OSError), temporary_beside(folder / "clock") as temporary:
        temporary.touch(mode=0o600)
        return temporary.stat().st_mtime
    return time.time()


def now_text() -> str:
    """The time in UTC, as it is written in files."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def seconds_of(text: object) -> float | None:
    """Seconds since 1970 of such a text; None if it is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
