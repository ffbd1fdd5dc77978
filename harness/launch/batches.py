"""Which runs share a job, and which jobs an array. Knows nothing of SLURM's commands."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.device import Device
from harness.launch.cluster import Cluster, Shape, shape_of
from harness.launch.queue import LARGEST_BATCH
from harness.plan import TO_RUN, Plan, PlannedRun
from harness.run import KINDS, Resources


@dataclass(frozen=True, slots=True)
class Batch:
    """One array: jobs that ask for the same and wait for the same runs."""

    shape: Shape
    needs: frozenset[str]  # identities of unfinished runs
    jobs: tuple[tuple[PlannedRun, ...], ...]  # the runs of each job

    @property
    def runs(self) -> int:
        """How many."""
        return sum(len(job) for job in self.jobs)


def batches(
    plan: Plan, cluster: Cluster, resources: Resources, *, device: Device
) -> Iterator[Batch]:
    """The arrays of a plan, those that others wait for first."""
    unfinished = {p.run.identity for p in plan.runs if p.status != "cached"}
    levels: dict[str, int] = {}
    groups: dict[tuple[int, Shape, frozenset[str], bool], list[PlannedRun]] = {}
    for planned in plan.runs:
        needs = frozenset(planned.run.depends) & unfinished
        level = max((levels[other] + 1 for other in needs if other in levels), default=0)
        levels[planned.run.identity] = level
        if planned.status not in TO_RUN:
            continue
        kind = KINDS.get(planned.run.kind)
        shape = shape_of(
            resources,
            cluster,
            device=device,
            exclusive=kind.exclusive,
            most=planned.run.config.most_processes(),
        )
        groups.setdefault((level, shape, needs, kind.batched), []).append(planned)
    # a stable sort: within a level, the order of the plan
    for (_, shape, needs, batched), runs in sorted(groups.items(), key=lambda item: item[0][0]):
        jobs = _jobs(runs, batched)
        for start in range(0, len(jobs), cluster.max_array_size):
            yield Batch(shape, needs, tuple(jobs[start : start + cluster.max_array_size]))


def _jobs(runs: Sequence[PlannedRun], batched: bool) -> list[tuple[PlannedRun, ...]]:
    if not batched:
        return [(planned,) for planned in runs]
    # as even as can be
    size = math.ceil(len(runs) / math.ceil(len(runs) / LARGEST_BATCH))
    return [tuple(runs[start : start + size]) for start in range(0, len(runs), size)]
