"""What a notebook calls, and the command too: a table, its plan, its runs, its results.

    import harness

    table = harness.load("maskedkd/table2")
    table.plan()                      # what would run, what is there, what it costs
    table.run(rows="*keep50")         # gets the data, computes what is missing, with live progress
    table.results().claims            # a DataFrame: one line per claim, with its verdict

The command `harness` is a thin layer over this module, with the same words.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack, get_args

from harness import text
from harness.errors import FieldError, HarnessError, unknown
from harness.spec.expand import Expansion, expand
from harness.spec.load import load_table
from harness.spec.table import TableSpec

if TYPE_CHECKING:
    import pandas as pd

    from harness.launch.local import LocalExecutor, RunSummary
    from harness.launch.slurm import SlurmExecutor, Submission
    from harness.plan import Plan, Recompute
    from harness.report.model import TableModel
    from harness.report.publish import Format
    from harness.report.settle import SeedBatch
    from harness.run import Resources

FORMATS: tuple[Format, ...] = ("md", "csv", "html", "pdf")
"""What a report is written in unless asked for otherwise."""
ExecutorName: TypeAlias = Literal["local", "slurm"]


class Selection(TypedDict, total=False):
    """Which part of a table; several rows or tasks in a text, comma-separated, or a list."""

    rows: str | Sequence[str] | None  # globs of row ids
    seeds: Sequence[int] | None  # instead of the profile's
    tasks: str | Sequence[str] | None  # only runs of these (`train`, `cost`), and what they need


class ResourceOptions(TypedDict, total=False):
    """What to compute with, instead of what the profile says: see `harness.run.Resources`."""

    device: str
    threads: int
    workers: int
    processes: int
    nodes: int | None
    micro_batch: int | None
    pipeline: int | None


class PlanOptions(Selection, ResourceOptions, total=False):
    """How a part of a table is planned."""

    jobs: int | None  # runs at once; none: as many as this machine has room for
    # finished runs to compute again: by other code than today's ("changed"), or with damaged files
    # ("damaged")
    recompute: Recompute | None


class RunOptions(PlanOptions, total=False):
    """How a part of a table is computed: the options of `harness run`."""

    executor: ExecutorName  # "slurm" submits to a cluster
    cluster: str | Path | None  # for slurm: the file that describes the cluster


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

    def expand(self, profile: str | None = None, **part: Unpack[Selection]) -> Expansion:
        """All runs, each with its complete configuration: of the whole table or a part of it."""
        rows, seeds, tasks = part.get("rows"), part.get("seeds"), part.get("tasks")
        return expand(
            self.spec,
            profile or self.spec.default_profile,
            rows=None if rows is None else ",".join(_words("rows", rows)),
            seeds=None if seeds is None else _whole_numbers(seeds),
            tasks=None if tasks is None else _words("tasks", tasks),
        )

    def plan(self, profile: str | None = None, **options: Unpack[PlanOptions]) -> Plan:
        """What would run, what is there already, what stands in the way. Runs nothing."""
        from harness.launch.preflight import plan_here

        expansion, resources = self._resolved(profile, options, PlanOptions)
        return plan_here(
            expansion, resources, jobs=options.get("jobs"), recompute=options.get("recompute")
        )

    def run(
        self,
        profile: str | None = None,
        *,
        offline: bool = False,
        until_settled: bool = False,
        **options: Unpack[RunOptions],
    ) -> RunSummary | Submission:
        """Compute what is missing, with live progress; or, with `executor="slurm"`, submit it to
        the cluster that the file `cluster` describes, and return. Says what became of it.

        Data that can be downloaded are, unless `offline`.

        `until_settled`: 3 seeds for all rows, then 6, then 12 for the rows of claims that are not
        settled; on a cluster, the first stage that lacks runs is submitted.
        """
        with _offline(offline):
            if not until_settled:
                return self.prepare(profile, **options).run()
            for name in Selection.__annotations__:
                if options.get(name) is not None:
                    chosen = text.options(until_settled=True)
                    raise HarnessError(f"{chosen} chooses {name} by itself: leave {name} out")
            return self._until_settled(profile or self.spec.default_profile, options)

    def _until_settled(self, profile: str, options: RunOptions) -> RunSummary | Submission:
        from harness.launch.local import RunSummary

        outcomes: list[RunSummary | Submission] = []

        def compute(batch: SeedBatch) -> bool:
            asked: RunOptions = {**options, "rows": batch.rows, "seeds": batch.seeds}
            outcome = self.prepare(profile, **asked).run()
            outcomes.append(outcome)
            if isinstance(outcome, RunSummary):
                return not outcome.stopped
            return self.is_computed(profile, batch.part)  # else its jobs are to end first

        self.settle(profile, compute)
        return _together(outcomes)

    def settle(self, profile: str, compute: Callable[[SeedBatch], bool]) -> str:
        """Have stage after stage of seeds computed, and judge each: `harness.report.settle`."""
        from harness.report.settle import until_settled

        return until_settled(
            self.spec,
            profile,
            compute,
            judge=lambda seeds: self.look(profile, seeds),
            cost=lambda batch: self._planned(profile, batch.part).work,
        )

    def look(self, profile: str, seeds: Sequence[int]) -> TableModel:
        """Judge what is there of these seeds, and note the look in the table's CSV files. Not where
        other seeds are there too: part of a later stage is no planned look, and this one was noted
        before that stage began.
        """
        from harness.device import resolve_device
        from harness.report.collect import collect
        from harness.report.publish import Folders, publish
        from harness.store import Store

        model = self.results(profile).model
        if set(model.finished_seeds) <= set(seeds):
            publish(model, ("csv",), Folders.beside(Store().root))
            return model
        expansion = self.expand(profile, seeds=tuple(seeds))
        device = resolve_device(expansion.profile.resources.device)
        return collect(expansion, Store(), device=device, part=True)

    def is_computed(self, profile: str, part: Selection) -> bool:
        """Whether no run of a part is missing, or being computed somewhere."""
        plan = self._planned(profile, part)
        return not plan.to_run and not plan.counts["running"]

    def _planned(self, profile: str, part: Selection) -> Plan:
        from harness.device import resolve_device
        from harness.plan import make_plan
        from harness.store import Store

        expansion = self.expand(profile, **part)
        device = resolve_device(expansion.profile.resources.device)
        return make_plan(expansion, Store(), device=device, jobs=1)

    def prepare(
        self, profile: str | None = None, *, dry_run: bool = False, **options: Unpack[RunOptions]
    ) -> LocalExecutor | SlurmExecutor:
        """All of `run` up to the first computation: an executor, whose `plan` says what it will do.

        Data are downloaded, and runs whose jobs have ended are freed; not for a `dry_run`, which is
        for the job scripts alone. HarnessError where the runs cannot be computed as asked.
        """
        from harness.launch.preflight import prepare_local, prepare_slurm

        expansion, resources = self._resolved(profile, options, RunOptions)
        jobs, recompute = options.get("jobs"), options.get("recompute")
        cluster = options.get("cluster")
        if options.get("executor") == "slurm":
            return prepare_slurm(
                expansion,
                resources,
                cluster=cluster,
                jobs=jobs,
                recompute=recompute,
                dry_run=dry_run,
            )
        for name, value in (("cluster", cluster), ("dry_run", dry_run)):
            if value:
                needed = text.options(executor="slurm")
                raise HarnessError(f"{text.options(**{name: None})} needs {needed}")
        return prepare_local(expansion, resources, jobs=jobs, recompute=recompute)

    def _resolved(
        self, profile: str | None, options: PlanOptions, valid: type[PlanOptions]
    ) -> tuple[Expansion, Resources]:
        """The runs that are meant, and what computes them."""
        from harness.plan import Recompute

        for name in options:
            if name not in valid.__annotations__:
                raise TypeError(unknown("option", name, list(valid.__annotations__)))
        _check_choice("executor", options.get("executor"), get_args(ExecutorName))
        _check_choice("recompute", options.get("recompute"), get_args(Recompute))
        jobs = options.get("jobs")
        if jobs is not None and (not _is_whole(jobs) or jobs < 1):
            raise HarnessError(f"jobs must be a whole number of at least 1, got {jobs!r}")
        expansion = self.expand(profile, **_those_of(Selection, options))
        return expansion, _resources(expansion, _those_of(ResourceOptions, options))

    def results(self, profile: str | None = None) -> Results:
        """What the finished runs say. Reads only."""
        from harness.report.collect import collect_finished
        from harness.store import Store

        chosen = profile or self.spec.default_profile
        return Results(collect_finished(self.spec, chosen, Store(), every_loss=True))

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
        rows, claims = (
            text.count(len(self.model.rows), "row"),
            text.count(len(self.model.claims), "claim"),
        )
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
            ("row", "column", "seed", "value", "run", "cpu", "commit"),
            [
                (
                    row.id,
                    cell.column,
                    draw.seed,
                    draw.value,
                    draw.run,
                    draw.machine.cpu,
                    draw.commit,
                )
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


def _words(option: str, given: object) -> list[str]:
    """The words of a text, comma-separated, or of a list."""
    words = given.split(",") if isinstance(given, str) else given
    if not isinstance(words, Sequence) or not all(isinstance(word, str) for word in words):
        raise HarnessError(f"{option} must be a text or a list of texts, got {given!r}")
    return list(words)


def _whole_numbers(seeds: object) -> list[int]:
    """Seeds, of Python's numbers or numpy's."""
    if not isinstance(seeds, str | bytes) and isinstance(seeds, Iterable):
        with suppress(TypeError):
            return [operator.index(seed) for seed in seeds]
    raise HarnessError(f"seeds must be whole numbers, as [0, 1, 2] or range(3), got {seeds!r}")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_choice(option: str, given: object, valid: Sequence[str]) -> None:
    if given is not None and given not in valid:
        raise HarnessError(unknown(option, str(given), valid))


def _those_of(kind: type[Selection | ResourceOptions], options: PlanOptions) -> dict[str, Any]:
    """The options that `kind` lists."""
    return {name: value for name, value in options.items() if name in kind.__annotations__}


def _resources(expansion: Expansion, changes: dict[str, Any]) -> Resources:
    """The profile's, but for what was asked for."""
    if "processes" in changes:  # the profile's nodes are for the profile's number
        changes.setdefault("nodes", None)
    if "device" in changes:
        changes["device"] = str(changes["device"])
    for name, value in changes.items():
        unset = value is None and name in ("nodes", "micro_batch", "pipeline")
        if name != "device" and not unset and not _is_whole(value):
            raise HarnessError(
                f"{text.options(**{name: None})} must be a whole number, got {value!r}"
            )
    try:
        return replace(expansion.profile.resources, **changes)
    except FieldError as error:
        raise HarnessError(f"{text.options(**{error.field: None})} {error}") from None


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
