"""One of the other processes of a run: `python -m harness.launch.follower FOLDER RANK`.

It waits in the folder until the first process says which run is computed, computes its slice of
each batch, and writes nothing. It ends when the first process has ended, or who started it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.distributed import DistContext, open_tcp_store
from harness.errors import HarnessError, Interrupted, StoppedAlone
from harness.launch.context import end_with_parent, keep_freed_memory, limit_threads, log
from harness.launch.rendezvous import (
    LOCAL,
    Connection,
    RendezvousInfo,
    connect,
    is_done,
    use_loopback,
)
from harness.process import install_handler, prepare_process
from harness.run import Resources
from harness.spec.identity import from_dict
from harness.store import Store, read_record
from harness.store.record import CHECKPOINT

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store as TcpStore

LOOK = 0.2
"""Seconds between looks for a rendezvous."""
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)


class FollowerContext:
    """Implements `harness.run.RunContext` and writes nothing."""

    def __init__(
        self,
        directory: Path,
        *,
        resources: Resources,
        dependencies: Mapping[str, Path],
        dist: DistContext,
        rendezvous_store: TcpStore,
        stopping: Callable[[], bool],
    ) -> None:
        self.directory = directory
        self.resources = resources
        self.dependencies = dependencies
        self.dist = dist
        self.rendezvous_store: TcpStore | None = rendezvous_store
        self._stopping = stopping

    def log(self, message: str) -> None:
        """The first process says it."""

    def metric(self, record: Mapping[str, Any]) -> None:
        """The first process writes it."""

    def progress(self, done: int, total: int, unit: str = "step") -> None:
        """The first process tells it."""

    def save_checkpoint(self, write: Callable[[Path], None]) -> None:
        """The first process saves it."""

    def restore_checkpoint(self) -> Path | None:
        """Where it would be; whether it is used, the first process decides."""
        return self.directory / CHECKPOINT

    def save_artifact(self, name: str, write: Callable[[Path], None]) -> None:
        """The first process saves it."""

    def before_result(self, why_not: Callable[[], str | None]) -> None:
        """The first process asks."""

    def should_stop(self) -> bool:
        """Whether this process was asked to stop: all of them then do, after the same step."""
        return self._stopping()


class FollowerRank:
    """Waits, computes one run, ends."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._folder, self._rank = folder, rank
        self._stop_requested = False

    def run(self) -> int:
        """The exit code: 0 unless it could not even begin."""
        install_handler(_STOP_SIGNALS, self._request_stop)
        signal.signal(signal.SIGTERM, self._request_stop)  # by which executors ask, whatever it was
        end_with_parent()
        while not is_done(self._folder):
            info = RendezvousInfo.read(self._folder)
            connection = None if info is None else connect(info, self._rank)
            if info is not None and connection is not None:
                self._compute(info, connection)
                return 0
            time.sleep(LOOK)
        return 0

    def _request_stop(self, *_: object) -> None:
        """The first process learns it after the step, or after its first."""
        self._stop_requested = True

    def _compute(self, info: RendezvousInfo, connection: Connection) -> None:
        threading.Thread(target=_end_when_silent, args=(connection,), daemon=True).start()
        try:
            self._execute(info)
            connection.send(done=True)
        except StoppedAlone as stopped:
            _report_error(connection, f"stopped {stopped}", final=False)
            os._exit(0)
        except Interrupted:  # as all of them
            with suppress(OSError):
                connection.send(done=True)
        except HarnessError as error:
            _report_error(connection, str(error), final=True)
            os._exit(0)
        except Exception as error:
            traceback.print_exception(error)
            last = traceback.format_exception_only(error)[-1].strip()
            _report_error(connection, last, final=False)
            os._exit(0)  # leaving a broken group would wait for the others

    def _execute(self, info: RendezvousInfo) -> None:
        resources = Resources(**info.resources)
        limit_threads(resources.threads)
        keep_freed_memory()
        if info.host == LOCAL:
            use_loopback()
        directory = Path(info.directory)
        record = read_record(directory)
        if record is None or record.broken:
            raise HarnessError(f"{directory} cannot be read on this node; do all see the folder?")
        store = Store.holding(directory)
        needed = {identity: store.record(identity) for identity in record.depends}
        rendezvous_store = open_tcp_store(info.host, info.store, first=False)
        context = FollowerContext(
            directory,
            resources=resources,
            dependencies={name: one.directory for name, one in needed.items() if one is not None},
            dist=DistContext(self._rank, info.size),
            rendezvous_store=rendezvous_store,
            stopping=lambda: self._stop_requested,
        )
        from_dict(record.task, record.plain).execute(context)


def _report_error(connection: Connection, error: str, *, final: bool) -> None:
    log(error)
    with suppress(OSError):
        connection.send(error=error, final=final)


def _end_when_silent(connection: Connection) -> None:
    """End when the first process is gone: this one may be in the middle of a sum with it."""
    connection.recv()
    os._exit(0)


if __name__ == "__main__":
    prepare_process(utf8=True)
    sys.exit(FollowerRank(Path(sys.argv[1]), int(sys.argv[2])).run())
