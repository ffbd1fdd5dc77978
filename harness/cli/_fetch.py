"""Gets the data that a plan lacks and that can be downloaded, before anything is computed."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from harness.data import DATASETS, open_dataset, ready
from harness.data.config import DataConfig
from harness.data.dataset import DataSet
from harness.data.fetch import offline
from harness.data.telling import Telling
from harness.errors import DataError
from harness.plan import Plan, PlannedRun
from harness.run import TASKS
from harness.text import count


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
    failures = {lack: why for lack, need in wanted.sets.items() if (why := _get(need)) is not None}
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
        if TASKS.get(planned.run.kind).seeded
        and (planned.status != "cached" or planned.run.identity in shown)
    ]
    blocked = [planned for planned in trained if planned.status == "blocked"]
    if not trained or len(blocked) < len(trained):
        return None
    reasons = (why for planned in blocked for why in planned.reasons if not _of_another(why))
    first, *more = dict.fromkeys(reasons) or {"see above": None}
    also = f" (and {count(len(more), 'other cause')}, above)" if more else ""
    return f"Nothing of {plan.expansion.table.name} can be trained here: {first}{also}"


@dataclass(slots=True)
class _Need:
    """A set that can be downloaded, and how many runs lack it and nothing else."""

    known: DataSet
    runs: int = 0


def _get(need: _Need) -> str | None:
    """Download a set; what to do if that fails."""
    tell, known = Telling(sys.stdout), need.known
    size = f"{(known.download or 0) / 1e6:.0f} MB"
    tell.say(f"getting data set {known.name} ({size}) for {count(need.runs, 'run')}")
    try:
        known.load(tell)
    except DataError:  # what was tried has been told
        return f"data set {known.name} could not be downloaded. {known.next_step}"
    return None


def _explained(plan: Plan, failures: Mapping[str, str]) -> Plan:
    """The plan with what became of the downloads as reasons."""
    runs = [
        replace(planned, reasons=tuple(failures.get(why, why) for why in planned.reasons))
        for planned in plan.runs
    ]
    return replace(plan, runs=tuple(runs))


class _Wanted:
    """What is to be downloaded, for runs that lack nothing else, and the plan after that."""

    def __init__(self, plan: Plan) -> None:
        self.sets: dict[str, _Need] = {}  # by what the plan says of them
        self._downloads = functools.cache(_download)
        self._stuck: set[str] = set()  # runs that lack something else too, or whose dependencies do
        self.plan = replace(plan, runs=tuple(map(self._after, plan.runs)))

    def _after(self, planned: PlannedRun) -> PlannedRun:
        if planned.status != "blocked":
            return planned
        lacks = dict(filter(None, map(self._downloads, _sets(planned.run.config))))
        others = [why for why in planned.reasons if why not in lacks and not _of_another(why)]
        if others or self._stuck.intersection(planned.run.depends):
            self._stuck.add(planned.run.identity)
            return planned
        for lack in lacks.keys() & set(planned.reasons):
            self.sets.setdefault(lack, _Need(lacks[lack])).runs += 1
        return replace(planned, status="todo", reasons=())


def _of_another(why: str) -> bool:
    return why.startswith("needs run ")


def _download(data: DataConfig) -> tuple[str, DataSet] | None:
    """What a plan says of a set that can be downloaded and is not here."""
    lack = ready(data)
    if lack is None or DATASETS.get(data.name).download is None:
        return None
    return lack, open_dataset(data)


def _sets(config: Any) -> Iterator[DataConfig]:
    if isinstance(config, DataConfig):
        yield config
    elif is_dataclass(config):
        for field in fields(config):
            yield from _sets(getattr(config, field.name))
