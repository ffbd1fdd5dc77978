"""What a notebook calls, and the command too: a table, its plan, its runs, its results.

    import harness

    table = harness.load("maskedkd/table2")
    table.plan()                      # what would run, what is there, what it costs
    table.run(rows="*keep50")         # gets the data, computes what is missing, with live progress
    table.results().claims            # a DataFrame: one line per claim, with its verdict

The command `harness` is a thin layer over this module, with the same words.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack

from harness.errors import FieldError, HarnessError
from harness.spec.expand import Expansion, expand
from harness.spec.load import load_table
from harness.spec.table import TableSpec
from harness.text import count

if TYPE_CHECKING:
    import pandas as pd

    from harness.launch.local import LocalExecutor, RunSummary
    from harness.launch.slurm import SlurmExecutor, Submission
    from harness.plan import Plan, Recompute
    from harness.report.model import TableModel
    from harness.report.publish import Format
    from harness.run import Resources

FORMATS: tuple[Format, ...] = ("md", "csv", "html", "pdf")
"""What a report is written in unless asked for otherwise."""
ExecutorName: TypeAlias = Literal["local", "slurm"]


class Selection(TypedDict, total=False):
    """Which part of a table: `rows` are globs of row ids, comma-separated; `tasks` limits to runs
    of these (`train`, `cost`) and what they need.
    """

    profile: str | None
    rows: str | None
    seeds: Sequence[int] | None
    tasks: Sequence[str] | None


class ResourceOptions(TypedDict, total=False):
    """What to compute with, instead of what the profile says: see `harness.run.Resources`."""

    device: str
    threads: int
    workers: int
    processes: int
    nodes: int | None
    micro_batch: int | None


class OptionError(HarnessError):
    """A resource that was asked for and cannot be; the command writes the name as an option."""

    def __init__(self, option: str, what: str) -> None:
        self.option, self.what = option, what
        super().__init__(f"{option} {what}")


def load(name_or_path: str | Path) -> Table:
    """The table called `maskedkd/table2`, or that of a file; SpecError says all that is wrong."""
    return Table(load_table(name_or_path))


def tables() -> list[str]:
    """The names of all tables."""
    from harness.spec.paths import list_tables

    return list_tables()


class Table:
    """One table of one paper. Without a profile, methods mean its default one."""

    def __init__(self, spec: TableSpec) -> None:
        self.spec = spec

    def __repr__(self) -> str:
        return f"<Table {self.spec.name}: {len(self.spec.rows)} rows, {', '.join(self.profiles)}>"

    @property
    def profiles(self) -> list[str]:
        """The scales that it can be run at."""
        return list(self.spec.profiles)

    def expand(
        self,
        profile: str | None = None,
        *,
        rows: str | None = None,
        seeds: Sequence[int] | None = None,
        tasks: Sequence[str] | None = None,
    ) -> Expansion:
        """All runs, each with its complete configuration: of the whole table, or of a part of it,
        as in `Selection`.
        """
        chosen = profile or self.spec.default_profile
        return expand(self.spec, chosen, rows=rows, seeds=seeds, tasks=tasks)

    def plan(
        self,
        profile: str | None = None,
        *,
        rows: str | None = None,
        seeds: Sequence[int] | None = None,
        tasks: Sequence[str] | None = None,
        recompute: Recompute | None = None,
        jobs: int | None = None,
        **resources: Unpack[ResourceOptions],
    ) -> Plan:
        """What would run, what is there already, what stands in the way. Runs nothing.

        `jobs` are runs at once; by default as many as this machine has room for.
        """
        from harness.launch.preflight import plan_here

        expansion = self.expand(profile, rows=rows, seeds=seeds, tasks=tasks)
        chosen = _resources(expansion, resources)
        return plan_here(expansion, chosen, jobs=jobs, recompute=recompute)

    def run(
        self,
        profile: str | None = None,
        *,
        rows: str | None = None,
        seeds: Sequence[int] | None = None,
        tasks: Sequence[str] | None = None,
        executor: ExecutorName = "local",
        cluster: str | Path | None = None,
        offline: bool = False,
        until_settled: bool = False,
        recompute: Recompute | None = None,
        jobs: int | None = None,
        **resources: Unpack[ResourceOptions],
    ) -> RunSummary | Submission:
        """Compute what is missing, with live progress; or, with `executor="slurm"`, submit it to
        the cluster that the file `cluster` describes, and return. Says what became of it.

        Data that can be downloaded are, unless `offline`. `recompute` computes finished runs again:
        those by other code than today's ("changed"), or with damaged files ("damaged").

        `until_settled`: 3 seeds for all rows, then 6, then 12 for the rows of claims that are not
        settled; on a cluster, the first stage that lacks runs is submitted.
        """

        def one(rows: str | None, seeds: Sequence[int] | None) -> RunSummary | Submission:
            return self.prepare(
                profile,
                rows=rows,
                seeds=seeds,
                tasks=tasks,
                executor=executor,
                cluster=cluster,
                recompute=recompute,
                jobs=jobs,
                **resources,
            ).run()

        with _offline(offline):
            if not until_settled:
                return one(rows, seeds)
            for name, value in (("rows", rows), ("seeds", seeds), ("tasks", tasks)):
                if value is not None:
                    raise OptionError(name, "is chosen by until_settled: leave it out")
            return self._until_settled(profile or self.spec.default_profile, one)

    def _until_settled(
        self,
        profile: str,
        one: Callable[[str | None, Sequence[int] | None], RunSummary | Submission],
    ) -> RunSummary | Submission:
        from harness.launch.local import RunSummary
        from harness.report.settle import Batch, until_settled

        outcomes: list[RunSummary | Submission] = []

        def part(batch: Batch) -> Selection:
            return {"profile": profile, "rows": batch.rows, "seeds": batch.seeds}

        def compute(batch: Batch) -> bool:
            outcome = one(batch.rows, batch.seeds)
            outcomes.append(outcome)
            if isinstance(outcome, RunSummary):
                return not outcome.stopped
            return self.is_computed(part(batch))  # else its jobs are to end first

        until_settled(
            self.spec,
            profile,
            compute,
            lambda: self.look(profile),
            lambda batch: self.work(part(batch)),
        )
        return _together(outcomes)

    def look(self, profile: str) -> TableModel:
        """Judge, and note the look in the table's CSV files."""
        from harness.report.publish import Folders, publish
        from harness.store import Store

        model = self.results(profile).model
        publish(model, ("csv",), Folders.beside(Store().root))
        return model

    def work(self, part: Selection) -> float:
        """Estimated seconds of what is missing of a part, one run after the other."""
        return self._planned(part).work

    def is_computed(self, part: Selection) -> bool:
        """Whether no run of a part is missing, or being computed somewhere."""
        plan = self._planned(part)
        return not plan.to_run and not plan.counts["running"]

    def _planned(self, part: Selection) -> Plan:
        from harness.device import resolve_device
        from harness.plan import make_plan
        from harness.store import Store

        expansion = self.expand(**part)
        device = resolve_device(expansion.profile.resources.device)
        return make_plan(expansion, Store(), device=device, jobs=1)

    def prepare(
        self,
        profile: str | None = None,
        *,
        rows: str | None = None,
        seeds: Sequence[int] | None = None,
        tasks: Sequence[str] | None = None,
        executor: ExecutorName = "local",
        cluster: str | Path | None = None,
        dry_run: bool = False,
        recompute: Recompute | None = None,
        jobs: int | None = None,
        **resources: Unpack[ResourceOptions],
    ) -> LocalExecutor | SlurmExecutor:
        """All of `run` up to the first computation: an executor, whose `plan` says what it will do.

        Data are downloaded, and runs whose jobs have ended are freed; not for a `dry_run`, which is
        for the job scripts alone. HarnessError where the runs cannot be computed as asked.
        """
        from harness.launch.preflight import prepare_local, prepare_slurm

        expansion = self.expand(profile, rows=rows, seeds=seeds, tasks=tasks)
        chosen = _resources(expansion, resources)
        if executor == "slurm":
            return prepare_slurm(
                expansion, chosen, cluster=cluster, jobs=jobs, recompute=recompute, dry_run=dry_run
            )
        for name, value in (("cluster", cluster), ("dry_run", dry_run)):
            if value:
                raise OptionError(name, "needs --executor slurm")
        return prepare_local(expansion, chosen, jobs=jobs, recompute=recompute)

    def results(self, profile: str | None = None) -> Results:
        """What the finished runs say. Reads only."""
        from harness.report.collect import collect_finished
        from harness.store import Store

        chosen = profile or self.spec.default_profile
        return Results(collect_finished(self.spec, chosen, Store()))

    def report(
        self, profile: str | None = None, formats: Sequence[Format] = FORMATS
    ) -> tuple[Path, ...]:
        """Write the report's files; returns their paths."""
        from harness.report.publish import Folders, publish
        from harness.store import Store

        model = self.results(profile).model
        return publish(model, formats, Folders.beside(Store().root)).files


@dataclass(frozen=True, slots=True, repr=False)
class Results:
    """A table at a profile as measured, as pandas frames; `model` holds all of it."""

    model: TableModel

    def __repr__(self) -> str:
        """What a notebook shows: a line, where all that was measured fills pages."""
        rows, claims = count(len(self.model.rows), "row"), count(len(self.model.claims), "claim")
        at = f"{self.model.table}, profile {self.model.profile}"
        return f"<Results {at}: {rows}, {claims}; frames: cells, claims, seeds, curves>"

    @property
    def cells(self) -> pd.DataFrame:
        """One line per cell: published and measured value, interval, verdict and its reason."""
        from harness.report.render.csv import cells_frame

        return cells_frame(self.model)

    @property
    def claims(self) -> pd.DataFrame:
        """One line per claim: estimate, interval, margin, verdict and its reason."""
        from harness.report.render.csv import claims_frame

        return claims_frame(self.model)

    @property
    def seeds(self) -> pd.DataFrame:
        """One line per measured value: row, column, seed, value, and what computed it."""
        return self._frame(
            ("row", "column", "seed", "value", "cpu", "commit"),
            [
                (row.id, cell.column, draw.seed, draw.value, draw.machine.cpu, draw.commit)
                for row in self.model.rows
                for cell in row.cells
                for draw in cell.draws
            ],
        )

    @property
    def curves(self) -> pd.DataFrame:
        """One line per evaluation during training: row, seed, metric, epoch, value."""
        return self._frame(
            ("row", "seed", "metric", "epoch", "value"),
            [
                (curve.row, curve.seed, curve.metric, epoch, value)
                for curve in self.model.curves
                for epoch, value in zip(curve.epochs, curve.values, strict=True)
            ],
        )

    def _frame(self, columns: Sequence[str], lines: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(list(lines), columns=list(columns))


def _together(outcomes: Sequence[RunSummary | Submission]) -> RunSummary | Submission:
    """What became of several plans; on a cluster, of the last one."""
    from harness.launch.local import RunSummary

    last = outcomes[-1]
    if not isinstance(last, RunSummary):
        return last
    local = [one for one in outcomes if isinstance(one, RunSummary)]
    return RunSummary(
        computed=tuple(name for one in local for name in one.computed),
        failed={name: why for one in local for name, why in one.failed.items()},
        blocked={name: why for one in local for name, why in one.blocked.items()},
        interrupted=tuple(name for one in local for name in one.interrupted),
        open=last.open,
        stopped=last.stopped,
        seconds=sum(one.seconds for one in local),
    )


def _resources(expansion: Expansion, options: ResourceOptions) -> Resources:
    """The profile's, but for what was asked for."""
    changes: dict[str, Any] = dict(options)
    if "processes" in changes:  # the profile's nodes are for the profile's number
        changes.setdefault("nodes", None)
    try:
        return replace(expansion.profile.resources, **changes)
    except FieldError as error:
        raise OptionError(error.field, str(error)) from None


@contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    """Forbid downloads, in workers and jobs too; what the environment says stays otherwise."""
    before = os.environ.get("HARNESS_OFFLINE")
    if wanted:
        os.environ["HARNESS_OFFLINE"] = "1"
    try:
        yield
    finally:
        if wanted and before is None:
            del os.environ["HARNESS_OFFLINE"]
        elif wanted and before is not None:
            os.environ["HARNESS_OFFLINE"] = before
