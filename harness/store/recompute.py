"""Whether a finished run still is what it was, and its result put aside to compute it again."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from harness.store.files import FileError, beside, leftovers, writing
from harness.store.lease import claim
from harness.store.record import DONE, ENVIRONMENT, METRICS, RESULT, RunRecord, read_record
from harness.store.result import Artifact

PREVIOUS: Final = "previous"
"""Folder of a run directory: former results with their files, one numbered folder each."""
MODEL: Final = "model.safetensors"


def damage(record: RunRecord, *, thorough: bool) -> str | None:
    """What is wrong with the files of a finished run; None if nothing is.

    Whether they are there and as long as they were, and, if `thorough`, have the same SHA-256.
    FileError where one cannot be read.
    """
    for name, artifact in _noted(record).items():
        path = record.directory / name
        try:
            about = path.stat()
            if not stat.S_ISREG(about.st_mode):
                raise FileError(f"cannot read {path}: not a file")
            size = about.st_size
            if artifact is None:
                continue
            if size != artifact.bytes:
                return f"{name} has {size} bytes, not {artifact.bytes}"
            if thorough and Artifact.of(path) != artifact:
                return f"{name} is not what the run wrote (its SHA-256 differs)"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            raise FileError(f"cannot read {path}: {error.strerror}") from error
    return None


def cure(record: RunRecord) -> str:
    """The command that computes a run with damaged files again."""
    title = record.title
    seeds = "" if title.seed is None else f" --seeds {title.seed}"
    where = f"{title.table} --profile {title.profile} --rows {title.row}{seeds}"
    return f"compute it again with `harness run {where} --recompute damaged`"


def put_aside(record: RunRecord) -> bool:
    """Move a result and its files to `previous/`, so that the run is computed again.

    False where somebody is at it, or the result is not the one of `record` any more. Until the
    last step the result stands; a crash before it changes nothing.
    """
    directory = record.directory
    lease = claim(directory)
    if lease is None:
        return False
    with lease:
        now = read_record(directory)
        same = now is not None and now.state == DONE
        if same and now is not None:
            same = (now.attempt, now.updated) == (record.attempt, record.updated)
        if same:
            with writing(directory / PREVIOUS):
                _keep(directory, record)
                (directory / RESULT).unlink()
        lease.release(DONE)
    return same


def _keep(directory: Path, record: RunRecord) -> None:
    """Give the files of a result a second name: the first ones are replaced one by one later."""
    folder = directory / PREVIOUS / f"{record.attempt:04d}"
    if folder.exists():
        return  # a crash came between this and the removal
    for left in (path for paths in leftovers(folder.parent).values() for path in paths):
        shutil.rmtree(left, ignore_errors=True)
    temporary = beside(folder)
    temporary.mkdir(parents=True)
    try:
        for name in {*_noted(record), METRICS, ENVIRONMENT, RESULT}:
            with suppress(FileNotFoundError):
                _second_name(directory / name, temporary / name)
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _second_name(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # file systems without hard links
        shutil.copy2(source, target)


def _noted(record: RunRecord) -> dict[str, Artifact | None]:
    """The files of a finished run; without what they were where an older version wrote it."""
    if record.artifacts is not None:
        return dict(record.artifacts)
    return {MODEL: None} if record.task == "train" else {}
