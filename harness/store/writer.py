"""The owner's hand in a run directory: every write is atomic, and refused after a takeover."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from harness.code import CodeRecord
from harness.errors import RunFailed
from harness.run import set_aside
from harness.store.files import (
    FileError,
    create_json,
    leftovers,
    now_text,
    read_bytes,
    read_json_or_nothing,
    replace_json,
    replacing,
    writing,
)
from harness.store.job import JOB
from harness.store.lease import ATTEMPTS, Lease, Owner, latest_attempt
from harness.store.record import (
    CHECKPOINT,
    CHECKPOINT_NOTES,
    DONE,
    ENVIRONMENT,
    METRICS,
    RESULT,
    STATE,
    Progress,
    State,
    has_result,
)
from harness.store.result import Artifact, wrong

_TAIL = re.compile(rb"\nharness checkpoint ([0-9]{20}) ([0-9a-f]{64})\n")
_TAIL_BYTES = len("\nharness checkpoint  \n") + 20 + 64
"""The last line of a checkpoint: the length of the metrics, and a checksum of all before it.

Readers of torch's files ignore what follows them.
"""
STALE = 3600.0
"""Seconds after which a note on a job is not being written any more."""
NO_SPACE = 1 << 16
"""Bytes: with less than this left on the disk, a failed write failed for lack of space."""


class RunWriter:
    """Writes one run directory for the time of one lease."""

    def __init__(self, lease: Lease) -> None:
        self.directory = lease.directory
        self.lease = lease
        self.progress: Progress | None = None
        self._owner = Owner.here()
        self._metrics: IO[bytes] | None = None
        self._artifacts: dict[str, Artifact] = {}
        self._started = time.monotonic()
        before = State.read(self.directory)
        self._seconds_before = before.seconds if before is not None else 0.0
        _sweep(self.directory)

    @property
    def seconds(self) -> float:
        """Worked so far, over all attempts."""
        return self._seconds_before + time.monotonic() - self._started

    def state(
        self,
        state: str,
        *,
        eta: float | None = None,
        error: str | None = None,
    ) -> None:
        """Replace `state.json`."""
        self.lease.ensure_held()
        value = State(
            state=state,
            attempt=self.lease.number,
            updated=now_text(),
            host=self._owner.host,
            pid=self._owner.pid,
            job=self._owner.job,
            progress=self.progress,
            eta=eta,
            error=error,
            seconds=round(self.seconds, 3),
        )
        replace_json(self.directory / STATE, asdict(value))

    def environment(self, facts: Mapping[str, Any]) -> None:
        """Replace `environment.json`."""
        self.lease.ensure_held()
        replace_json(self.directory / ENVIRONMENT, facts)

    def metric(self, record: Mapping[str, Any]) -> None:
        """Append one line to `metrics.jsonl`."""
        file = self._open_metrics()
        self.lease.ensure_held()
        line = json.dumps(record, ensure_ascii=False, default=float) + "\n"
        with writing(self.directory / METRICS):
            file.write(line.encode())

    def save_checkpoint(self, write: Callable[[Path], None]) -> None:
        """Replace `checkpoint.pt`, which ends with the length that `metrics.jsonl` has now: two
        files cannot be replaced at once.
        """
        metrics = self._open_metrics()
        self.lease.ensure_held()
        with writing(self.directory / METRICS):
            os.fsync(metrics.fileno())
            length = metrics.seek(0, os.SEEK_END)
        with replacing(self.directory / CHECKPOINT) as temporary:
            self._write_by(write, temporary, tail=length)
            self.lease.ensure_held()
        self._remove(CHECKPOINT_NOTES)  # of an older version: they spoke of the former one

    def restore_checkpoint(self) -> tuple[Path | None, str]:
        """The checkpoint to go on from, or None and why; cuts the metrics back to where it was."""
        path = self.directory / CHECKPOINT
        length, why = self._usable(path)
        if why:
            why = f"{why}; the checkpoint is kept as {self._set_aside(path)}"
        self._start_metrics(length)
        return (None if length is None else path), why

    def remove_checkpoint(self) -> None:
        """Have the next attempt start at the beginning."""
        self.lease.ensure_held()
        self._remove(CHECKPOINT)
        self._remove(CHECKPOINT_NOTES)

    def save_artifact(self, name: str, write: Callable[[Path], None]) -> None:
        """Put a final file into the run directory; the result will say what it was."""
        assert "/" not in name, "artifacts lie in the run directory itself"
        self.lease.ensure_held()
        with replacing(self.directory / name) as temporary:
            self._write_by(write, temporary)
            artifact = Artifact.of(temporary)
            self.lease.ensure_held()
        self._artifacts[name] = artifact

    def finish(
        self,
        metrics: Mapping[str, float],
        *,
        device: str,
        code: CodeRecord | None = None,
        used: Mapping[str, Mapping[str, Artifact]] | None = None,
    ) -> None:
        """Write the result, once, and tidy up. RunFailed where it holds what is no number.

        `code` computed it, from the artifacts `used` of other runs and of the hub.
        """
        self.lease.ensure_held()
        impossible = [what for name, value in metrics.items() if (what := wrong(name, value))]
        if impossible:
            raise RunFailed("; ".join(impossible))
        if self._metrics is None:  # lines of an earlier attempt are not this one's
            self._remove(METRICS)
        else:
            with writing(self.directory / METRICS):
                os.fsync(self._metrics.fileno())
            self._artifacts[METRICS] = Artifact.of(self.directory / METRICS)
        result = {
            "metrics": {name: float(value) for name, value in metrics.items()},
            "seconds": round(self.seconds, 3),
            "attempt": self.lease.number,
            "finished": now_text(),
            "device": device,
            "artifacts": {name: asdict(artifact) for name, artifact in self._artifacts.items()},
            "used": {
                identity: {name: asdict(artifact) for name, artifact in artifacts.items()}
                for identity, artifacts in (used or {}).items()
            },
        }
        if code is not None:
            result["code"] = code.plain()
        path = self.directory / RESULT
        self.lease.ensure_held()
        if not create_json(path, result, durable=True) and not has_result(self.directory):
            keep = path.with_name(f"result.damaged.{self.lease.number}.json")
            with writing(keep):
                os.replace(path, keep)
            create_json(path, result, durable=True)
        self.state(DONE)
        for name in (CHECKPOINT, CHECKPOINT_NOTES):
            with suppress(OSError):
                (self.directory / name).unlink()

    def close(self) -> None:
        """Close the metrics."""
        if self._metrics is not None:
            self._metrics.close()

    def _usable(self, path: Path) -> tuple[int | None, str]:
        """How long the metrics were at the checkpoint; None, and why, where it is of no use."""
        try:
            length = _length_at(path)
        except FileNotFoundError:
            return None, ""
        if length is None:
            return None, f"{CHECKPOINT} is damaged (its checksum is not the one noted)"
        try:
            lines = len(read_bytes(self.directory / METRICS))
        except FileNotFoundError:
            lines = 0
        if lines < length:
            return None, f"{METRICS} is shorter than it was at the checkpoint"
        return length, ""

    def _open_metrics(self) -> IO[bytes]:
        if self._metrics is None:
            self._start_metrics(None)
        assert self._metrics is not None
        return self._metrics

    def _start_metrics(self, length: int | None) -> None:
        """Go on after the first `length` bytes, or anew: then no old checkpoint fits any more, and
        one that is there is set aside.

        In a new file: a former owner that still runs somewhere has the old one open.
        """
        self.close()
        path, checkpoint = self.directory / METRICS, self.directory / CHECKPOINT
        self.lease.ensure_held()
        if length is None and checkpoint.exists():
            self._set_aside(checkpoint)
        kept = read_bytes(path)[:length] if length else b""
        with replacing(path) as temporary:
            temporary.write_bytes(kept)
            self.lease.ensure_held()
        with writing(path):
            self._metrics = path.open("ab", buffering=0)

    def _set_aside(self, checkpoint: Path) -> str:
        """The new name of a checkpoint that is of no use."""
        self.lease.ensure_held()
        with writing(checkpoint):
            aside = set_aside(checkpoint)
        self._remove(CHECKPOINT_NOTES)
        return aside.name

    def _remove(self, name: str) -> None:
        path = self.directory / name
        with writing(path):
            path.unlink(missing_ok=True)

    def _write_by(
        self, write: Callable[[Path], None], temporary: Path, *, tail: int | None = None
    ) -> None:
        try:
            write(temporary)
            with temporary.open("r+b") as file:
                if tail is not None:
                    checksum = hashlib.file_digest(file, "sha256").hexdigest()
                    file.write(f"\nharness checkpoint {tail:020d} {checksum}\n".encode())
                    file.flush()
                os.fsync(file.fileno())
            temporary.chmod(self.directory.stat().st_mode & 0o666)  # some libraries write 0600
        except FileNotFoundError:  # a new owner has tidied up
            self.lease.ensure_held()
            raise
        except RuntimeError as error:  # how torch reports a write that failed
            if shutil.disk_usage(self.directory).free < NO_SPACE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise


def tidy(directory: Path) -> None:
    """Remove what a process left that was killed after it had written the result."""
    latest = latest_attempt(directory)
    if latest is None or latest.ended or not latest.alive():
        _sweep(directory)
        for name in (CHECKPOINT, CHECKPOINT_NOTES):
            with suppress(OSError):
                (directory / name).unlink()


def _sweep(directory: Path) -> None:
    """Remove what killed writers did not get to put in place; others write the job's note too."""
    for folder in (directory, directory / ATTEMPTS):
        for name, paths in leftovers(folder).items():
            for path in paths:
                with suppress(OSError):
                    if name != JOB or time.time() - path.stat().st_mtime > STALE:
                        path.unlink()


def _length_at(path: Path) -> int | None:
    """The length of the metrics at a checkpoint; None where it is damaged."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            tail = _TAIL.fullmatch(file.read())
            if tail is not None:
                whole = _checksum(file, size - _TAIL_BYTES) == tail[2].decode()
                return int(tail[1]) if whole else None
            checksum = _checksum(file, size)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from error
    noted = read_json_or_nothing(path.with_name(CHECKPOINT_NOTES)).get(checksum)
    length = noted.get("metrics_bytes") if isinstance(noted, dict) else None  # older versions
    return length if isinstance(length, int) and length >= 0 else None


def _checksum(file: IO[bytes], size: int) -> str:
    """SHA-256 of the first `size` bytes."""
    file.seek(0)
    digest = hashlib.sha256()
    while size > 0:
        part = file.read(min(size, 1 << 20))
        if not part:
            break
        digest.update(part)
        size -= len(part)
    return digest.hexdigest()
