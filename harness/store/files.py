"""Files that appear whole or not at all, also on network file systems and full disks."""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import HarnessError

CANNOT_WRITE = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EFBIG", "EIO", "ESTALE")
)


class StoreError(HarnessError):
    """The results folder cannot be written: a full disk, no permission, a read-only file system."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a full or locked disk met while writing `path` into one message with the next step."""
    try:
        yield
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        raise StoreError(
            f"cannot write {path}: {error.strerror}. Finished runs and checkpoints are kept: "
            "free or unlock the disk (or set HARNESS_RESULTS to another folder) and run again"
        ) from error


@contextmanager
def fresh(path: Path) -> Iterator[Path]:
    """A path to write to; what stands there at the end of the block takes the place of `path`."""
    temporary = beside(path)
    try:
        with writing(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def beside(path: Path) -> Path:
    """A name in the same folder that nobody else uses; readers skip it."""
    return path.with_name(f".{path.name[:64]}.{uuid.uuid4().hex}")


def replace_json(path: Path, value: Mapping[str, Any], *, durable: bool = False) -> None:
    """Put `value` at `path`, whatever stands there."""
    with fresh(path) as temporary:
        write_json(temporary, value, durable=durable)


def create_json(path: Path, value: Mapping[str, Any], *, durable: bool = False) -> bool:
    """Put `value` at `path` if nothing stands there: of many that try, exactly one gets True."""
    temporary = beside(path)
    try:
        with writing(path):
            write_json(temporary, value, durable=durable)
            return link(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


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


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; FileNotFoundError, or ValueError where it is no JSON object."""
    value = json.loads(path.read_bytes())
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def read_json_or_nothing(path: Path) -> dict[str, Any]:
    """The object in a file; an empty one where there is none or it is damaged."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}


def now_text() -> str:
    """The time in UTC, as it is written in files."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def seconds_of(text: object) -> float | None:
    """Seconds since 1970 of such a text; None if it is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None
