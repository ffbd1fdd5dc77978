"""`job.json`: the scheduler's job that is responsible for a run, from submission to its end.

It is made before the job is submitted, by linking, so that of two submissions at once only one has
the run; it gets the job's number after, and goes when the job ends. Whoever finds one without a
number finds a submission that broke off.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from harness.store.files import (
    create_json,
    line_in,
    now_text,
    read_json_or_nothing,
    replace_json,
    seconds_of,
    whole_in,
    writing,
)
from harness.store.lease import Owner, latest_number

JOB = "job.json"
_FORMER_NAMES = {
    "counted": "attempts_counted",
    "reached": "best_step",
    "barren": "attempts_without_progress",
}
"""Keys as older versions wrote them: their jobs may still be in the queue."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobNote:
    """The content of the file."""

    submission: str  # the comment of the job
    index: int  # in the job's array
    job: str | None  # None: not known to be submitted
    folder: str  # where the job's output lies
    submitted: str  # when
    submitter: Owner | None
    attempt: int  # the last one before the submission
    attempts_counted: int  # the last attempt that the two below know of
    best_step: int = 0  # the furthest progress of any attempt
    attempts_without_progress: int = 0  # attempts in a row that got no further

    @property
    def submitted_at(self) -> float:
        """When it was submitted, in seconds since 1970."""
        return seconds_of(self.submitted) or 0.0

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self | None:
        """From its JSON form; None where there is none or it is damaged."""
        value = {_FORMER_NAMES.get(key, key): part for key, part in value.items()}
        counts = [value.get(key, 0) for key in ("index", "attempt", *_FORMER_NAMES.values())]
        texts = [value.get(key) for key in ("submission", "folder", "submitted")]
        texts += [value["job"]] if value.get("job") is not None else []
        if None in map(whole_in, counts) or any(
            text is None or line_in(text) != text for text in texts
        ):
            return None
        try:
            return cls(**{**value, "submitter": Owner.from_dict(value["submitter"])})
        except (KeyError, TypeError):
            return None


def read_job(directory: Path) -> JobNote | None:
    """The job that is responsible for a run; None if none is."""
    return JobNote.from_dict(read_json_or_nothing(directory / JOB))


def reserve_job(directory: Path, *, submission: str, index: int, folder: Path) -> bool:
    """Note that a job is about to be submitted for a run; False if there is one already."""
    attempt = latest_number(directory)
    note = JobNote(
        submission=submission,
        index=index,
        job=None,
        folder=str(folder),
        submitted=now_text(),
        submitter=Owner.here(),
        attempt=attempt,
        attempts_counted=attempt,
    )
    return create_json(directory / JOB, asdict(note))


def name_job(directory: Path, submission: str, job: str) -> None:
    """Note the number of the submitted job, unless it has ended already."""
    note = read_job(directory)
    if note is not None and note.submission == submission:
        replace_json(directory / JOB, asdict(replace(note, job=job)))


def change_job(directory: Path, note: JobNote) -> None:
    """Replace the note, unless somebody has taken it away."""
    if (directory / JOB).exists():
        replace_json(directory / JOB, asdict(note))


def drop_job(directory: Path, submission: str) -> None:
    """No job is responsible for the run any more."""
    note = read_job(directory)
    if note is None or note.submission == submission:
        with writing(directory / JOB), suppress(FileNotFoundError):
            (directory / JOB).unlink()
