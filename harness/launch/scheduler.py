"""What SLURM says of jobs: one question for all of them, and silence is no answer.

A job that nothing is known about counts as alive. The run directories are the truth about results;
this is only asked whether somebody is still going to write into them.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from harness.errors import HarnessError
from harness.launch.commands import call
from harness.text import count

Phase: TypeAlias = Literal["alive", "ended", "failed"]

_ENDED = frozenset({"COMPLETED", "CANCELLED", "TIMEOUT", "PREEMPTED", "NODE_FAIL", "REVOKED"})
_FAILED = frozenset({"FAILED", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"})
_JOB = re.compile(r"\d+(_\d+|\+\d+)?")
"""A job, one of an array, a part of a heterogeneous one."""
_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class JobInfo:
    """One job, or one element of an array."""

    job: str
    state: str  # as SLURM says it: PENDING, RUNNING, ...
    reason: str = ""
    node: str = ""
    comment: str = ""

    @property
    def phase(self) -> Phase:
        """Whether it may still work on its runs; a state that is not known here is alive."""
        return "ended" if self.state in _ENDED else "failed" if self.state in _FAILED else "alive"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back. Without `complete`, a job that is not in it may still exist."""

    jobs: dict[str, JobInfo] = field(default_factory=dict)
    complete: bool = False
    why: str = ""  # it is not complete, in one sentence

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
            answer = Answer(jobs=self._answer.jobs, complete=False, why=answer.why)
        self._answer = answer
        self._next = time.monotonic() + self._wait
        return answer


def cancel_jobs(jobs: Sequence[str]) -> None:
    """End jobs; HarnessError if the controller does not take it. Those that ended are no error."""
    for start in range(0, len(jobs), _AT_ONCE):  # a command line has a length
        answer = call("scancel", *jobs[start : start + _AT_ONCE])
        if not answer.ok and not re.search("already complet|invalid job id", answer.err, re.I):
            raise HarnessError(
                f"the scheduler did not cancel {count(len(jobs), 'job')}: {answer.why}; try again "
                "on a host where squeue works, or, where SLURM is gone for good, give --forget"
            )


def _squeue() -> Answer:
    # Fields and jobs are told apart by words that no comment, name or reason can hold: whatever
    # else is printed, and whatever line breaks texts have. The header shows that squeue answered.
    between, end = f"<{uuid.uuid4().hex}>", f"<{uuid.uuid4().hex}>\n"
    columns = between.join(("", "%i", "%T", "%r", "%N", "%k", end.strip()))
    listing = call("squeue", "-a", "-r", "-t", "all", "--me", "-o", columns)
    if not listing.ok:
        return Answer(why=listing.why)
    jobs, has_header = {}, False
    for text in listing.out.split(end.strip())[:-1]:
        fields = text.split(between)[1:-1]
        if len(fields) != 5:
            return Answer(why="squeue printed what cannot be understood")
        job, state, reason, node, comment = (field.strip() for field in fields)
        if job == "JOBID":
            has_header = True
        elif _JOB.fullmatch(job):
            jobs[job] = JobInfo(
                job=job,
                state=_state(state),
                reason="" if reason == "None" else reason,
                node=node,
                comment=comment,
            )
        else:  # jobs in a form of which not all can be told
            return Answer(why=f"squeue printed '{job[:80]}' as the number of a job")
    if not has_header:
        return Answer(why="squeue printed no list of jobs")
    return Answer(jobs=jobs, complete=True)


def _sacct(jobs: Sequence[str]) -> dict[str, JobInfo]:
    """How jobs that have left the queue ended: nothing where there is no accounting.

    One that it has as running is only missing there: its end was not noted.
    """
    arrays = sorted({job.partition("_")[0] for job in jobs})
    ended = {}
    for start in range(0, len(arrays), _AT_ONCE):
        some = ",".join(arrays[start : start + _AT_ONCE])
        listing = call("sacct", "-n", "-P", "-X", "-j", some, "-o", "JobID,State,NodeList")
        if not listing.ok:
            return {}
        for line in listing.out.splitlines():
            fields = line.split("|")
            if len(fields) == 3 and _JOB.fullmatch(fields[0]):
                info = JobInfo(job=fields[0], state=_state(fields[1]), node=fields[2])
                if info.phase != "alive":
                    ended[info.job] = info
    return ended


def _state(text: str) -> str:
    """The first word: "CANCELLED by 1000"."""
    return (text.split() or [""])[0]
