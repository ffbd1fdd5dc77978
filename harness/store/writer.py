"""The owner's hand in a run directory: every write is atomic, and refused after a takeover."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from harness.store.files import (
    create_json,
    fresh,
    now_text,
    read_json_or_nothing,
    replace_json,
    writing,
)
from harness.store.lease import Lease
from harness.store.owner import Owner
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
        self._standing: dict[str, Any] = {}  # the notes on the checkpoint that is there
        self._started = time.monotonic()
        before = State.read(self.directory)
        self._seconds_before = before.seconds if before is not None else 0.0

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
        self.lease.check()
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
        replace_json(self.directory / STATE, value.plain())

    def environment(self, facts: Mapping[str, Any]) -> None:
        """Replace `environment.json`."""
        self.lease.check()
        replace_json(self.directory / ENVIRONMENT, facts)

    def metric(self, record: Mapping[str, Any]) -> None:
        """Append one line to `metrics.jsonl`."""
        file = self._open_metrics()
        self.lease.check()
        line = json.dumps(record, ensure_ascii=False, default=float) + "\n"
        with writing(self.directory / METRICS):
            file.write(line.encode())

    def save_checkpoint(self, write: Callable[[Path], None]) -> None:
        """Replace `checkpoint.pt`, together with the length that `metrics.jsonl` has now.

        Two files cannot be replaced at once, so the notes speak of both checkpoints, the one that
        stands and the one about to replace it, each named by its checksum: whichever is found later
        has its entry.
        """
        metrics = self._open_metrics()
        self.lease.check()
        with writing(self.directory / METRICS):
            os.fsync(metrics.fileno())
            length = metrics.seek(0, os.SEEK_END)
        with fresh(self.directory / CHECKPOINT) as temporary:
            self._write_by(write, temporary)
            entry = {_checksum(temporary): {"metrics_bytes": length, "saved": now_text()}}
            notes = {**self._standing, **entry}
            replace_json(self.directory / CHECKPOINT_NOTES, notes, durable=True)
            self.lease.check()
        self._standing = entry

    def restore_checkpoint(self) -> tuple[Path | None, str]:
        """The checkpoint to go on from, or None and why; cuts the metrics back to where it was."""
        path = self.directory / CHECKPOINT
        length, why = self._usable(path)
        self._start_metrics(length)
        return (None if length is None else path), why

    def save_artifact(self, name: str, write: Callable[[Path], None]) -> None:
        """Put a final file into the run directory."""
        assert "/" not in name, "artifacts lie in the run directory itself"
        self.lease.check()
        with fresh(self.directory / name) as temporary:
            self._write_by(write, temporary)
            self.lease.check()

    def finish(self, metrics: Mapping[str, float], *, device: str) -> None:
        """Write the result, once, and tidy up."""
        self.lease.check()
        if self._metrics is None:  # lines of an earlier attempt are not this one's
            (self.directory / METRICS).unlink(missing_ok=True)
        result = {
            "metrics": {name: float(value) for name, value in metrics.items()},
            "seconds": round(self.seconds, 3),
            "attempt": self.lease.number,
            "finished": now_text(),
            "device": device,
        }
        path = self.directory / RESULT
        if not create_json(path, result, durable=True) and not has_result(self.directory):
            replace_json(path, result, durable=True)  # what stood there was damaged
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
        if not path.exists():
            return None, ""
        found = _checksum(path)
        entry = read_json_or_nothing(path.with_name(CHECKPOINT_NOTES)).get(found)
        if not isinstance(entry, dict) or not isinstance(entry.get("metrics_bytes"), int):
            return None, f"{CHECKPOINT} is damaged (its checksum is not the one noted)"
        length = int(entry["metrics_bytes"])
        metrics = self.directory / METRICS
        if length and (not metrics.exists() or metrics.stat().st_size < length):
            return None, f"{METRICS} is shorter than it was at the checkpoint"
        self._standing = {found: entry}
        return length, ""

    def _open_metrics(self) -> IO[bytes]:
        if self._metrics is None:
            self._start_metrics(None)
        assert self._metrics is not None
        return self._metrics

    def _start_metrics(self, length: int | None) -> None:
        """Go on after the first `length` bytes, or anew: then no old checkpoint fits any more.

        In a new file: a former owner that still runs somewhere has the old one open.
        """
        self.close()
        path = self.directory / METRICS
        self.lease.check()
        if length is None:
            with writing(path):
                (self.directory / CHECKPOINT_NOTES).unlink(missing_ok=True)
        kept = path.read_bytes()[:length] if length else b""
        with fresh(path) as temporary:
            temporary.write_bytes(kept)
            self.lease.check()
        with writing(path):
            self._metrics = path.open("ab", buffering=0)

    def _write_by(self, write: Callable[[Path], None], temporary: Path) -> None:
        try:
            write(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.chmod(self.directory.stat().st_mode & 0o666)  # some libraries write 0600
        except RuntimeError as error:  # how torch reports a write that failed
            if shutil.disk_usage(self.directory).free < NO_SPACE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
