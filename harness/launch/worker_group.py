"""The processes that compute one run, as the first of them sees it: the worker, which owns the run.

On one machine it starts the others itself. In a SLURM job of several tasks each task starts its own
and the worker finds them waiting. Either way they find each other through a folder
(`rendezvous.py`), and if one ends before its time, all do.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.device import visible_gpus
from harness.distributed import DistContext, open_tcp_store
from harness.errors import HarnessError, Interrupted, RunFailed
from harness.launch.rendezvous import (
    LOCAL,
    Connection,
    RendezvousInfo,
    failed_start,
    new_token,
    use_loopback,
)
from harness.run import Resources

START_SECONDS = 300.0
"""Seconds that all processes have to come: many start Python from one file server at once."""
SETTLE = 1.0
"""Seconds in which the processes that a death takes with it are heard, after the first."""
PATIENCE = 10.0
"""Seconds that this process has, after another has died, to come out of a sum over all of them."""
HELLO_SECONDS = 10.0
"""Seconds that somebody who has connected has to say who it is."""


class RankLost(HarnessError):
    """A process of the run has ended before its time: the run goes on from its checkpoint."""


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """Where the processes of a worker meet that has not started them itself."""

    folder: Path
    nodes: int


@dataclass(frozen=True, slots=True)
class _RankFailure:
    """A process that has ended."""

    rank: int
    where: str
    error: str | None  # None: without a word
    final: bool  # running again would end the same


class WorkerGroup:
    """The others, from their assembly to their end."""

    def __init__(
        self, directory: Path, resources: Resources, folder: Path, size: int, *, here: bool
    ) -> None:
        self.dist = DistContext(0, size)
        self._server = socket.create_server((LOCAL if here else "", 0))
        self.store = open_tcp_store(LOCAL, 0, first=True)
        self._info = RendezvousInfo(
            directory=str(directory),
            resources=asdict(resources),
            size=size,
            host=LOCAL if here else socket.gethostname(),
            port=self._server.getsockname()[1],
            store=self.store.port,
            token=new_token(),
        )
        self._folder = folder
        self._connections: dict[int, tuple[Connection, str]] = {}
        self._failures: list[_RankFailure] = []
        self._lost, self._closed = threading.Event(), threading.Event()

    def start(self, check: Callable[[], None]) -> None:
        """Wait until all are there; `check` raises where that has no prospect any more."""
        self._info.write(self._folder)
        end = time.monotonic() + START_SECONDS
        self._server.settimeout(0.2)
        while len(self._connections) < self.dist.size - 1:
            check()
            if time.monotonic() > end:
                here = ", ".join(where for _, where in self._connections.values()) or "none"
                raise RankLost(
                    f"of {self.dist.size - 1} other processes only {len(self._connections)} came "
                    f"within {START_SECONDS:.0f} s ({here}): can the nodes reach "
                    f"{self._info.host}, port {self._info.port}, and see {self._folder}?"
                )
            with suppress(TimeoutError):
                self._admit(Connection(self._server.accept()[0]))
        self._server.close()

    def members(self) -> list[str]:
        """Who the others are."""
        size = self.dist.size
        return [
            f"process {rank} of {size}: {where}"
            for rank, (_, where) in sorted(self._connections.items())
        ]

    def monitor(self, give_up: Callable[[HarnessError], None]) -> None:
        """Notice when one ends; `give_up` if this process is still stuck a while after."""
        for rank, (connection, where) in self._connections.items():
            listener = threading.Thread(
                target=self._listen, args=(rank, connection, where), daemon=True
            )
            listener.start()
        threading.Thread(target=self._give_up_when_stuck, args=(give_up,), daemon=True).start()

    def failure(self) -> HarnessError | None:
        """What to say of the processes that have ended; None if, shortly after, none has."""
        if not self._lost.wait(SETTLE):
            return None
        time.sleep(SETTLE)
        failures = sorted(self._failures, key=lambda one: (not one.final, one.error is not None))
        first, size = failures[0], self.dist.size
        who = f"process {first.rank} of {size} ({first.where})"
        if first.error is None:
            return RankLost(f"{who} ended without a word: killed, or its node is out of memory")
        return (
            RunFailed(f"{who}: {first.error}") if first.final else RankLost(f"{who}: {first.error}")
        )

    def stop(self) -> None:
        """The run is over: the others end, if they have not yet."""
        self._closed.set()
        self._lost.set()  # so that nobody stands by any more
        self._server.close()
        for connection, _ in self._connections.values():
            connection.close()

    def _admit(self, connection: Connection) -> None:
        hello = connection.recv(HELLO_SECONDS) or {}
        rank = hello.get("rank")
        if hello.get("token") != self._info.token or rank in self._connections:
            connection.close()
            return
        with suppress(OSError):
            connection.send(welcome=True)
            self._connections[int(str(rank))] = (
                connection,
                f"{hello.get('host')}, pid {hello.get('pid')}",
            )

    def _listen(self, rank: int, connection: Connection, where: str) -> None:
        message = connection.recv()
        if self._closed.is_set() or (message is not None and message.get("done")):
            return
        error = None if message is None else str(message.get("error"))
        self._failures.append(
            _RankFailure(rank, where, error, bool(message and message.get("final")))
        )
        self._lost.set()

    def _give_up_when_stuck(self, give_up: Callable[[HarnessError], None]) -> None:
        self._lost.wait()
        if not self._closed.wait(PATIENCE):
            failure = self.failure()
            assert failure is not None, "one was lost"
            give_up(failure)


@contextmanager
def worker_group(
    directory: Path,
    resources: Resources,
    rendezvous: Rendezvous | None,
    *,
    stopping: Callable[[], bool],
    give_up: Callable[[HarnessError], None],
) -> Iterator[WorkerGroup | None]:
    """The group of a run, to its end; None where one process computes it.

    RankLost or RunFailed instead of whatever error the end of another process has led to here.
    """
    if resources.processes == 1:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="harness-") as temporary:
        folder = Path(temporary) if rendezvous is None else rendezvous.folder
        here = rendezvous is None or rendezvous.nodes == 1
        if here:
            use_loopback()
        started = _start_all(resources, folder) if rendezvous is None else []
        group = WorkerGroup(directory, resources, folder, resources.processes, here=here)
        try:
            group.start(lambda: _check_prospects(folder, started, stopping))
            group.monitor(give_up)
            yield group
        except (HarnessError, Interrupted):
            raise
        except Exception as error:
            failure = group.failure()
            if failure is None:
                raise
            raise failure from error
        finally:
            group.stop()
            for process in started:
                process.kill()
                process.wait()


def _check_prospects(
    folder: Path, started: Sequence[subprocess.Popen[bytes]], stopping: Callable[[], bool]
) -> None:
    if stopping():
        raise Interrupted("before all processes were there")
    why = failed_start(folder)
    if why is not None:
        raise RunFailed(why)
    for rank, process in enumerate(started, 1):
        code = process.poll()
        if code is not None:
            raise RunFailed(f"process {rank} ended with exit code {code} before it began")


def _start_all(resources: Resources, folder: Path) -> list[subprocess.Popen[bytes]]:
    """The other processes, on this machine; HarnessError where there are not enough GPUs."""
    gpus = visible_gpus() if resources.device.startswith("cuda") else []
    if resources.device.startswith("cuda") and len(gpus) < resources.processes:
        raise RunFailed(
            f"the run asks for {resources.processes} GPUs, this process sees {len(gpus)}; lower "
            "`processes`, or make more visible (CUDA_VISIBLE_DEVICES)"
        )
    return [
        start_follower(folder, rank, gpu=gpus[rank] if gpus else None)
        for rank in range(1, resources.processes)
    ]


def start_follower(folder: Path, rank: int, *, gpu: str | None) -> subprocess.Popen[bytes]:
    """One of the other processes, which waits in `folder` for a rendezvous."""
    environment = dict(os.environ)
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    words = ["-m", "harness.launch.follower", str(folder), str(rank)]
    return subprocess.Popen([sys.executable, *words], env=environment, stdin=subprocess.DEVNULL)
