"""Batches out of loader processes: their end is an error that says why, and a stop is heard while
nothing comes.
"""

from __future__ import annotations

import atexit
import multiprocessing
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.process import BaseProcess
from typing import Any, Final

from torch.utils.data import DataLoader

from harness.errors import HarnessError, RunFailed, StoppedAlone

POLL: Final = 1.0
"""Seconds between looks at a stop, and at the processes, while no batch comes."""
PATIENCE: Final = 60.0
"""Seconds that one of several processes of a run waits for images once a stop is asked for: after a
step all of them stop together."""
SHARED: Final = "/dev/shm"
_STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


def delivered(
    loader: DataLoader[Any], *, stopping: Callable[[], bool], patience: float = 0.0
) -> Iterator[Any]:
    """The batches of `loader`, which has worker processes and the timeout POLL.

    Raises an error that comes in the place of a batch, RunFailed when a process is gone, and
    StoppedAlone when a stop was asked for and no batch came for so long.
    """
    iterator, processes, place = _started(loader)
    kill = partial(_kill, processes, place)
    atexit.register(kill)  # before Python waits for them, where nobody closes this generator
    try:
        while True:
            try:
                batch = _next(iterator, stopping, patience)
            except StopIteration:
                return
            except (RuntimeError, OSError, EOFError) as error:
                if "in DataLoader worker process" in str(error):  # a mistake in what they compute
                    raise
                raise cannot_deliver(_causes(processes, error)) from error
            if isinstance(batch, HarnessError):
                raise batch
            yield batch
    except GeneratorExit:  # no more batches are wanted: they may end by themselves
        raise
    except BaseException:
        kill()
        raise
    finally:
        del iterator  # ends them, and waits for them
        kill()
        atexit.unregister(kill)


def _started(loader: DataLoader[Any]) -> tuple[Iterator[Any], list[BaseProcess], str | None]:
    """The iterator, its processes, and the folder of the sockets by which they hand tensors over.

    It lies beside the tensors: in one of a long name, or without room, as $TMPDIR may be, none can
    be made, and nobody would hear of it.
    """
    before = set(multiprocessing.active_children())
    temporary, place = tempfile.tempdir, None
    try:
        tempfile.tempdir = place = tempfile.mkdtemp(prefix="harness-", dir=SHARED)
        with _signals_of_the_run():
            iterator = iter(loader)
    except (OSError, RuntimeError) as error:
        _kill(set(multiprocessing.active_children()) - before, place)
        raise cannot_deliver(f"they cannot be started: {error}") from error
    finally:
        tempfile.tempdir = temporary
    return iterator, list(set(multiprocessing.active_children()) - before), place


@contextmanager
def _signals_of_the_run() -> Iterator[None]:
    """Processes that are started meanwhile hear no stop: a signal to all processes of a job ends
    the run's, in its own time. And PyTorch's handler of a process's end is put away: it raises
    anywhere in the run, be it amid a step.
    """
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if in_main:
            signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)


def _next(iterator: Iterator[Any], stopping: Callable[[], bool], patience: float) -> Any:
    began = time.monotonic()
    while True:
        try:
            return next(iterator)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader timed out"):
                raise
        if stopping() and time.monotonic() - began >= patience:
            raise StoppedAlone("while it waited for images")


def _causes(processes: list[BaseProcess], error: Exception) -> str:
    """How the processes ended, or else the error that came of it."""
    codes = {process.exitcode for process in processes} - {None, 0}
    ends = [
        f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        for code in sorted(code for code in codes if code is not None)
    ]
    return ", ".join(ends) or str(error).splitlines()[0]


def cannot_deliver(cause: str) -> RunFailed:
    """The error of loader processes that came to an end, or have no room for a batch."""
    return RunFailed(
        f"the loader processes cannot deliver images ({cause}). They hand them over through "
        f"{SHARED}{_room()}, and each takes memory of its own: ask for fewer by `resources: "
        f"{{workers: N}}` (0 needs none), or give the job more memory and {SHARED} more room"
    )


def _room() -> str:
    with suppress(OSError):
        usage = shutil.disk_usage(SHARED)
        return f" ({usage.free / 2**20:,.2f} of {usage.total / 2**20:,.2f} MiB free)"
    return " (which is not there)"


def _kill(processes: Iterable[BaseProcess], place: str | None) -> None:
    ended = list(processes)
    for process in ended:
        process.kill()
    for process in ended:
        process.join(POLL)
    if place is not None:
        shutil.rmtree(place, ignore_errors=True)
