"""Submits a plan to SLURM through submitit, and returns at once."""

from __future__ import annotations

import dataclasses
import json
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.launch.cluster import Cluster
from harness.launch.job import Job
from harness.launch.job_arrays import JobArray, job_arrays
from harness.launch.reconcile import COMMENT, reconcile
from harness.launch.sbatch import (
    COMMANDS,
    Refused,
    batch_script,
    largest_array,
    remedy,
    submit_array,
)
from harness.launch.scheduler import Scheduler
from harness.launch.snapshot import package_root, snapshot_name, take_snapshot
from harness.plan import LONG, TO_RUN, Plan, Reason, Status
from harness.run import Resources
from harness.store import QUEUED, RUNNING, Store, name_job, put_aside, reserve_job
from harness.text import count, duration, options


@dataclass(frozen=True, kw_only=True, slots=True)
class Submitted:
    """One array that SLURM has taken."""

    job: str
    jobs: int
    runs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """What became of a plan."""

    arrays: tuple[Submitted, ...]
    left_out: Mapping[str, str]  # name of a run -> why it was not submitted

    @property
    def runs(self) -> int:
        """How many were submitted."""
        return sum(array.runs for array in self.arrays)


class SlurmExecutor:
    """Submits what is missing of a plan. What has a job already is not submitted again."""

    def __init__(self, plan: Plan, store: Store, *, cluster: Cluster, resources: Resources) -> None:
        self.plan = plan
        self._store = store
        self._cluster = cluster
        self._resources = resources
        self._folder = cluster.folder(store.root)
        self._names = {planned.run.identity: planned.run.name for planned in plan.runs}
        self._left_out: dict[str, str] = {}

    def preview(self) -> Iterator[str]:
        """What would be submitted, counted and as batch scripts; then the scripts of what is
        blocked, each with what it lacks. Submits and writes nothing.
        """
        blocked: list[Status] = ["blocked"]
        yield f"# would be submitted: {self._counted(TO_RUN)}"
        if self.plan.counts["blocked"]:
            yield f"# blocked: {self._counted(blocked)}"
        yield from self.scripts()
        for array, script in zip(
            self._arrays(statuses=blocked), self.scripts(blocked), strict=True
        ):
            yield "# would be submitted once this is there:"
            yield from dict.fromkeys(
                f"#   {reason}"
                for job in array.jobs
                for planned in job
                for reason in planned.reasons
            )
            yield script

    def _counted(self, statuses: Collection[Status]) -> str:
        arrays = tuple(self._arrays(statuses=statuses))
        runs = [planned for array in arrays for job in array.jobs for planned in job]
        seconds = sum(planned.seconds for planned in runs)
        long = self.plan.device == "cuda" and seconds > LONG
        parts = [
            count(len(arrays), "array"),
            count(sum(len(array.jobs) for array in arrays), "job"),
            count(len(runs), "run"),
            f"roughly {f'{seconds / 3600:,.0f} GPU-hours' if long else duration(seconds)}",
        ]
        return ", ".join(parts if runs else ["nothing"])

    def scripts(self, statuses: Collection[Status] = TO_RUN) -> Iterator[str]:
        """The batch scripts of the runs that stand so, as they would be submitted; submits and
        writes nothing.
        """
        code = self._folder / "code" / snapshot_name(package_root())
        for array in self._arrays(statuses=statuses):
            waits = [f"<job of {self._names[identity]}>" for identity in sorted(array.needs)]
            script = self._script(array, "<submission>", code, waits)
            runs = [f"# {planned.run.name}" for job in array.jobs for planned in job]
            yield "\n".join([script.rstrip(), "", f"# {len(runs)} runs:", *runs, ""])

    def run(self) -> Submission:
        """Submit all arrays. HarnessError if SLURM does not take one: the next call goes on."""
        absent = [command for command in COMMANDS if shutil.which(command) is None]
        if absent:
            raise HarnessError(
                f"{', '.join(absent)} not found: {options(executor='slurm')} works on a host that "
                "submits to SLURM (Debian: apt-get install slurm-client); a dry run works "
                "everywhere"
            )
        largest = largest_array()
        code = take_snapshot(package_root(), self._folder / "code")
        submitted_arrays: list[Submitted] = []
        for array in self._arrays(largest):
            try:
                submitted = self._submit(array, code)
            except Refused as refused:
                done = sum(one.runs for one in submitted_arrays)
                raise HarnessError(
                    f"SLURM did not take {array.runs} of the runs: {refused}. {done} were "
                    f"submitted before; {remedy(str(refused))}"
                ) from None
            submitted_arrays += [submitted] if submitted is not None else []
        return Submission(arrays=tuple(submitted_arrays), left_out=self._left_out)

    def _arrays(
        self, largest: int | None = None, statuses: Collection[Status] = TO_RUN
    ) -> Iterator[JobArray]:
        return job_arrays(
            self.plan,
            self._cluster,
            self._resources,
            device=self.plan.device,
            largest=largest,
            statuses=statuses,
        )

    def _submit(self, array: JobArray, code: Path) -> Submitted | None:
        submission = uuid.uuid4().hex
        waits = self._waits(array)
        if waits is None:
            return None
        folder = self._folder / "jobs" / submission[:8]
        reserved = self._reserve(array, submission, folder)
        if not reserved:
            return None  # another call was faster
        payloads = [
            Job(
                submission=submission,
                directories=tuple(map(str, directories)),
                resources=json.dumps(dataclasses.asdict(array.resources)),
                attempts=self._cluster.attempts,
                code=str(code),
            )
            for directories in reserved
        ]
        script = self._script(array, submission, code, waits, count=len(payloads))
        try:
            jobs = submit_array(
                script,
                folder,
                payloads,
                comment=COMMENT + submission,
                minutes=array.shape.minutes,
            )
        except BaseException:
            # no job has its content: what SLURM may have taken nevertheless ends by itself
            reconcile(self._store, Scheduler(), force=submission)
            raise
        for directories, job in zip(reserved, jobs, strict=True):
            for directory in directories:
                name_job(directory, submission, job)
        runs = sum(map(len, reserved))
        return Submitted(job=jobs[0].partition("_")[0], jobs=len(jobs), runs=runs)

    def _reserve(self, array: JobArray, submission: str, folder: Path) -> list[list[Path]]:
        """The directories of each job, of runs that no other call has taken meanwhile."""
        reserved: list[list[Path]] = []
        for job in array.jobs:
            directories = []
            for planned in job:
                if planned.again and planned.record is not None:
                    put_aside(planned.record)
                directory = self._store.create(planned.run)
                index = len(reserved)
                if reserve_job(directory, submission=submission, index=index, folder=folder):
                    directories.append(directory)
            reserved += [directories] if directories else []
        return reserved

    def _waits(self, array: JobArray) -> list[str] | None:
        """The jobs that must succeed first; None, with the reason noted, where there is none."""
        jobs = []
        for identity in sorted(array.needs):
            record = self._store.record(identity)
            if record is not None and record.note is not None and record.note.job is not None:
                jobs.append(record.note.job)
            elif record is None or record.state in (RUNNING, QUEUED) or record.result is None:
                where = "is computed outside of SLURM" if record else "is not planned"
                if record is not None and record.state not in (RUNNING, QUEUED):
                    where = f"is {record.state} and has no job"
                for planned in (planned for job in array.jobs for planned in job):
                    why = Reason.needs_run(self._names[identity], f"which {where}").text
                    self._left_out[planned.run.name] = why
                return None
        return jobs

    def _script(
        self,
        array: JobArray,
        submission: str,
        code: Path,
        waits: Sequence[str],
        count: int | None = None,
    ) -> str:
        return batch_script(
            array.cluster,
            array.shape,
            name=self.plan.expansion.table.name,
            comment=COMMENT + submission,
            folder=self._folder / "jobs" / (submission[:8] if count else submission),
            code=code,
            waits=waits,
            jobs=count or len(array.jobs),
            parallel=self.plan.jobs,
        )
