"""What became of the runs of a table: values by seed, errors, and what the others lack."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from harness.evaluate.collapse import COLLAPSED
from harness.plan import PlannedRun, gpu_hours, make_plan
from harness.run import TASKS
from harness.spec.expand import Expansion
from harness.store import DONE, FAILED, UNREADABLE, RunRecord, Store

SPREAD = "features/std"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResults:
    """The runs of an expansion and how they stand, by identity."""

    runs: Mapping[str, PlannedRun]

    @classmethod
    def read(cls, expansion: Expansion, store: Store, *, device: Literal["cpu", "cuda"]) -> Self:
        """Hold the expansion against the store; `device` is where missing runs would go."""
        plan = make_plan(expansion, store, device=device, jobs=1)
        return cls(runs={planned.run.identity: planned for planned in plan.runs})

    def record(self, identity: str) -> RunRecord | None:
        """The run directory, if there is one."""
        return self.runs[identity].record

    def done(self, identities: Sequence[str]) -> dict[str, RunRecord]:
        """Those of `identities` that finished."""
        records = {identity: self.record(identity) for identity in identities}
        return {
            identity: record
            for identity, record in records.items()
            if record is not None and record.state == DONE
        }

    def seed(self, identity: str) -> int:
        """The seed of a run; 0 where it has none."""
        return self.runs[identity].run.title.seed or 0

    def values(self, identities: Sequence[str], metric: str, *, seeded: bool) -> dict[int, float]:
        """A metric of finished runs by seed, in order of seeds; what is no number is left out."""
        values: dict[int, float] = {}
        for identity, record in self.done(identities).items():
            value = (record.result or {}).get(metric)
            if value is not None and math.isfinite(value):
                values[self.seed(identity) if seeded else 0] = float(value)
        return dict(sorted(values.items()))

    def silent(self, identities: Sequence[str], metric: str) -> bool:
        """Whether no run was asked, or all have finished and none has such a metric (a teacher's
        own accuracy, where there is no teacher).
        """
        done = self.done(identities)
        return len(done) == len(identities) and not any(
            metric in (record.result or {}) for record in done.values()
        )

    def collapsed(self, identities: Sequence[str]) -> tuple[int, ...]:
        """Seeds whose features no longer tell images apart, by these runs or by those that they
        evaluate.
        """
        runs = {identity: self.runs[identity].run for identity in identities}
        trained = {
            i for run in runs.values() if TASKS.get(run.task).is_evaluation for i in run.depends
        }
        spreads = {
            identity: (record.result or {}).get(SPREAD)
            for identity, record in self.done([*runs, *(trained - runs.keys())]).items()
        }
        seeds = {self.seed(i) for i, std in spreads.items() if std is not None and std < COLLAPSED}
        return tuple(sorted(seeds))

    def errors(self, identities: Sequence[str]) -> tuple[str, ...]:
        """The messages of those that failed."""
        records = [self.record(identity) for identity in identities]
        return tuple(r.error or "" for r in records if r is not None and r.state == FAILED)

    def failed_seeds(self, identities: Sequence[str]) -> tuple[int, ...]:
        """Seeds of which a run, or one that it needs, ended in an error."""
        return tuple(sorted({self.seed(i) for i in identities if self._failed(i)}))

    def _failed(self, identity: str) -> bool:
        record, run = self.record(identity), self.runs[identity].run
        if record is not None and record.state in (DONE, FAILED):
            return record.state == FAILED
        return any(self._failed(needed) for needed in run.depends if needed in self.runs)

    def missing_reason(self, identities: Sequence[str]) -> str:
        """Why there is no value yet, and what would bring it."""
        planned = [self.runs[identity] for identity in identities]
        states = {one.status for one in planned}
        if "running" in states:
            return "is being computed"
        if "interrupted" in states:
            return "was interrupted: run again to go on"
        if states == {"cached"}:
            return "its runs finished without this metric"
        needs = self.needs(identities)
        return f"needs {'; '.join(needs)}" if needs else "not run yet"

    def needs(self, identities: Sequence[str]) -> tuple[str, ...]:
        """What stands in the way of those that cannot run, each thing once."""
        blocked = [one for one in map(self.runs.__getitem__, identities) if one.status == "blocked"]
        return tuple(dict.fromkeys(str(reason) for one in blocked for reason in one.reasons))

    def gpu_hours(self) -> str:
        """How long all open training would take, where that is an obstacle of its own."""
        return gpu_hours(one for one in self.runs.values() if one.status != "cached")

    def unreadable(self) -> tuple[str, ...]:
        """One line for each run directory that is damaged, or cannot be read."""
        records = [planned.record for planned in self.runs.values()]
        broken = (r for r in records if r is not None and (r.broken or r.state == UNREADABLE))
        return tuple(f"{record.name}: {record.error}" for record in broken)
