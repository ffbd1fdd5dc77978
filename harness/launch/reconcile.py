"""Holds the jobs noted in run directories against what SLURM says of them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.launch.job import fail_run
from harness.launch.scheduler import Answer, JobInfo, Scheduler, cancel_jobs
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

SUBMITTING = 600.0
"""Seconds that a submission on another host may take before it counts as broken off."""
FORGOTTEN = 300.0
"""Seconds after which a job that the controller does not know any more has ended."""


def reconcile(store: Store, scheduler: Scheduler, *, force: str | None = None) -> None:
    """Free the runs whose job has ended, and give broken-off submissions their job if there is one.

    `force` is a submission that is known to be over. Where SLURM does not answer, nothing changes.
    """
    records = [record for record in store.records() if record.note is not None]
    if not records:
        return
    answer = scheduler.ask(jobs_of(records))
    for record in records:
        note = record.note
        assert note is not None, "chosen above"
        if note.job is None:
            _settle_nameless(record, note, answer, over=note.submission == force)
        elif record.result is not None:
            drop_job(record.directory, note.submission)
        else:
            why = ended(note, answer)
            if why is not None:
                _free(record, note, answer.jobs.get(note.job), why)


def jobs_of(records: Sequence[RunRecord]) -> list[str]:
    """The numbers of the jobs that are responsible for runs."""
    jobs = (record.note.job for record in records if record.note is not None)
    return list(dict.fromkeys(job for job in jobs if job is not None))


def seen(
    records: Sequence[RunRecord], answer: Answer
) -> tuple[list[RunRecord], Mapping[str, JobInfo]]:
    """Records as they stand by SLURM's word, without writing, and the jobs by run identity."""
    names = {record.identity: record for record in records}
    found, jobs = [], {}
    for record in records:
        note = record.note
        if note is not None and note.job is not None:
            info = answer.jobs.get(note.job)
            if info is not None:
                jobs[record.identity] = info
            why = ended(note, answer)
            if why is not None and record.state == QUEUED:
                state = INTERRUPTED if record.attempt > note.attempt else PLANNED
                record = dataclasses.replace(record, state=state, error=why)
        blocked = _blocked(record, names)
        if blocked is not None:
            record = dataclasses.replace(record, error=blocked)
        found.append(record)
    return found, jobs


def ended(note: JobNote, answer: Answer) -> str | None:
    """Why the job of a run will not go on with it; None while it may."""
    if note.job is None or not answer.complete:
        return None
    info = answer.jobs.get(note.job)
    if info is None:
        if time.time() - note.age_since < FORGOTTEN:
            return None
        return f"SLURM does not know its job {note.job} any more; run again to submit it"
    if info.standing == "alive":
        return None
    return f"its job {note.job} is {info.state}; run again to submit it"


def _blocked(record: RunRecord, names: Mapping[str, RunRecord]) -> str | None:
    if record.state not in (PLANNED, QUEUED):
        return None
    for identity in record.depends:
        other = names.get(identity)
        if other is not None and other.state == FAILED:
            return f"blocked: needs run {other.name}, which failed"
    return None


def _settle_nameless(record: RunRecord, note: JobNote, answer: Answer, *, over: bool) -> None:
    if not (over or _broken_off(note)) or not answer.complete:
        return
    jobs = answer.submitted(f"harness:{note.submission}")
    for job, info in jobs.items():
        if "_" in job and not job.endswith(f"_{note.index}"):
            continue
        if (Path(note.folder) / f"{job}_submitted.pkl").exists():
            name_job(record.directory, note.submission, job)
            return
        if info.standing == "alive":  # it broke off before the job got its content
            try:
                cancel_jobs([job])
            except HarnessError:
                return  # next time
    drop_job(record.directory, note.submission)


def _broken_off(note: JobNote) -> bool:
    """Whether nobody is any more about to note the job's number."""
    if note.submitter is not None and note.submitter.local():
        return note.submitter.gone()
    return time.time() - note.age_since > SUBMITTING


def _free(record: RunRecord, note: JobNote, info: JobInfo | None, why: str) -> None:
    died = info is not None and info.standing == "failed"
    if died and record.state == QUEUED:
        fail_run(record.directory, f"{why.partition(';')[0]}; see {note.folder}")
    drop_job(record.directory, note.submission)
