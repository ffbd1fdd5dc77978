"""What SLURM says of jobs: one question for all of them, and silence is no answer.

A job that nothing is known about counts as alive. The run directories are the truth about results;
this is only asked whether somebody is still going to write into them.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from harness.errors import HarnessError

Standing: TypeAlias = Literal["alive", "ended", "failed"]

_ENDED = frozenset({"COMPLETED", "CANCELLED", "TIMEOUT", "PREEMPTED", "NODE_FAIL", "REVOKED"})
_FAILED = frozenset({"FAILED", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"})
_QUESTION_SECONDS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class JobInfo:
    """One job, or one element of an array."""

    job: str
    state: str  # as SLURM says it: PENDING, RUNNING, ...
    reason: str = ""
    node: str = ""
    comment: str = ""

    @property
    def standing(self) -> Standing:
        """Whether it may still work on its runs; a state that is not known here is alive."""
        return "ended" if self.state in _ENDED else "failed" if self.state in _FAILED else "alive"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back. Without `complete`, a job that is not in it may still exist."""

    jobs: dict[str, JobInfo] = field(default_factory=dict)
    complete: bool = False

    def submitted(self, comment: str) -> dict[str, JobInfo]:
        """The jobs of one submission."""
        return {job: info for job, info in self.jobs.items() if info.comment == comment}


class Scheduler:
    """Asks SLURM, at most every `every` seconds, more rarely while it does not answer."""

    def __init__(self, every: float = 10.0) -> None:
        self._every = self._wait = every
        self._answer = Answer()
        self._next = 0.0

    def ask(self, jobs: Sequence[str] = ()) -> Answer:
        """All jobs of the user that the controller knows; of `jobs`, also those in accounting."""
        if time.monotonic() < self._next:
            return self._answer
        answer = _squeue()
        if answer.complete:
            self._wait = self._every
            gone = [job for job in jobs if job not in answer.jobs]
            answer = Answer(jobs={**_sacct(gone), **answer.jobs}, complete=True)
        else:
            self._wait = min(2 * self._wait, 300.0)
            answer = Answer(jobs=self._answer.jobs, complete=False)
        self._answer = answer
        self._next = time.monotonic() + self._wait
        return answer


def cancel_jobs(jobs: Sequence[str]) -> None:
    """End jobs; HarnessError if the controller does not take it."""
    for start in range(0, len(jobs), 500):  # a command line has a length
        some = jobs[start : start + 500]
        said = _call("scancel", *some)
        if said is None or said.returncode != 0:
            why = "no scancel here" if said is None else said.stderr.strip()
            raise HarnessError(
                f"the scheduler did not cancel {len(jobs)} jobs: {why}; try again on a host where "
                "squeue works"
            )


def _squeue() -> Answer:
    columns = "%i|%T|%r|%N|%k"
    said = _call("squeue", "-h", "-r", "-t", "all", "--me", "-o", columns)
    if said is None or said.returncode != 0:
        return Answer()
    found = {}
    for line in said.stdout.splitlines():
        job, state, reason, node, comment = line.split("|", 4)
        found[job] = JobInfo(
            job=job,
            state=state,
            reason="" if reason == "None" else reason,
            node=node,
            comment=comment,
        )
    return Answer(jobs=found, complete=True)


def _sacct(jobs: Sequence[str]) -> dict[str, JobInfo]:
    """What accounting knows of jobs that have left the queue: nothing where there is none."""
    if not jobs:
        return {}
    arrays = sorted({job.partition("_")[0] for job in jobs})
    said = _call("sacct", "-n", "-P", "-X", "-j", ",".join(arrays), "-o", "JobID,State,NodeList")
    if said is None or said.returncode != 0:
        return {}
    found = {}
    for line in said.stdout.splitlines():
        job, state, node = line.split("|", 2)
        # "CANCELLED by 1000"
        found[job] = JobInfo(job=job, state=(state.split() or [""])[0], node=node)
    return found


def _call(*words: str) -> subprocess.CompletedProcess[str] | None:
    """What a command of SLURM said; None where there is none or it does not come back."""
    try:
        return subprocess.run(
            words, capture_output=True, text=True, timeout=_QUESTION_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
