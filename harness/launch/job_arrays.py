"""Which runs share a job, and which jobs an array. Knows nothing of SLURM's commands."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from harness.device import Device
from harness.launch.cluster import (
    Cluster,
    ClusterPart,
    JobResources,
    job_resources,
    with_workers_that_fit,
)
from harness.launch.queue import LARGEST_BATCH
from harness.plan import TO_RUN, Plan, PlannedRun, Status
from harness.run import TASKS, Resources, Task

SHARE = 0.5
"""Of the time limit, so much is planned for runs that share a job: estimates are rough."""


@dataclass(frozen=True, slots=True)
class JobArray:
    """One array: jobs that ask for the same and wait for the same runs."""

    cluster: Cluster  # the part of it where they go
    shape: JobResources
    resources: Resources
    needs: frozenset[str]  # identities of unfinished runs
    jobs: tuple[tuple[PlannedRun, ...], ...]  # the runs of each job

    @property
    def runs(self) -> int:
        """How many."""
        return sum(len(job) for job in self.jobs)


def job_arrays(
    plan: Plan,
    cluster: Cluster,
    resources: Resources,
    *,
    device: Device,
    largest: int | None = None,
    statuses: Collection[Status] = TO_RUN,
) -> Iterator[JobArray]:
    """The arrays of a plan's runs that stand so, those that others wait for first, of at most
    `largest` jobs each.
    """
    unfinished = {p.run.identity for p in plan.runs if p.status != "cached"}
    levels: dict[str, int] = {}
    groups: dict[tuple[int, WorkClass, JobResources, frozenset[str]], list[PlannedRun]] = {}
    for planned in plan.runs:
        needs = frozenset(planned.run.depends) & unfinished
        level = max((levels[other] + 1 for other in needs if other in levels), default=0)
        levels[planned.run.identity] = level
        if planned.status not in statuses:
            continue
        task = TASKS.get(planned.run.task)
        work = work_class(task, cluster, resources, device)
        shape = job_resources(
            work.resources,
            work.cluster,
            device=work.device,
            exclusive=task.exclusive,
            most=work.resources.for_run(planned.run.config).processes,
        )
        groups.setdefault((level, work, shape, needs), []).append(planned)
    size = min(cluster.max_array_size, largest or cluster.max_array_size)
    # a stable sort: within a level, the order of the plan
    for (_, work, shape, needs), runs in sorted(groups.items(), key=lambda item: item[0][0]):
        jobs = _shared(runs, shape.minutes) if work.shared else [(planned,) for planned in runs]
        for start in range(0, len(jobs), size):
            some = tuple(jobs[start : start + size])
            yield JobArray(work.cluster, shape, work.resources, needs, some)


@dataclass(frozen=True, slots=True)
class WorkClass:
    """Where work of one sort goes, and what each job of it gets."""

    part: str
    shared: bool  # several runs in a job
    device: Device
    cluster: Cluster = field(compare=False)
    resources: Resources = field(compare=False)


def work_class(
    task: type[Task], cluster: Cluster, resources: Resources, device: Device
) -> WorkClass:
    """Arithmetic needs no GPU, whatever the rest of its table is computed on."""
    if task.batched:
        device = "cpu"
        resources = replace(resources, workers=0, processes=1, nodes=None, memory_gb=None)
    if task.exclusive and (cluster.timing is not None or device == "cuda"):
        name, part = "timing", cluster.timing
    elif device == "cpu":
        name, part = "cpu", cluster.cpu
    else:
        name, part = "", None
    return _work_class(name, task.batched or task.exclusive, cluster, resources, device, part)


def _work_class(
    name: str,
    shared: bool,
    cluster: Cluster,
    resources: Resources,
    device: Device,
    part: ClusterPart | None,
) -> WorkClass:
    there = cluster.at(part)
    # a node may have GPUs that the job did not ask for
    granted = replace(resources, device="cpu") if device == "cpu" else resources
    return WorkClass(
        part=name,
        shared=shared,
        device=device,
        cluster=there,
        resources=with_workers_that_fit(granted, there, device=device),
    )


def work_classes(cluster: Cluster, resources: Resources) -> dict[str, WorkClass]:
    """Examples of the sorts of work that a cluster's description has parts for, by name."""
    classes = {"training": _work_class("", False, cluster, resources, cluster.device, None)}
    if cluster.device == "cuda" or cluster.cpu is not None:
        classes["cpu"] = _work_class("cpu", True, cluster, resources, "cpu", cluster.cpu)
    if cluster.timing is not None:
        classes["timing"] = _work_class(
            "timing", True, cluster, resources, cluster.device, cluster.timing
        )
    return classes


def _shared(runs: Sequence[PlannedRun], minutes: int) -> list[tuple[PlannedRun, ...]]:
    """Short runs, many in a job, as long as they are likely to end before its limit."""
    least = math.ceil(len(runs) / LARGEST_BATCH)
    total = sum(planned.seconds for planned in runs)
    number = min(len(runs), max(least, math.ceil(total / (SHARE * 60 * minutes))))
    size = math.ceil(len(runs) / number)  # as even as can be
    return [tuple(runs[start : start + size]) for start in range(0, len(runs), size)]
