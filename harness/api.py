"""What a notebook calls: a table, its plan, its runs, its results as pandas frames.

    import harness

    table = harness.load("maskedkd/table2")
    table.plan()                      # what would run, what is there, what it costs
    table.run(rows="*keep50")         # computes what is missing, with live progress
    table.results().claims            # a DataFrame: one line per claim, with its verdict

The command `harness` does the same with the same words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.spec.expand import Expansion, expand
from harness.spec.load import load_table
from harness.spec.table import TableSpec

if TYPE_CHECKING:
    import pandas as pd

    from harness.launch.local import RunSummary
    from harness.plan import Plan
    from harness.report.model import TableModel
    from harness.report.publish import Format

FORMATS: tuple[Format, ...] = ("md", "csv", "html", "pdf")
"""What a report is written in unless asked for otherwise."""


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
        """All runs, each with its complete configuration.

        `rows` are globs of row ids, comma-separated; `tasks` limits to these (`train`, `cost`).
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
        device: str = "auto",
        jobs: int | None = None,
    ) -> Plan:
        """What would run, what is there already, what stands in the way. Runs nothing."""
        from harness.device import default_jobs, resolve_device
        from harness.plan import make_plan
        from harness.store import Store

        expansion = self.expand(profile, rows=rows, seeds=seeds, tasks=tasks)
        resources = expansion.profile.resources
        where = resolve_device(resources.device if device == "auto" else device)
        at_once = jobs or default_jobs(where, resources.threads, resources.processes)
        return make_plan(expansion, Store(), device=where, jobs=at_once)

    def run(
        self,
        profile: str | None = None,
        *,
        rows: str | None = None,
        seeds: Sequence[int] | None = None,
        tasks: Sequence[str] | None = None,
        device: str = "auto",
        jobs: int | None = None,
    ) -> RunSummary:
        """Compute what is missing on this machine, with live progress; says what became of it."""
        from harness.launch.local import LocalExecutor
        from harness.store import Store

        plan = self.plan(profile, rows=rows, seeds=seeds, tasks=tasks, device=device, jobs=jobs)
        resources = replace(plan.expansion.profile.resources, device=plan.device)
        return LocalExecutor(plan, Store(), resources=resources).run()

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


@dataclass(frozen=True, slots=True)
class Results:
    """A table at a profile as measured, as pandas frames; `model` holds all of it."""

    model: TableModel

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
        """One line per measured value: row, column, seed, value."""
        return self._frame(
            ("row", "column", "seed", "value"),
            [
                (row.id, cell.column, seed, value)
                for row in self.model.rows
                for cell in row.cells
                for seed, value in cell.values
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
