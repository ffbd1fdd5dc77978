"""What runs inside a job: the worker, and what to do when it is stopped.

submitit unpickles a `Job` and calls it. The worker is a process of its own, the same that the local
executor starts, so that a worker which is killed leaves somebody to requeue the job.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from harness.launch.commands import CommandResult, call
from harness.launch.context import log
from harness.launch.slurm_task import RESTARTS, FollowerProcess, SlurmTask, leading_task
from harness.launch.snapshot import lacking, package_root
from harness.launch.worker import (
    EXIT_CANNOT_WRITE,
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_LOST,
    EXIT_UNREADABLE,
)
from harness.store import (
    DONE,
    FAILED,
    INTERRUPTED,
    RunWriter,
    claim,
    drop_job,
    read_job,
    read_record,
)
from harness.store.job import change_job
from harness.store.lease import latest_number, this_job
from harness.store.record import State

REQUEUE_PATIENCE, REQUEUE_PAUSE = 1800.0, 15.0
"""Seconds that a controller may be away when a job wants to be requeued, and between questions."""
_AWAY = re.compile(
    r"unable to contact|timed out|connect|communicat|temporar|try again|zero bytes|"
    r"not respond|standby|unexpected message|incompatible",
    re.IGNORECASE,
)
"""How SLURM says that its controller was not reached, or is not ready."""


class RunsFailed(Exception):
    """Runs of this job have no result: the job fails, and what depends on it does not start."""


@dataclass(frozen=True)
class Job:
    """Runs that one job computes, one after the other."""

    submission: str
    directories: tuple[str, ...]
    resources: str  # JSON, for the worker
    attempts: int  # in a row that get no further
    code: str = ""  # the snapshot that it was submitted with

    def __call__(self) -> None:
        """Compute; RunsFailed if a run has failed for good."""
        self.check_code()
        task = SlurmTask.here()
        if task.rank > 0:
            FollowerProcess(task).run()
            return
        with leading_task(task):
            execution = _Execution(self, task)
            while (directories := self.left()) and execution.compute(directories):
                pass
            self.conclude()

    def check_code(self) -> None:
        """SystemExit where other code than that of the submission would compute the runs."""
        here, wanted = package_root(), Path(self.code).resolve()
        why = None
        if self.code and here != wanted:
            why = f"the code that was imported is {here}, not the copy made for this job, {wanted}"
        elif self.code and (files := lacking(wanted)):
            why = f"the copy of the code {wanted} is not whole any more ({files[0]}"
            why += f" and {len(files) - 1} more)" if len(files) > 1 else ")"
        if why is not None:
            log(f"harness: {why}: run again, which makes a new one")
            sys.exit(1)

    def left(self) -> list[Path]:
        """The runs that are neither done nor failed in this submission, after counting attempts."""
        directories = map(Path, self.directories)
        return [one for one in directories if not self.ended(one) and not self._exhausted(one)]

    def ended(self, directory: Path) -> bool:
        """Whether a run is done, or failed since it was submitted."""
        record = read_record(directory)
        return record is None or record.broken or record.state in (DONE, FAILED)

    def conclude(self) -> None:
        """No run is left: this job is responsible for none any more."""
        failed = []
        for directory in map(Path, self.directories):
            record = read_record(directory)
            if record is None or record.state != DONE:
                failed.append(directory.name)
            drop_job(directory, self.submission)
        if failed:
            raise RunsFailed(", ".join(failed))

    def _exhausted(self, directory: Path) -> bool:
        """Count the attempts since the last look; fail the run if too many got no further."""
        note = read_job(directory)
        if note is None or note.submission != self.submission:
            return False
        latest, state = latest_number(directory), State.read(directory)
        reached = state.progress.done if state is not None and state.progress is not None else 0
        if latest > note.attempts_counted:
            further = reached > note.best_step
            more = latest - note.attempts_counted
            without_progress = 0 if further else note.attempts_without_progress + more
            note = dataclasses.replace(
                note,
                attempts_counted=latest,
                best_step=max(reached, note.best_step),
                attempts_without_progress=without_progress,
            )
            change_job(directory, note)
        if note.attempts_without_progress < self.attempts:
            return False
        last = f"; the last one: {state.error}" if state is not None and state.error else ""
        fail_run(
            directory,
            f"gave up: {note.attempts_without_progress} attempts in a row got no further than step "
            f"{note.best_step}{last}; see log.txt, and run again to go on from the last checkpoint",
        )
        return True


def fail_run(directory: Path, error: str) -> None:
    """Note that a run has failed, as an attempt of its own, unless somebody computes it."""
    _end_run(directory, FAILED, error)


class _Execution:
    """One worker at a time, and the signals that came meanwhile."""

    def __init__(self, job: Job, task: SlurmTask) -> None:
        self._job = job
        self._task = task
        self._worker: subprocess.Popen[bytes] | None = None
        self._stopping = False
        # instead of submitit's own, which would checkpoint in the middle of whatever is going on
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._stop)

    def compute(self, directories: Sequence[Path]) -> bool:
        """Start a worker and act on how it ended; whether there is more to do here."""
        before = [latest_number(directory) for directory in directories]
        self._worker = subprocess.Popen(
            [
                *(sys.executable, "-m", "harness.launch.worker"),
                *(*self._options(), *map(str, directories)),
            ],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
        )
        if self._stopping:  # a signal came before there was a worker
            self._worker.send_signal(signal.SIGTERM)
        code = self._worker.wait()
        log(f"the worker ended with exit code {code}")
        if code in (EXIT_DONE, EXIT_FAILED, EXIT_UNREADABLE):
            return False
        if code == EXIT_CANNOT_WRITE:
            self._give_back(directories)
            raise RunsFailed("the results folder cannot be written; see the lines above")
        if code in (EXIT_INTERRUPTED, EXIT_LOST) or code < 0:
            left = self._job.left()  # counts the attempt
            if left:
                self._end_for_good(left, _requeue())
        elif before == [latest_number(directory) for directory in directories]:
            for directory in directories:
                fail_run(directory, f"its worker ended with exit code {code} before it began")
        return True

    def _end_for_good(self, left: Sequence[Path], why: str) -> NoReturn:
        """This job cannot go back into the queue: the next `harness run` submits another."""
        log(f"harness: {why}")
        for directory in left:
            interrupt_run(directory, why)
        self._give_back([Path(directory) for directory in self._job.directories])
        sys.exit(EXIT_INTERRUPTED)

    def _options(self) -> list[str]:
        """Of the worker: in a job of several tasks, it is the first of as many processes."""
        task = self._task
        if task.size == 1:
            return ["--resources", self._job.resources]
        resources = {**json.loads(self._job.resources), "processes": task.size, "nodes": task.nodes}
        return ["--resources", json.dumps(resources), "--rendezvous", str(task.folder)]

    def _environment(self) -> dict[str, str]:
        gpu = self._task.gpu() if self._task.size > 1 else None
        return {**os.environ} if gpu is None else {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}

    def _give_back(self, directories: Sequence[Path]) -> None:
        for directory in directories:
            drop_job(directory, self._job.submission)

    def _stop(self, *_: object) -> None:
        """The time limit comes near, or the job is preempted or cancelled."""
        self._stopping = True
        if self._worker is not None and self._worker.poll() is None:
            self._worker.send_signal(signal.SIGTERM)


def interrupt_run(directory: Path, error: str) -> None:
    """Note why nobody goes on with a run that was begun, unless somebody computes it."""
    if latest_number(directory):
        _end_run(directory, INTERRUPTED, error)


def _end_run(directory: Path, state: str, error: str) -> None:
    lease = claim(directory)
    if lease is None:
        return
    writer = RunWriter(lease)
    before = State.read(directory)
    writer.progress = None if before is None else before.progress
    writer.state(state, error=error)
    lease.release(state, error)


def _requeue() -> str:
    """Put this job back into the queue, unless it was cancelled or runs elsewhere, and end.

    Comes back where that cannot be, with the reason.
    """
    job = this_job() or ""
    end, pause = time.monotonic() + REQUEUE_PATIENCE, 1.0
    while True:
        shown = call("scontrol", "show", "job", "-o", job)
        state = re.search(r"\bJobState=(\w+)", shown.out)
        restarts = re.search(r"\bRestarts=(\d+)", shown.out)
        if restarts is not None and int(restarts[1]) > int(os.environ.get(RESTARTS, "0")):
            log(f"job {job} is requeued already: this copy ends")
            sys.exit(EXIT_LOST)
        if state is not None and state[1] != "RUNNING":  # a cancelled job is COMPLETING at first
            log(f"job {job} is {state[1]}: it is not requeued")
            sys.exit(EXIT_INTERRUPTED)
        if re.search(r"\bRequeue=0\b", shown.out):
            return f"its job {job} cannot be requeued (it was submitted without): run again"
        # unknown whether it is requeued already: a second time would stop the next copy
        answer = shown if _passing(shown) else call("scontrol", "requeue", job)
        if answer.ok:
            log(f"requeued job {job}")
            sys.exit(EXIT_INTERRUPTED)
        log(f"job {job} could not be requeued: {answer.why}")
        if not _passing(answer) or time.monotonic() + pause > end:
            return f"its job {job} cannot be requeued ({answer.why}): run again"
        time.sleep(pause)  # the controller may be away for a moment, or be replaced
        pause = min(2 * pause, REQUEUE_PAUSE)


def _passing(answer: CommandResult) -> bool:
    """Whether the same question may be answered later: the controller was not reached, or the
    program was killed. SLURM ends all of a job that it requeues, the one that asks for it too.
    """
    if answer.code is None:
        return answer.timed_out
    return answer.code < 0 or (answer.code > 0 and bool(_AWAY.search(answer.err)))
