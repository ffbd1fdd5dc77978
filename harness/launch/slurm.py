"""Submits a plan to SLURM through submitit, and returns at once."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.launch.batches import Batch, batches
from harness.launch.cluster import Cluster
from harness.launch.job import Job
from harness.launch.reconcile import reconcile
from harness.launch.scheduler import Scheduler
from harness.launch.snapshot import package_root, snapshot_name, take_snapshot
from harness.paths import project_root
from harness.plan import Plan
from harness.run import Resources
from harness.store import QUEUED, RUNNING, Store, name_job, put_aside, reserve_job
from harness.store.owner import this_job

COMMANDS = ("sbatch", "srun", "squeue", "scontrol")


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
        self._plan = plan
        self._store = store
        self._cluster = cluster
        self._resources = resources
        self._folder = cluster.folder(store.root)
        self._names = {planned.run.identity: planned.run.name for planned in plan.runs}
        self._left_out: dict[str, str] = {}

    def scripts(self) -> Iterator[str]:
        """The batch scripts as they would be submitted; submits and writes nothing."""
        code = self._folder / "code" / snapshot_name(package_root())
        for batch in self._batches():
            waits = [f"<job of {self._names[identity]}>" for identity in sorted(batch.needs)]
            yield self._script(batch, self._parameters(batch, "<submission>", code, waits))

    def submit(self) -> Submission:
        """Submit all arrays. HarnessError if SLURM does not take one: the next call goes on."""
        lacking = [command for command in COMMANDS if shutil.which(command) is None]
        if lacking:
            raise HarnessError(
                f"{', '.join(lacking)} not found: --executor slurm works on a host that submits to "
                "SLURM (Debian: apt-get install slurm-client); --dry-run works everywhere"
            )
        code = take_snapshot(package_root(), self._folder / "code")
        arrays: list[Submitted] = []
        for batch in self._batches():
            try:
                array = self._submit_batch(batch, code)
            except _Refused as refused:
                done = sum(array.runs for array in arrays)
                raise HarnessError(
                    f"SLURM did not take {batch.runs} of the runs: {refused}. {done} were "
                    "submitted before; the same command submits what is left"
                ) from None
            arrays += [array] if array is not None else []
        return Submission(arrays=tuple(arrays), left_out=self._left_out)

    def _batches(self) -> Iterator[Batch]:
        return batches(self._plan, self._cluster, self._resources, device=self._plan.device)

    def _submit_batch(self, batch: Batch, code: Path) -> Submitted | None:
        submission = uuid.uuid4().hex
        waits = self._waits(batch)
        if waits is None:
            return None
        folder = self._folder / "jobs" / submission[:8]
        reserved = self._reserve(batch, submission, folder)
        if not reserved:
            return None  # another call was faster
        parameters = self._parameters(batch, submission, code, waits)
        payloads = [
            Job(
                submission=submission,
                directories=tuple(map(str, directories)),
                resources=json.dumps(dataclasses.asdict(self._resources)),
                attempts=self._cluster.attempts,
            )
            for directories in reserved
        ]
        try:
            jobs = _submitit(folder, self._python, parameters, payloads)
        except _Refused:
            # the answer may have been lost on its way: only the queue knows
            scheduler = Scheduler()
            if shutil.which("squeue"):
                reconcile(self._store, scheduler, force=submission)
            raise
        for directories, job in zip(reserved, jobs, strict=True):
            for directory in directories:
                name_job(directory, submission, job)
        runs = sum(map(len, reserved))
        return Submitted(job=jobs[0].partition("_")[0], jobs=len(jobs), runs=runs)

    def _reserve(self, batch: Batch, submission: str, folder: Path) -> list[list[Path]]:
        """The directories of each job, of runs that no other call has taken meanwhile."""
        reserved: list[list[Path]] = []
        for job in batch.jobs:
            mine = []
            for planned in job:
                if planned.again and planned.record is not None:
                    put_aside(planned.record)
                directory = self._store.create(planned.run)
                index = len(reserved)
                if reserve_job(directory, submission=submission, index=index, folder=folder):
                    mine.append(directory)
            reserved += [mine] if mine else []
        return reserved

    def _waits(self, batch: Batch) -> list[str] | None:
        """The jobs that must succeed first; None, with the reason noted, where there is none."""
        jobs = []
        for identity in sorted(batch.needs):
            record = self._store.record(identity)
            if record is not None and record.note is not None and record.note.job is not None:
                jobs.append(record.note.job)
            elif record is None or record.state in (RUNNING, QUEUED) or record.result is None:
                where = "is computed outside of SLURM" if record else "is not planned"
                if record is not None and record.state not in (RUNNING, QUEUED):
                    where = f"is {record.state} and has no job"
                for planned in (planned for job in batch.jobs for planned in job):
                    why = f"needs run {self._names[identity]}, which {where}"
                    self._left_out[planned.run.name] = why
                return None
        return jobs

    @property
    def _python(self) -> str:
        return self._cluster.python or shlex.quote(sys.executable)

    def _parameters(
        self, batch: Batch, submission: str, code: Path, waits: Sequence[str]
    ) -> dict[str, Any]:
        cluster, shape = self._cluster, batch.shape
        additional: dict[str, Any] = {"requeue": True, "chdir": str(project_root())}
        if shape.memory_mb is not None:
            additional["mem"] = f"{shape.memory_mb}M"
        if waits:
            additional["dependency"] = "afterok:" + ":".join(dict.fromkeys(waits))
            additional["kill-on-invalid-dep"] = "yes"
        optional = {
            "partition": cluster.partition,
            "account": cluster.account,
            "qos": cluster.qos,
            "constraint": cluster.constraint,
            "gpus_per_node": shape.gpus or None,
            "exclusive": shape.exclusive or None,
        }
        return {
            "job_name": self._plan.expansion.table.name.replace("/", "-"),
            "time": shape.minutes,
            "nodes": shape.nodes,
            "ntasks_per_node": shape.tasks,
            "cpus_per_task": shape.cpus,
            "comment": f"harness:{submission}",
            "signal_delay_s": cluster.signal_seconds,
            "array_parallelism": self._plan.jobs,
            "stderr_to_stdout": True,
            "setup": self._setup(code, shape.cpus),
            "additional_parameters": additional,
            **{key: value for key, value in optional.items() if value is not None},
        }

    def _setup(self, code: Path, cpus: int) -> list[str]:
        """Shell lines before the job: the user's, then where the code and the project are."""
        paths = [str(code), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        variables = {
            **self._cluster.environment,
            "HARNESS_HOME": str(project_root()),
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONSAFEPATH": "1",  # or the checkout, where the job starts, comes first
            "SRUN_CPUS_PER_TASK": str(cpus),  # srun does not take it from the script
        }
        lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        return [*self._cluster.setup, *lines]

    def _script(self, batch: Batch, parameters: Mapping[str, Any]) -> str:
        from submitit.slurm.slurm import _make_sbatch_string

        folder = self._folder / "jobs" / "<submission>"
        count = len(batch.jobs)
        text: str = _make_sbatch_string(
            command=f"{self._python} -u -m submitit.core._submit {shlex.quote(str(folder))}",
            folder=folder,
            map_count=count if count > 1 else None,
            **parameters,
        )
        runs = [f"# {planned.run.name}" for job in batch.jobs for planned in job]
        return "\n".join([text.rstrip(), "", f"# {len(runs)} runs:", *runs, ""])


class _Refused(Exception):
    """SLURM did not take an array, or did not say so."""


def _submitit(
    folder: Path, python: str, parameters: Mapping[str, Any], jobs: Sequence[Job]
) -> list[str]:
    """Submit one array; the number of each of its jobs."""
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        executor = submitit.SlurmExecutor(folder=folder, python=python)
        executor.update_parameters(**parameters)
        with _outside_of_jobs():
            submitted = (
                executor.map_array(_call, jobs)
                if len(jobs) > 1
                else [executor.submit(_call, jobs[0])]
            )
    except (FailedJobError, FailedSubmissionError) as error:
        lines = [line.strip() for line in str(error).splitlines() if "error" in line.lower()]
        raise _Refused(lines[-1] if lines else str(error)) from error
    return [str(job.job_id) for job in submitted]


@contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Inside a job, its variables would become options of the one that is submitted."""
    from submitit.helpers import clean_env

    configuration = os.environ.get("SLURM_CONF")
    with clean_env() if this_job() else nullcontext():
        if configuration is not None:  # not an option but where the cluster is
            os.environ["SLURM_CONF"] = configuration
        yield


def _call(job: Job) -> None:
    job()
