"""From an expanded table and the store to the table model: values by seed, what is missing, and
every verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from harness.data import DATASETS
from harness.data.config import DataConfig
from harness.device import resolve_device
from harness.errors import HarnessError
from harness.evidence import FigureOf
from harness.report.claims import judge_claim
from harness.report.compare import references
from harness.report.format import listed
from harness.report.history import curves, finished_runs
from harness.report.losses import losses
from harness.report.measure import Side
from harness.report.model import (
    Cell,
    ClaimResult,
    Ratio,
    RowResult,
    TableModel,
    Untested,
    Verdict,
)
from harness.report.provenance import provenance
from harness.report.results import RunResults
from harness.report.statistics import summarise
from harness.report.verdicts import CellEvidence, judge_cell
from harness.run import TASKS
from harness.spec.claims import CellRef
from harness.spec.expand import Expansion, ResolvedRow, expand, needed_runs
from harness.spec.table import Claim, Column, Profile, Published, TableSpec
from harness.store import DONE, Store


def collect(
    expansion: Expansion, store: Store, *, device: Literal["cpu", "cuda"] = "cpu"
) -> TableModel:
    """Everything that a report of this table at this profile says. Reads run directories, writes
    nothing.

    `expansion` has all rows of the profile: a claim may compare any two of them.
    """
    results = RunResults.read(expansion, store, device=device)
    columns = tuple(expansion.table.columns_at(expansion.profile.name).values())
    rows = _rows(expansion, columns, results)
    paper, profile = expansion.table.paper, expansion.profile
    figures = _declared_figures(expansion, columns)
    runs, damaged = finished_runs(expansion, results, figures, read_file)
    return TableModel(
        table=expansion.table.name,
        profile=profile.name,
        title=paper.title,
        arxiv=paper.arxiv or "",
        number=paper.table or "",
        caption=paper.caption,
        short=paper.short,
        note=expansion.table.note,
        profile_difference=_profile_difference(profile),
        seeds=_seeds(expansion),
        columns=columns,
        rows=rows,
        claims=tuple(_claim(claim, columns, rows) for claim in profile.claims),
        untested=tuple(_untested(claim, rows) for claim in profile.untested),
        curves=curves(runs, _followed(columns)),
        runs=runs,
        figures=figures,
        plots=profile.plots,
        provenance=provenance(results),
        gpu_hours=results.gpu_hours(),
        unreadable=(*results.unreadable(), *damaged),
        data=data_of(expansion),
        paper_data=_paper_data(expansion),
        reference=bool(references(expansion.table.name, profile.name)),
    )


def _declared_figures(expansion: Expansion, columns: Sequence[Column]) -> tuple[FigureOf, ...]:
    """Those of the tasks and methods of the table, each once."""
    owners = [TASKS.get(column.task.name).figures for column in columns]
    owners += [row.config.method.figures for row in expansion.rows]
    return tuple(dict.fromkeys(figure for figures in owners for figure in figures))


def read_file(figure: FigureOf, path: Path) -> object:
    from harness.report.figures import FIGURES  # not above: it imports all that draws

    return FIGURES.get(figure.figure).read(path)


def data_of(expansion: Expansion) -> str:
    """What its rows are trained and judged on; empty where none can be resolved."""
    configs = [row.config.data for row in expansion.rows]
    names = [_data_name(config) for config in configs]
    return listed(list(dict.fromkeys(names))) if names else ""


def _data_name(config: DataConfig) -> str:
    title = DATASETS.get(config.name).title
    return Path(config.path).stem if config.path else title


def _paper_data(expansion: Expansion) -> str:
    """The same for the recipe of the paper, by the first row that can be resolved."""
    table, paper = expansion.table, expansion.table.profiles.get("paper")
    if paper is None or expansion.profile.name == "paper":
        return data_of(expansion) if paper is not None else ""
    for row in paper.rows:
        if row.published:
            try:
                return data_of(expand(table, "paper", rows=row.id, seeds=paper.seeds[:1]))
            except HarnessError:
                return ""
    return ""


def _followed(columns: Sequence[Column]) -> list[str]:
    """The metrics to show over training: the main one, and those that their task follows."""
    trained = [column for column in columns if column.evidence == "seeds"]
    return [
        column.metric
        for column in trained
        if column.metric == trained[0].metric or column.metric in TASKS.get(column.task.name).curves
    ]


def _profile_difference(profile: Profile) -> str:
    """How it differs from the paper; empty for the paper's own recipe."""
    if profile.name == "paper":
        return ""
    return profile.description or f"the profile `{profile.name}` is not the paper's recipe"


def _seeds(expansion: Expansion) -> tuple[int, ...]:
    identities = {i for row in expansion.rows for runs in row.runs.values() for i in runs}
    seeds = {run.title.seed for run in expansion.runs if run.identity in identities}
    return tuple(sorted(seed for seed in seeds if seed is not None))


def _rows(
    expansion: Expansion, columns: Sequence[Column], results: RunResults
) -> tuple[RowResult, ...]:
    rows, minimised = [], losses(expansion.rows)
    bases: dict[str, str] = {}  # by group, the label that labels such as `+MaskedKD 50%` add to
    for resolved in expansion.rows:
        row = resolved.row
        addition = row.label.startswith("+") and row.group in bases
        if not addition:
            bases[row.group] = row.label
        rows.append(
            RowResult(
                spec=row,
                name=f"{bases[row.group]} {row.label}" if addition else row.label,
                config=resolved.config,
                loss=minimised[row.id],
                collapsed=results.collapsed([i for runs in resolved.runs.values() for i in runs]),
                cells=tuple(_cell(resolved, column, expansion, results) for column in columns),
            )
        )
    return tuple(rows)


def _cell(resolved: ResolvedRow, column: Column, expansion: Expansion, results: RunResults) -> Cell:
    published = resolved.row.published.get(column.id)
    identities = resolved.runs.get(column.id, ())
    if published is None and results.silent(identities, column.metric):
        return Cell(column=column.id)
    values = results.values(identities, column.metric, seeded=column.evidence == "seeds")
    summary = summarise(list(values.values()))
    ratio = _ratio(resolved, column, expansion, results) if column.is_ratio else None
    evidence = CellEvidence(
        column=column,
        published=published,
        summary=summary,
        expected_n=len(identities),
        failed=results.errors(identities),
        missing_reason=_missing_reason(identities, results),
        profile_difference=_profile_difference(expansion.profile),
        ratio=ratio,
    )
    return Cell(
        column=column.id,
        published=published,
        values=tuple(values.items()),
        summary=summary,
        ratio=ratio,
        judgement=judge_cell(evidence),
        needs=results.needs(identities) if summary is None else (),
    )


def _missing_reason(identities: Sequence[str], results: RunResults) -> str:
    if identities:
        return results.missing_reason(identities)
    return "this row has nothing that this column could measure"


def _ratio(
    resolved: ResolvedRow, column: Column, expansion: Expansion, results: RunResults
) -> Ratio | None:
    published = resolved.row.published.get(column.id)
    baseline = _baseline(resolved, column, expansion)
    if baseline is None and published is not None and published.ratio is not None:
        baseline = _baseline(resolved, column, expansion, printed=False)
    if baseline is None:
        return None
    return Ratio(
        baseline="" if baseline.row.id == resolved.row.id else baseline.row.id,
        measured=_measured_ratio(resolved, baseline, column, results),
        published=_printed_ratio(published, baseline.row.published.get(column.id)),
    )


def _printed_ratio(published: Published | None, base: Published | None) -> float | None:
    """Of two printed numbers; as the paper prints it where the baseline's is missing or 0."""
    if published is not None and base is not None and base.intended.value:
        return published.intended.value / base.intended.value
    return None if published is None or published.ratio is None else published.ratio.value


def _baseline(
    resolved: ResolvedRow, column: Column, expansion: Expansion, *, printed: bool = True
) -> ResolvedRow | None:
    """The row to compare with, as the task says: with a printed number, best of the group."""
    declared = TASKS.get(column.task.name).baseline
    if declared is None:
        return None
    serving = [
        other
        for other in expansion.rows
        if (column.id in other.row.published or not printed)
        and declared.serves(resolved.config, other.config)
    ]
    of_group = [other for other in serving if other.row.group == resolved.row.group]
    return next(iter([*of_group, *serving]), None)


def _measured_ratio(
    resolved: ResolvedRow, baseline: ResolvedRow, column: Column, results: RunResults
) -> float | None:
    identities = resolved.runs.get(column.id, ())
    in_turn = TASKS.get(column.task.name).in_turn.get(column.metric)
    if in_turn and (timed := results.values(identities, in_turn, seeded=False)):
        return next(iter(timed.values()))
    seeded = column.evidence == "seeds"
    value = summarise(list(results.values(identities, column.metric, seeded=seeded).values()))
    base_runs = baseline.runs.get(column.id, ())
    base = summarise(list(results.values(base_runs, column.metric, seeded=seeded).values()))
    if value is None or base is None or base.mean == 0:
        return None
    return value.mean / base.mean


def _claim(claim: Claim, columns: Sequence[Column], rows: Sequence[RowResult]) -> ClaimResult:
    comparison = claim.holds
    column = next(column for column in columns if column.id == comparison.left.column)
    sides = _sides(comparison.cells, rows)
    if column.evidence == "timing" and comparison.offset == 0 and comparison.factor != 1:
        sides = _timed_in_turn(sides, comparison.cells, rows)
    return judge_claim(claim, column, *sides)


def _untested(claim: Claim, rows: Sequence[RowResult]) -> Untested:
    ids = {row.id for row in rows}
    missing = tuple(cell.row for cell in claim.holds.cells if cell.row not in ids)
    return Untested(claim=claim, missing_rows=missing)


def _sides(cells: Sequence[CellRef], rows: Sequence[RowResult]) -> list[Side]:
    """The cells of a claim with their values, named so that a reader knows which rows are meant."""
    compared = [next(row for row in rows if row.id == cell.row) for cell in cells]
    names = [row.name for row in rows]
    ambiguous = any(names.count(row.name) > 1 for row in compared)
    same_group = len({row.group for row in compared}) == 1
    sides = []
    for row, ref in zip(compared, cells, strict=True):
        last = row is compared[-1]
        group = f" ({row.group})" if ambiguous and row.group and (last or not same_group) else ""
        cell = row.cell(ref.column)
        reason = "" if cell.judgement is None or len(cell.needs) > 1 else cell.judgement.reason
        failed = cell.judgement is not None and cell.judgement.verdict is Verdict.FAILED
        sides.append(
            Side(
                label=row.name + group,
                values=dict(cell.values),
                missing_reason=reason,
                failed=failed,
            )
        )
    return sides


def _timed_in_turn(
    sides: list[Side], cells: Sequence[CellRef], rows: Sequence[RowResult]
) -> list[Side]:
    """How many times as fast: rows with the same baseline are compared through their ratios to it,
    each timed in turn with it in one process, so that what else the machine did between two runs
    cancels. The baseline is once as fast as itself: what was measured there is noise, and the claim
    would not say what the cell says.
    """
    compared = [next(row for row in rows if row.id == ref.row) for ref in cells]
    ratios = [row.cell(ref.column).ratio for row, ref in zip(compared, cells, strict=True)]
    bases = {
        ratio and (ratio.baseline or row.id) for ratio, row in zip(ratios, compared, strict=True)
    }
    relative = [
        ratio.measured if ratio.baseline else 1.0
        for ratio in ratios
        if ratio and ratio.measured is not None
    ]
    if len(sides) < 2 or len(relative) < len(sides) or len(bases) > 1:
        return sides
    return [
        replace(side, values=dict.fromkeys(side.values, value))
        for side, value in zip(sides, relative, strict=True)
    ]


def collect_finished(table: TableSpec, profile: str, store: Store) -> TableModel:
    """What a report says of the runs that are there, on the device that its profile asks for."""
    expansion = expand_finished(table, profile, store)
    device = resolve_device(expansion.profile.resources.device)
    return collect(expansion, store, device=device)


def expand_finished(table: TableSpec, profile: str, store: Store) -> Expansion:
    """The table at its profile's seeds, and at others that `harness run --seeds` has finished."""
    usual = table.profile(profile).seeds
    done = {
        record.identity: record.title.seed
        for record in store.records()
        if record.state == DONE and record.title.table == table.name
    }
    extra = sorted({seed for seed in done.values() if seed is not None} - set(usual))
    if not extra:
        return expand(table, profile)
    wider = expand(table, profile, seeds=[*usual, *extra])
    # a seed may have been finished at another profile alone
    seeds = {*usual, *(run.title.seed for run in wider.runs if run.identity in done), None}
    return _at_seeds(wider, seeds)


def _at_seeds(expansion: Expansion, seeds: set[int | None]) -> Expansion:
    """The part of an expansion that `seeds` ask for."""
    seed_of = {run.identity: run.title.seed for run in expansion.runs}
    rows = tuple(
        replace(
            row,
            runs={
                column: tuple(i for i in identities if seed_of[i] in seeds)
                for column, identities in row.runs.items()
            },
        )
        for row in expansion.rows
    )
    return replace(expansion, rows=rows, runs=needed_runs(rows, expansion.runs))
