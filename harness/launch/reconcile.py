"""Holds the jobs noted in run directories against what SLURM says of them."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from harness.errors import HarnessError
from harness.launch.job import fail_run
from harness.launch.scheduler import Answer, JobInfo, Scheduler, cancel_jobs
from harness.plan import Plan, Reason
from harness.store import (
    FAILED,
    INTERRUPTED,
    PLANNED,
    QUEUED,
    JobNote,
    RunRecord,
    Store,
    drop_job,
    name_job,
)

COMMENT = "harness:"
"""Begins the comment of our jobs; the submission follows."""
MARK = "harness: "
"""Before what the job's script and the job say about their own end."""
SUBMITTING = 600.0
"""Seconds that a submission on another host may take before it counts as broken off."""
FORGOTTEN = 300.0
"""Seconds after which a job that the controller does not know any more has ended."""


def reconcile(store: Store, scheduler: Scheduler, *, force: str | None = None) -> Answer:
    """Free the runs whose job has ended, and give broken-off submissions their job if there is one.

    `force` is a submission that is known to be over. Where SLURM does not answer, only submissions
    that broke off are settled. Gives back the answer.
    """
    records = [record for record in store.records() if record.note is not None]
    if not records:
        return Answer(complete=True)
    answer = scheduler.ask(jobs_of(records))
    strays: set[str] = set()
    for record in records:
        note = record.note
        assert note is not None, "chosen above"
        if note.job is None:
            if note.submission == force or broken_off(note):
                strays |= _adopt_orphan_submission(record, note, answer)
        elif record.result is not None:
            drop_job(record.directory, note.submission)
        else:
            why = ended(note, answer)
            if why is not None:
                _free(record, note, answer.jobs.get(note.job), why)
    if strays:
        with suppress(HarnessError):  # they end by themselves, for they have no content
            cancel_jobs(sorted(strays))
    return answer


def without_unknown(plan: Plan, answer: Answer) -> Plan:
    """The plan of a local run, with the runs blocked whose jobs SLURM cannot be asked about.

    They may be computed or not, today or never: waiting for them could go on for ever.
    """
    if answer.complete:
        return plan
    names: dict[str, str] = {}
    runs = []
    for planned in plan.runs:
        record = planned.record
        lacking = [names[identity] for identity in planned.run.depends if identity in names]
        reason = None
        if record is not None and record.state == QUEUED:
            what = f"{_unknown(record, answer)}; ask on a host of the cluster, or take the run "
            reason = Reason(f"{what}back: harness cancel --forget {record.name}")
        elif lacking and planned.status not in ("cached", "running"):
            reason = Reason.needs_run(lacking[0], "which is blocked")
        if reason is not None:
            names[planned.run.identity] = planned.run.name
            planned = dataclasses.replace(planned, status="blocked", reasons=(reason,))
        runs.append(planned)
    return dataclasses.replace(plan, runs=tuple(runs))


def _unknown(record: RunRecord, answer: Answer) -> str:
    job = record.job or "that is being submitted"
    return f"SLURM cannot be asked about its job {job}: {answer.why or 'no answer'}"


def jobs_of(records: Sequence[RunRecord]) -> list[str]:
    """The numbers of the jobs that are responsible for runs."""
    jobs = (record.note.job for record in records if record.note is not None)
    return list(dict.fromkeys(job for job in jobs if job is not None))


def with_scheduler_state(
    records: Sequence[RunRecord], answer: Answer
) -> tuple[list[RunRecord], Mapping[str, JobInfo]]:
    """Records as they stand by SLURM's word, without writing, and the jobs by run identity."""
    by_identity = {record.identity: record for record in records}
    reconciled, jobs = [], {}
    for record in records:
        note = record.note
        if note is not None and note.job is not None:
            info = answer.jobs.get(note.job)
            if info is not None:
                jobs[record.identity] = info
            why = ended(note, answer)
            if why is not None and record.state == QUEUED:
                state = INTERRUPTED if record.attempt > note.attempt else PLANNED
                if info is not None and info.phase == "failed":
                    why = _with_last_words(note, why)
                record = dataclasses.replace(record, state=state, error=why)
        if note is not None and record.state == QUEUED and answer.why:
            record = dataclasses.replace(record, error=_unknown(record, answer))
        blocked = _blocked(record, by_identity)
        if blocked is not None:
            record = dataclasses.replace(record, error=blocked)
        reconciled.append(record)
    return reconciled, jobs


def ended(note: JobNote, answer: Answer) -> str | None:
    """Why the job of a run will not go on with it; None while it may."""
    if note.job is None or not answer.complete:
        return None
    info = answer.jobs.get(note.job)
    if info is None:
        if time.time() - note.submitted_at < FORGOTTEN:
            return None
        return f"SLURM does not know its job {note.job} any more; run again to submit it"
    if info.comment.startswith(COMMENT) and info.comment != COMMENT + note.submission:
        return f"SLURM has given the number {note.job} of its job to another; run again"
    if info.phase == "alive":
        return None
    return f"its job {note.job} is {info.state}; run again to submit it"


def _blocked(record: RunRecord, by_identity: Mapping[str, RunRecord]) -> str | None:
    if record.state not in (PLANNED, QUEUED):
        return None
    for identity in record.depends:
        other = by_identity.get(identity)
        if other is not None and other.state == FAILED:
            return f"blocked: needs run {other.name}, which failed"
    return None


def _adopt_orphan_submission(record: RunRecord, note: JobNote, answer: Answer) -> set[str]:
    """Find the job of a submission that broke off; else its jobs without content, if any.

    A job computes what the submission moves into its folder once it knows the job's number, and
    fails where there is nothing. So the folder tells whether there is a job, without SLURM.
    """
    for path in Path(note.folder).glob("*_submitted.pkl"):
        job = path.name.removesuffix("_submitted.pkl")
        if "_" not in job or job.endswith(f"_{note.index}"):
            name_job(record.directory, note.submission, job)
            return set()
    drop_job(record.directory, note.submission)
    jobs = answer.submitted(COMMENT + note.submission)
    of_run = (job for job in jobs if "_" not in job or job.endswith(f"_{note.index}"))
    return {job for job in of_run if jobs[job].phase == "alive"}


def broken_off(note: JobNote) -> bool:
    """Whether nobody is any more about to note the job's number."""
    if note.submitter is not None and note.submitter.on_this_machine():
        return note.submitter.has_ended()
    return time.time() - note.submitted_at > SUBMITTING


def _free(record: RunRecord, note: JobNote, info: JobInfo | None, why: str) -> None:
    died = info is not None and info.phase == "failed"
    if died and record.state == QUEUED:
        fail_run(record.directory, _with_last_words(note, why))
    drop_job(record.directory, note.submission)


def _with_last_words(note: JobNote, why: str) -> str:
    words = last_words(Path(note.folder), note.job or "")
    cause = f" ({words})" if words else ""
    return f"{why.partition(';')[0]}{cause}; see {note.folder}"


def last_words(folder: Path, job: str) -> str | None:
    """What a job printed that says why it failed; None where it printed nothing like it."""
    try:
        with (folder / f"{job}_0_log.out").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 20_000))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    ours = [line.partition(MARK)[2] for line in lines if MARK in line]
    raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    # the first of others: what follows are its consequences
    errors = [line for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)]
    telling = (*ours[-1:], *raised[-1:], *errors[:1])
    return telling[0].strip()[:400] if telling else None
