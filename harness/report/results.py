"""What became of the runs of a table: values by seed, errors, and what the others lack."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from harness.errors import HarnessError
from harness.evaluate.collapse import COLLAPSED
from harness.evaluate.right import RIGHT
from harness.plan import PlannedRun, gpu_hours, make_plan
from harness.report.bits import Bits, read_bits
from harness.report.cell_values import CellValues
from harness.report.model import Draw, Machine
from harness.run import TASKS
from harness.spec.expand import Expansion, ResolvedRow
from harness.spec.table import Column
from harness.store import DONE, FAILED, UNREADABLE, RunRecord, Store

SPREAD = "features/std"
AGREE = 1e-4  # percent: how far bits may be from the accuracy that they make up
SHORT = 12  # characters of an identity, or of a commit, that tell it from others


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResults:
    """The runs of an expansion and how they stand, by identity."""

    runs: Mapping[str, PlannedRun]
    # by the environment, which the records hold, and the device
    _machines: dict[tuple[int, str | None], Machine] = field(default_factory=dict)
    # by identity, read once: which images it got right, and how many it was judged by
    _right: dict[str, Mapping[str, Bits]] = field(default_factory=dict)
    _damaged: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(
        cls,
        expansion: Expansion,
        store: Store,
        *,
        device: Literal["cpu", "cuda"],
        records: Sequence[RunRecord] | None = None,
    ) -> Self:
        """Hold the expansion against the store; `device` is where missing runs would go."""
        plan = make_plan(expansion, store, device=device, jobs=1, records=records)
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

    def cell_values(self, row: ResolvedRow, column: Column) -> CellValues:
        """What became of the runs behind a cell."""
        identities, seeded = row.runs.get(column.id, ()), column.evidence == "seeds"
        in_turn = TASKS.get(column.task.name).in_turn.get(column.metric, "")
        draws = {}
        for identity, record in self.done(identities).items():
            result = record.result or {}
            value = result.get(column.metric)
            if value is None or not math.isfinite(value):
                continue
            right, images = self._bits(identity, column.metric, value)
            seed = self.seed(identity) if seeded else 0
            draws[seed] = Draw(
                seed=seed,
                value=float(value),
                run=identity[:SHORT],
                commit=commit_of(record.environment),
                machine=self._machine(record),
                ratio=result.get(in_turn),
                images=images,
                right=right,
            )
        failures = [
            (self.seed(identity), failed.identity[:SHORT], failed.error or "")
            for identity in identities
            if (failed := self._failed(identity)) is not None
        ]
        return CellValues(
            draws=tuple(draws[seed] for seed in sorted(draws)),
            failures=tuple(failures),
            missing_reason=self.missing_reason(identities)
            if identities
            else "this row has nothing that this column could measure",
            needs=self.needs(identities),
            silent=self.silent(identities, column.metric),
        )

    def _machine(self, record: RunRecord) -> Machine:
        key = (id(record.environment), record.device)
        if key not in self._machines:
            self._machines[key] = _machine(record.environment, record)
        return self._machines[key]

    def _bits(self, identity: str, metric: str, value: float) -> Bits:
        """Which images the run got right; of none where it has not kept that. Bits that do not make
        up the value are damaged.
        """
        record = self.record(identity)
        if identity not in self._right and record is not None:
            self._right[identity] = {}
            try:
                self._right[identity] = read_bits(record.directory / RIGHT)
            except FileNotFoundError:
                pass  # made by an older version, or judged by no images
            except HarnessError as error:
                self._damaged[identity] = str(error)
        right, images = self._right[identity].get(metric, (b"", 0))
        if not images:
            return b"", 0
        share = 100 * int.from_bytes(right).bit_count() / images
        if abs(share - value) > AGREE and record is not None:
            shown = f"{record.directory / RIGHT}: damaged (its bits make {metric} "
            self._damaged[identity] = f"{shown}{share:g}, the result says {value:g})"
            return b"", 0
        return right, images

    def silent(self, identities: Sequence[str], metric: str) -> bool:
        """Whether no run was asked, or all have finished and none has such a metric (a teacher's
        own accuracy, where there is no teacher).
        """
        done = self.done(identities)
        return len(done) == len(identities) and not any(
            metric in (record.result or {}) for record in done.values()
        )

    def collapsed_seeds(self, row: ResolvedRow) -> tuple[int, ...]:
        """Seeds of a row whose features no longer tell images apart, by its runs or by those that
        they evaluate.
        """
        runs = {key: self.runs[key].run for keys in row.runs.values() for key in keys}
        trained = {
            i for run in runs.values() if TASKS.get(run.task).is_evaluation for i in run.depends
        }
        spreads = {
            identity: (record.result or {}).get(SPREAD)
            for identity, record in self.done([*runs, *(trained - runs.keys())]).items()
        }
        seeds = {self.seed(i) for i, std in spreads.items() if std is not None and std < COLLAPSED}
        return tuple(sorted(seeds))

    def _failed(self, identity: str) -> RunRecord | None:
        """The run that failed, of this one and those that it needs; None: none has."""
        record, run = self.record(identity), self.runs[identity].run
        if record is not None and record.state in (DONE, FAILED):
            return record if record.state == FAILED else None
        found = (self._failed(needed) for needed in run.depends if needed in self.runs)
        return next((failed for failed in found if failed is not None), None)

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
        lines = [f"{record.name}: {record.error}" for record in broken]
        return (*lines, *self._damaged.values())


def commit_of(environment: Mapping[str, Any]) -> str:
    """The commit that computed a run, with a hash of what else was changed; or its version."""
    commit, dirty = environment.get("commit"), environment.get("dirty")
    if not commit:
        return f"version {environment['harness']}" if "harness" in environment else ""
    return f"{str(commit)[:SHORT]}{f'+{str(dirty)[:8]}' if dirty else ''}"


def _machine(environment: Mapping[str, Any], record: RunRecord) -> Machine:
    torch = environment.get("torch")
    torch = torch if isinstance(torch, Mapping) else {}
    packages = environment.get("packages")
    packages = packages if isinstance(packages, Mapping) else {}
    gpus = environment.get("gpus")
    device = record.device or ""
    if device == "cuda" and isinstance(gpus, list) and gpus:
        device = str(gpus[0])
    facts = {
        "cpu": environment.get("cpu"),
        "instructions": torch.get("capability"),
        "threads": environment.get("threads"),
        "processes": environment.get("processes"),
        "torch": torch.get("version") or packages.get("torch"),
    }
    known = {name: str(value) for name, value in facts.items() if value is not None}
    return Machine(device=device, **known)
