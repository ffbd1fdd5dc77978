"""What a table at a profile would run, what is there already, and what stands in the way."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self, TypeAlias

from harness.code import Sources
from harness.device import Device
from harness.errors import HarnessError
from harness.estimate import UNKNOWN_RATE, Load, Rates, makespan, workload
from harness.run import TASKS
from harness.spec.expand import Expansion, Run, RunLabel
from harness.store import (
    DONE,
    FAILED,
    INTERRUPTED,
    QUEUED,
    RUNNING,
    FileError,
    RunRecord,
    Store,
    cure,
    damage,
)
from harness.text import count, duration

LONG = 3600.0  # seconds on a GPU: below this the cost of a run is no obstacle

Status: TypeAlias = Literal["cached", "running", "interrupted", "failed", "todo", "blocked"]
STATUSES: tuple[Status, ...] = ("cached", "running", "interrupted", "failed", "todo", "blocked")
Recompute: TypeAlias = Literal["changed", "damaged"]
"""Finished runs to compute again: by other code than today's, or whose files are not what they
were."""
TO_RUN: frozenset[Status] = frozenset({"interrupted", "failed", "todo"})

_NEEDED_BY_NONE = frozenset({"recipe", "method", "seed"})
"""Keys that change nothing about what a run lacks: that is data, weights or hardware."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One key of a configuration that is not what it was; None where it is not there."""

    key: str
    old: Any
    new: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Stale:
    """A finished run of the same row and seed, computed with another configuration."""

    record: RunRecord
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a run is not computed, or what it failed with."""

    text: str  # a sentence, as it is told
    needs: str | None = None  # the run that must be there first; None: the cause is its own

    @classmethod
    def needs_run(cls, name: str, how: str) -> Self:
        """Another run must be there first; `how` that one stands."""
        return cls(f"needs run {name}, {how}", needs=name)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRun:
    """A run and how it stands."""

    run: Run
    status: Status
    reasons: tuple[Reason, ...] = ()  # why blocked, what failed
    seconds: float = 0.0  # estimate of what is left
    record: RunRecord | None = None
    stale: Stale | None = None
    # of a finished run: what of its code is not today's; None: it does not say what computed it
    other_code: tuple[str, ...] | None = ()
    damage: str | None = None  # of a finished run: what is wrong with its files, and what to do
    again: bool = False  # finished, and to be computed again


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Plan:
    """All runs of an expansion, dependencies first."""

    expansion: Expansion
    device: Device
    jobs: int
    runs: tuple[PlannedRun, ...]

    @property
    def counts(self) -> dict[Status, int]:
        """How many runs stand how."""
        counts = Counter(planned.status for planned in self.runs)
        return {status: counts[status] for status in STATUSES}

    @property
    def to_run(self) -> tuple[PlannedRun, ...]:
        """What would be computed."""
        return tuple(planned for planned in self.runs if planned.status in TO_RUN)

    @property
    def work(self) -> float:
        """Estimated seconds of all that would be computed, one after the other."""
        return sum(planned.seconds for planned in self.to_run)

    @property
    def seconds(self) -> float:
        """Estimated seconds until all is computed, `jobs` at once."""
        return makespan((load_of(planned) for planned in self.to_run), self.jobs)

    @property
    def headline(self) -> str:
        """One line: how many runs stand how, and what is left to compute."""
        name = f"{self.expansion.table.name}, profile {self.expansion.profile.name}"
        counts = [f"{number} {status}" for status, number in self.counts.items() if number]
        cost = ""
        if self.to_run:
            jobs = count(self.jobs, "job")
            cost = f"; about {duration(self.seconds)} on {self.device} with {jobs} at once"
        return f"{name}: {count(len(self.runs), 'run')} ({', '.join(counts) or 'none'}){cost}"

    def __repr__(self) -> str:
        """What a notebook shows: a line, where all of its fields fill pages."""
        return f"<Plan {self.headline}>"


def gpu_hours(runs: Iterable[PlannedRun]) -> str:
    """How long the training of `runs` takes on a GPU that nothing was measured on; empty where that
    is no obstacle.
    """
    rates = Rates(device="cuda", by_task={})
    seconds = sum(
        rates.seconds(planned.run.task, planned.run.config.macs())
        for planned in runs
        if TASKS.get(planned.run.task).seeded
    )
    if seconds <= LONG:
        return ""
    speed = 1 / UNKNOWN_RATE["cuda"] / 1e12
    gpu = f"one GPU that trains at {speed:.0f} trillion multiply-adds a second (about an A100)"
    return f"very roughly {seconds / 3600:,.0f} hours of {gpu}"


def make_plan(
    expansion: Expansion,
    store: Store,
    *,
    device: Device,
    jobs: int,
    recompute: Recompute | None = None,
    records: Sequence[RunRecord] | None = None,
) -> Plan:
    """Hold the runs of `expansion` against `store`, which holds `records` where that has been read
    already. Reads only.
    """
    records = store.records() if records is None else records
    planner = _Planner(records, device, recompute)
    return Plan(
        expansion=expansion,
        device=device,
        jobs=jobs,
        runs=tuple(map(planner.plan, expansion.runs)),
    )


def load_of(planned: PlannedRun) -> Load:
    """What a run means for the schedule."""
    return Load(
        identity=planned.run.identity,
        seconds=planned.seconds,
        depends=planned.run.depends,
        exclusive=TASKS.get(planned.run.task).exclusive,
    )


class _Planner:
    """Goes through runs in order and remembers what later ones ask about."""

    def __init__(
        self, records: Sequence[RunRecord], device: Device, recompute: Recompute | None
    ) -> None:
        self._all = records
        self._device = device
        self._recompute = recompute
        self._sources = Sources()
        self._again: set[str] = set()  # identities
        self._damaged: dict[str, Reason] = {}  # identity -> whose file is not what it was
        self._records: dict[str, RunRecord] = {}
        self._broken: dict[str, RunRecord] = {}
        self._finished: dict[tuple[str, RunLabel], RunRecord] = {}
        for record in records:
            if record.broken and not record.identity:
                self._broken[record.name.rpartition("-")[2]] = record
                continue
            self._records[record.identity] = record
            if record.state == DONE:
                self._remember(record)
        self._blocked: dict[str, str] = {}  # identity -> name
        self._needs: dict[str, tuple[Reason, ...]] = {}
        self._seconds: dict[tuple[str, float], float] = {}

    @cached_property
    def _rates(self) -> Rates:
        """Where nothing is to be computed, nothing is estimated."""
        return Rates.of(self._all, device=self._device)

    def plan(self, run: Run) -> PlannedRun:
        """How one run stands."""
        record = self._records.get(run.identity) or self._broken.get(run.identity[:8])
        other_code: tuple[str, ...] | None = ()
        wrong = None
        if record is not None and record.state == DONE:
            other_code, wrong = self._code_and_damage(record)
        again = self._is_recomputed(run, record, other_code, wrong)
        status, reasons = self._status(run, record, again=again)
        if status == "blocked":
            self._blocked[run.identity] = run.name
        left = 0.0 if status == "cached" else self._estimate(run)
        if (
            record is not None
            and record.progress is not None
            and status in ("interrupted", "running")
        ):
            left *= 1 - record.progress.done / max(1, record.progress.total)
        stale = None if record is not None and record.state == DONE else self._stale(run)
        return PlannedRun(
            run=run,
            status=status,
            reasons=reasons,
            seconds=left,
            record=record,
            stale=stale,
            other_code=other_code,
            damage=wrong,
            again=again,
        )

    def _code_and_damage(self, record: RunRecord) -> tuple[tuple[str, ...] | None, str | None]:
        """What of a finished run's code has changed, and what is wrong with its files."""
        changed = None if record.code is None else record.code.changed(self._sources)
        for identity, artifacts in (record.used or {}).items():
            other = self._records.get(identity)
            if other is not None and (other.outputs or artifacts) != artifacts:
                changed = (*(changed or ()), f"files of {other.name}")
        try:
            wrong = damage(record, thorough=self._recompute == "damaged")
        except FileError as error:
            self._damaged[record.identity] = Reason(str(error))
            return changed, str(error)
        if wrong is None:
            return changed, None
        cured = f"{wrong}; {cure(record)}"
        self._damaged[record.identity] = Reason.needs_run(record.name, f"whose {cured}")
        return changed, cured

    def _is_recomputed(
        self,
        run: Run,
        record: RunRecord | None,
        other_code: tuple[str, ...] | None,
        wrong: str | None,
    ) -> bool:
        """Whether the user asked to compute a finished run again, and it can be."""
        if self._recompute is None or record is None or record.state != DONE:
            return False
        if self._what_is_missing(run):
            return False
        if self._recompute == "changed":
            again = bool(other_code) or not self._again.isdisjoint(run.depends)
        else:
            again = self._recompute == "damaged" and wrong is not None
        if again:
            self._again.add(run.identity)
            self._damaged.pop(run.identity, None)
        return again

    def _status(
        self, run: Run, record: RunRecord | None, *, again: bool
    ) -> tuple[Status, tuple[Reason, ...]]:
        if record is not None and record.broken:
            return "blocked", (Reason(record.error or ""),)
        state = "" if record is None else record.state
        if state == DONE:
            return ("todo" if again else "cached"), ()
        if state in (RUNNING, QUEUED):
            return "running", ()
        lacking = self._what_is_missing(run)
        lacking += tuple(
            Reason.needs_run(self._blocked[identity], "which is blocked")
            for identity in run.depends
            if identity in self._blocked
        )
        lacking += tuple(
            self._damaged[identity] for identity in run.depends if identity in self._damaged
        )
        if lacking:
            return "blocked", lacking
        if state == INTERRUPTED:
            return "interrupted", ()
        if record is not None and state == FAILED:
            return "failed", (Reason(record.error or ""),)
        return "todo", ()

    def _what_is_missing(self, run: Run) -> tuple[Reason, ...]:
        key = json.dumps([run.task, _relevant(run.plain)])
        if key not in self._needs:
            try:
                self._needs[key] = tuple(map(Reason, run.config.needs(self._device)))
            except HarnessError as error:
                self._needs[key] = (Reason(str(error)),)
        return self._needs[key]

    def _estimate(self, run: Run) -> float:
        macs = run.config.macs()
        key = (workload(run.task, run.plain), macs)
        if key not in self._seconds:
            self._seconds[key] = self._rates.seconds(run.task, macs, run.plain)
        return self._seconds[key]

    def _remember(self, record: RunRecord) -> None:
        key = (record.task, record.title)
        latest = self._finished.get(key)
        if latest is None or (latest.updated or 0) < (record.updated or 0):
            self._finished[key] = record

    def _stale(self, run: Run) -> Stale | None:
        record = self._finished.get((run.task, run.title))
        if record is None or record.identity == run.identity:
            return None
        changes = [*differences(record.plain, run.plain)]
        version = TASKS.get(run.task).version
        if version != record.version:
            changes.append(Change(key="version", old=record.version, new=version))
        return Stale(record=record, changes=tuple(changes))


def _relevant(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: _relevant(part) for key, part in value.items() if key not in _NEEDED_BY_NONE}


def differences(old: Any, new: Any, path: str = "") -> Iterator[Change]:
    """The keys, dotted, whose values two configurations do not have in common."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif old != new:
        yield Change(key=path, old=old, new=new)
