"""A task of a SLURM job: one process of a run, on one of the job's nodes.

The first task has the job's runs computed. Each other task keeps a process waiting for the first
one's, for as long as the first task tells nobody that it is over.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from harness.device import visible_gpus
from harness.launch.context import log
from harness.launch.group import start_companion
from harness.launch.meeting import finished

RESTARTS = "SLURM_RESTART_COUNT"
PAUSE = 0.5
"""Seconds between two processes of a task."""


@dataclass(frozen=True, slots=True)
class Task:
    """Which one, of how many, and where they meet."""

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
        name = f"meeting-{job.job_id}-{os.environ.get(RESTARTS, '0')}"
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


class Follower:
    """A task that is not the first."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False

    def run(self) -> None:
        """Until it is over. SystemExit where a process cannot even begin: SLURM ends the others."""
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._pass_on)
        task = self._task
        while not finished(task.folder):
            self._process = start_companion(task.folder, task.rank, gpu=task.gpu())
            if self._asked:  # before there was a process
                self._process.send_signal(signal.SIGTERM)
            code = self._process.wait()
            if code != 0:
                log(f"process {task.rank} of {task.size} ended with exit code {code}")
            if code > 0:
                sys.exit(code)
            time.sleep(PAUSE)

    def _pass_on(self, *_: object) -> None:
        """The time limit comes near, or the job is preempted or cancelled."""
        self._asked = True
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
