"""A task of a SLURM job: one process of a run, on one of the job's nodes.

The first task has the job's runs computed. Each other task keeps a process waiting for the first
one's, for as long as the first task tells nobody that it is over.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from harness.device import visible_gpus
from harness.launch.context import log
from harness.launch.rendezvous import (
    is_done,
    last_heartbeat,
    mark_done,
    report_failed_start,
    write_heartbeat,
)
from harness.launch.worker_group import start_follower

RESTARTS = "SLURM_RESTART_COUNT"
LOOK = 1.0
"""Seconds between looks at the process of a task."""
BEAT, SILENCE = 5.0, 180.0
"""Seconds between the first task's signs of life, and without one until it counts as dead: what a
file server shows may be a minute old."""


@dataclass(frozen=True, slots=True)
class SlurmTask:
    """Which one, of how many, and the folder of their rendezvous."""

    rank: int
    size: int
    nodes: int
    local: int  # its number among the tasks of its node
    folder: Path

    @classmethod
    def here(cls) -> Self:
        """As submitit knows it, inside a job."""
        from submitit import JobEnvironment

        job = JobEnvironment()
        # a requeued job may run while its former copy still does
        name = f"rendezvous-{job.job_id}-{os.environ.get(RESTARTS, '0')}"
        return cls(
            rank=job.global_rank,
            size=job.num_tasks,
            nodes=job.num_nodes,
            local=job.local_rank,
            folder=Path(os.environ["SUBMITIT_FOLDER"]) / name,
        )

    def gpu(self) -> str | None:
        """Its own of those that it sees; None where it sees none."""
        gpus = visible_gpus()
        if len(gpus) <= 1:  # the cluster has given each task its own
            return gpus[0] if gpus else None
        if self.local >= len(gpus):
            log(f"task {self.rank} sees {len(gpus)} GPUs for {self.local + 1} tasks of its node")
            sys.exit(1)
        return gpus[self.local]


class FollowerProcess:
    """A task that is not the first."""

    def __init__(self, task: SlurmTask) -> None:
        self._task = task
        self._process: subprocess.Popen[bytes] | None = None
        self._stop_requested = False
        self._heartbeat = _Heartbeat(task.folder)

    def run(self) -> None:
        """Until it is over. SystemExit where the first task is gone, or no process can begin."""
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._pass_on_signal)
        task = self._task
        while not is_done(task.folder):
            self._process = start_follower(task.folder, task.rank, gpu=task.gpu())
            if self._stop_requested:  # before there was a process
                self._process.send_signal(signal.SIGTERM)
            code = self._outcome(self._process)
            if code > 0:
                why = f"process {task.rank} of {task.size}, on {socket.gethostname()}, ended with "
                why += f"exit code {code} before it began; see the job's output of task {task.rank}"
                log(why)
                report_failed_start(task.folder, task.rank, why)
                sys.exit(code)

    def _outcome(self, process: subprocess.Popen[bytes]) -> int:
        """The exit code of the process, which does not outlive the first task."""
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(LOOK)
            if self._heartbeat.lost():
                log("the first task of the job is gone: this one ends")
                process.kill()
                sys.exit(1)

    def _pass_on_signal(self, *_: object) -> None:
        """The time limit comes near, or the job is preempted or cancelled."""
        self._stop_requested = True
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)


class _Heartbeat:
    """Signs of life, as they come in here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last, self._since = 0.0, time.monotonic()

    def lost(self) -> bool:
        """Whether there has been none for too long."""
        now, latest = time.monotonic(), last_heartbeat(self._folder)
        if latest != self._last:
            self._last, self._since = latest, now
        return now - self._since > SILENCE


@contextmanager
def leading_task(task: SlurmTask) -> Iterator[None]:
    """Show the other tasks that the first one lives, and at the end that it is over."""
    if task.size == 1:
        yield
        return
    end = threading.Event()
    thread = threading.Thread(target=_beat, args=(task.folder, end), daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        mark_done(task.folder)


def _beat(folder: Path, end: threading.Event) -> None:
    while True:
        with suppress(OSError):  # a file server that does not answer now may do so next time
            write_heartbeat(folder)
        if end.wait(BEAT):
            return
