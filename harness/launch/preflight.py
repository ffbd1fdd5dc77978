"""What is done before anything is computed: ended jobs are noted, data downloaded, GPUs counted.

The command and `harness.api` come through here, so that a notebook gets what the command gets.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from harness.data import DATASETS, open_dataset, ready
from harness.data.cache import CacheError
from harness.data.config import DataConfig
from harness.data.dataset import DataSet
from harness.data.fetch import offline
from harness.data.telling import Telling
from harness.device import crowded, default_jobs, no_gpu, resolve_device, visible_gpus
from harness.errors import DataError, HarnessError
from harness.launch.cluster import as_in_jobs, find_cluster, load_cluster
from harness.launch.local import LocalExecutor
from harness.launch.reconcile import reconcile, without_unknown
from harness.launch.scheduler import Scheduler
from harness.launch.slurm import SlurmExecutor
from harness.plan import TO_RUN, Plan, PlannedRun, Reason, Recompute, make_plan
from harness.run import TASKS, Resources
from harness.spec.expand import Expansion
from harness.spec.profiles import replaced_paths
from harness.store import Store, tidy
from harness.text import count, options


def plan_here(
    expansion: Expansion, resources: Resources, *, jobs: int | None, recompute: Recompute | None
) -> Plan:
    """The plan for this machine. Reads only; says so where the machine would be crowded, or has no
    such GPU as the runs are to have.
    """
    plan = _planner_here(expansion, Store(), resources, jobs=jobs, recompute=recompute)()
    try:
        check_gpus(plan, resources)
    except HarnessError as error:  # on the login node of a cluster, it is a plan all the same
        print(f"note: {error}", file=sys.stderr)
    return plan


def prepare_local(
    expansion: Expansion, resources: Resources, *, jobs: int | None, recompute: Recompute | None
) -> LocalExecutor:
    """An executor on this machine, with the data that it needs."""
    store = Store()
    answer = reconcile(store, Scheduler())
    make = _planner_here(expansion, store, resources, jobs=jobs, recompute=recompute)

    def check(plan: Plan) -> None:
        check_gpus(plan, resources)
        check_divisible(plan, resources)

    plan = with_data(lambda: without_unknown(make(), answer), check)
    for planned in plan.runs:
        if planned.status == "cached" and planned.record is not None:
            tidy(planned.record.directory)
    return LocalExecutor(plan, store, resources=resources)


def prepare_slurm(
    expansion: Expansion,
    resources: Resources,
    *,
    cluster: str | Path | None,
    jobs: int | None,
    recompute: Recompute | None,
    dry_run: bool,
) -> SlurmExecutor:
    """An executor on a cluster; a dry run asks SLURM nothing and downloads nothing."""
    site = load_cluster(find_cluster(None if cluster is None else str(cluster)))
    store = Store()
    _tell_replaced(expansion)
    if not dry_run:
        reconcile(store, Scheduler())
    device = site.device if resources.device == "auto" else resolve_device(resources.device)

    def make() -> Plan:
        at_once = jobs or site.max_parallel
        return make_plan(expansion, store, device=device, jobs=at_once, recompute=recompute)

    with as_in_jobs(site):
        if dry_run:
            plan = make()
            check_divisible(plan, resources)
        else:
            plan = with_data(make, lambda plan: check_divisible(plan, resources))
    return SlurmExecutor(plan, store, cluster=site, resources=resources)


def _planner_here(
    expansion: Expansion,
    store: Store,
    resources: Resources,
    *,
    jobs: int | None,
    recompute: Recompute | None,
) -> Callable[[], Plan]:
    """Makes the plan for this machine, again after a download; what is to be noted is told once."""
    _tell_replaced(expansion)
    device = resolve_device(resources.device)
    at_once = jobs or default_jobs(device, resources.threads, resources.processes)
    note = crowded(device, resources.threads, jobs=at_once, processes=resources.processes)
    if note:
        print(f"note: {note}", file=sys.stderr)
    return functools.partial(
        make_plan, expansion, store, device=device, jobs=at_once, recompute=recompute
    )


def _tell_replaced(expansion: Expansion) -> None:
    rows = (row.row for row in expansion.rows)
    for note in replaced_paths(rows, expansion.profile.name):
        print(f"note: {note}", file=sys.stderr)


def check_divisible(plan: Plan, resources: Resources) -> None:
    """HarnessError that names rows which so many processes cannot compute, and how many can; or one
    whose steps cannot be cut into such micro-batches.
    """
    rows: dict[tuple[str, int], dict[str, None]] = {}
    for planned in plan.runs:
        if planned.status not in TO_RUN:
            continue
        config = planned.run.config
        mine = resources.for_run(config)
        # a run that fewer processes compute has as many as it has groups
        asked = resources.processes if mine.pipeline is None else resources.students
        why = config.why_not_divisible(asked)
        if why is not None:
            fewer = next(n for n in range(asked - 1, 0, -1) if config.why_not_divisible(n) is None)
            fewer *= 1 if mine.pipeline is None else 2
            rows.setdefault((why, fewer), {})[planned.run.title.row] = None
        elif (why := config.why_not_computable(mine)) is not None:
            raise HarnessError(f"row {planned.run.title.row}: {why}")
    for (why, fewer), names in rows.items():
        listed = ",".join(names)
        raise HarnessError(
            f"`processes` is {resources.processes}, and {count(len(names), 'row')} cannot be "
            f"computed by so many: {why} ({listed}). Run these with "
            f"{options(rows=listed, processes=fewer)}, and name the others with "
            f"{options(rows=None)} for more"
        )


def check_gpus(plan: Plan, resources: Resources) -> None:
    """HarnessError where anything is left to run and this machine has fewer GPUs than the processes
    of a run, or not the one that is asked for.
    """
    if all(planned.status == "cached" for planned in plan.runs):
        return
    wanted, gpus = resources.processes, len(visible_gpus())
    cpu = f"make more visible (CUDA_VISIBLE_DEVICES), or run with {options(device='cpu')}"
    if wanted > 1 and resolve_device(resources.device) == "cuda" and gpus < wanted:
        raise HarnessError(
            f"`processes` is {wanted}, each with a GPU of its own, and this machine shows {gpus}: "
            f"give {options(processes=max(gpus, 1))}, {cpu}"
        )
    why = no_gpu(resources.device)
    if why is not None:
        raise HarnessError(f"`device` is {resources.device}, and {why}: {cpu}")


def with_data(make: Callable[[], Plan], check: Callable[[Plan], None]) -> Plan:
    """The plan that `make` makes, once the data that can be downloaded for it is here.

    `check` refuses a plan; it is asked before anything is downloaded.
    """
    plan = make()
    wanted = _Wanted(plan)
    if offline() or not wanted.sets:
        check(plan)
        return plan
    check(wanted.plan)
    failures = {
        lack: Reason(why) for lack, need in wanted.sets.items() if (why := _get(need)) is not None
    }
    return _explained(make() if len(failures) < len(wanted.sets) else plan, failures)


def could_not(plan: Plan) -> str | None:
    """Why nothing of the plan is trained: a sentence, where all that trains is blocked.

    A teacher that is there already, which no cell of the table shows, does not count.
    """
    shown = {
        identity
        for row in plan.expansion.rows
        for identities in row.runs.values()
        for identity in identities
    }
    trained = [
        planned
        for planned in plan.runs
        if TASKS.get(planned.run.task).seeded
        and (planned.status != "cached" or planned.run.identity in shown)
    ]
    blocked = [planned for planned in trained if planned.status == "blocked"]
    if not trained or len(blocked) < len(trained):
        return None
    reasons = (why for planned in blocked for why in planned.reasons if why.needs is None)
    first, *more = dict.fromkeys(reasons) or [Reason("see above")]
    also = f" (and {count(len(more), 'other cause')}, above)" if more else ""
    return f"Nothing of {plan.expansion.table.name} can be trained here: {first}{also}"


@dataclass(slots=True)
class _Need:
    """A set that can be downloaded, and how many runs lack it and nothing else."""

    dataset: DataSet
    runs: int = 0


def _get(need: _Need) -> str | None:
    """Download a set; what to do if that fails."""
    tell, dataset = Telling(sys.stdout), need.dataset
    size = f"{(dataset.download or 0) / 1e6:.0f} MB"
    tell.say(f"getting data set {dataset.name} ({size}) for {count(need.runs, 'run')}")
    try:
        dataset.load(tell)
        if dataset.missing() is not None:
            raise CacheError("cannot keep what was downloaded")
    except CacheError as error:
        return f"data set {dataset.name} could not be downloaded: {error}"
    except DataError:  # what was tried has been told
        return f"data set {dataset.name} could not be downloaded. {dataset.next_step}"
    return None


def _explained(plan: Plan, failures: Mapping[Reason, Reason]) -> Plan:
    """The plan with what became of the downloads as reasons."""
    runs = [
        replace(planned, reasons=tuple(failures.get(why, why) for why in planned.reasons))
        for planned in plan.runs
    ]
    return replace(plan, runs=tuple(runs))


class _Wanted:
    """What is to be downloaded, for runs that lack nothing else, and the plan after that."""

    def __init__(self, plan: Plan) -> None:
        self.sets: dict[Reason, _Need] = {}  # by what the plan says of them
        self._downloads = functools.cache(_download)
        self._stuck: set[str] = set()  # runs that lack something else too, or whose dependencies do
        self.plan = replace(plan, runs=tuple(map(self._after, plan.runs)))

    def _after(self, planned: PlannedRun) -> PlannedRun:
        if planned.status != "blocked":
            return planned
        lacks = dict(filter(None, map(self._downloads, _sets(planned.run.config))))
        others = [why for why in planned.reasons if why not in lacks and why.needs is None]
        if others or self._stuck.intersection(planned.run.depends):
            self._stuck.add(planned.run.identity)
            return planned
        for lack in lacks.keys() & set(planned.reasons):
            self.sets.setdefault(lack, _Need(lacks[lack])).runs += 1
        return replace(planned, status="todo", reasons=())


def _download(data: DataConfig) -> tuple[Reason, DataSet] | None:
    """What a plan says of a set that can be downloaded and is not here."""
    lack = ready(data)
    if lack is None or DATASETS.get(data.name).download is None:
        return None
    return Reason(lack), open_dataset(data)


def _sets(config: Any) -> Iterator[DataConfig]:
    if isinstance(config, DataConfig):
        yield config
    elif is_dataclass(config):
        for field in fields(config):
            yield from _sets(getattr(config, field.name))
