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
from harness.report.cell_values import CellSource, CellValues, images_of, right_of, se_over_images
from harness.report.compare import references
from harness.report.format import listed
from harness.report.history import at_epochs, finished_runs
from harness.report.judging import Measured, Pools, judge_claims, measured
from harness.report.looks import Looks, looked_at, looks_before, with_looks
from harness.report.losses import losses
from harness.report.measure import Side
from harness.report.model import (
    Cell,
    ClaimResult,
    FinishedRun,
    Ratio,
    RowResult,
    TableModel,
    Untested,
    Verdict,
)
from harness.report.pools import check_same_runs, on_machines, read_pools
from harness.report.provenance import provenance
from harness.report.publish import file_name
from harness.report.results import RunResults
from harness.report.statistics import summarise
from harness.report.verdicts import CellEvidence, first_line, judge_cell
from harness.run import TASKS
from harness.spec.claims import CellRef, Comparison
from harness.spec.expand import Expansion, ResolvedRow, expand, needed_runs
from harness.spec.table import (
    Claim,
    Column,
    Profile,
    Published,
    TableSpec,
    full_names,
    is_smoke_test,
)
from harness.store import DONE, RunRecord, Store


def collect(
    expansion: Expansion,
    store: Store,
    *,
    device: Literal["cpu", "cuda"] = "cpu",
    pools: Sequence[Path] = (),
    records: Sequence[RunRecord] | None = None,
    drawn: bool = True,
    every_loss: bool = False,
    part: bool = False,
) -> TableModel:
    """Everything that a report of this table at this profile says. Reads run directories, writes
    nothing.

    Claims that compare rows which `expansion` lacks are untested, as those of rows that the profile
    lacks. `pools` are results folders of other machines, whose per-seed values are set
    beside these. `records` is what `store` holds, where that has been read. Without `drawn` it is
    not read what figures alone show, and without `every_loss` no loss that no figure shows. `part`:
    there are other seeds, which `expansion` leaves out; they are not lost.
    """
    results = RunResults.read(expansion, store, device=device, records=records)
    name = file_name(expansion.table.name, expansion.profile.name)
    memory, profile = store.root / f"{name}.seeds.csv", expansion.profile.name
    cells = store.root / f"{name}.csv"
    looks, looks_unknown = looks_before(memory, cells, expansion.table.name, profile)
    if part:
        seeds = _seeds(expansion)
        looks = {
            cell: {seed: look for seed, look in noted.items() if seed in seeds}
            for cell, noted in looks.items()
        }
    columns = tuple(expansion.table.columns_at(expansion.profile.name).values())
    figures = _declared_figures(expansion, columns) if drawn else ()
    names = {column.metric for column in columns}
    names |= shown_records(figures) if drawn else set()
    recorded = finished_runs(
        expansion,
        results,
        figures,
        read_file,
        names=names,
        followed=_followed(columns) if drawn else (),
        every_loss=every_loss,
    )
    model = judged(expansion, results, looks=looks, runs=recorded.runs)
    if pools:
        others = read_pools(pools, name)
        check_same_runs(pools, others, expansion)
        claims = [on_machines(claim, model.rows, others) for claim in model.claims]
        model = replace(model, claims=tuple(claims))
    return replace(
        model,
        curves=recorded.curves,
        figures=figures,
        provenance=provenance(results),
        gpu_hours=results.gpu_hours(),
        unreadable=(
            *results.unreadable(),
            *recorded.damaged,
            *filter(None, [looks_unknown]),
        ),
        looks_unknown=looks_unknown,
    )


def judged(
    expansion: Expansion,
    source: CellSource,
    *,
    looks: Looks | None = None,
    runs: Sequence[FinishedRun] = (),
) -> TableModel:
    """The table with its verdicts, from whatever source of values; without what only runs have:
    curves, pictures, environments. `looks` tell at which number of seeds a value was first shown,
    `runs` what trainings recorded on the way.
    """
    columns = tuple(expansion.table.columns_at(expansion.profile.name).values())
    rows = _rows(expansion, columns, source, looks or {})
    paper, profile = expansion.table.paper, expansion.profile
    lacking = [claim for claim in profile.claims if _untested(claim, rows).missing_rows]
    claims = [claim for claim in profile.claims if claim not in lacking]
    results = tuple(
        looked_at(claim, columns, rows)
        for claim in judge_claims(
            claims,
            lambda comparison: _measured(comparison, columns, rows, runs),
            Pools(rows, _runs(expansion), _images(expansion)),
        )
    )
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
        claims=tuple(map(_unjudged, results)) if is_smoke_test(profile.name) else results,
        untested=tuple(_untested(claim, rows) for claim in (*lacking, *profile.untested)),
        runs=tuple(runs),
        plots=profile.plots,
        data=data_of(expansion),
        paper_data=_paper_data(expansion),
        reference=bool(references(expansion.table.name, profile.name)),
    )


def _unjudged(claim: ClaimResult) -> ClaimResult:
    """A claim at a profile whose numbers mean nothing: they are shown, and nothing follows."""
    claim = replace(
        claim, preconditions=(), p=None, p_adjusted=None, seeds_needed="", seeds_needed_range=""
    )
    if claim.verdict in (Verdict.NOT_RUN, Verdict.FAILED):
        return claim
    reason = "not judged: a smoke test, whose numbers mean nothing"
    return replace(claim, verdict=Verdict.OUT_OF_SCOPE, reason=reason)


def _declared_figures(expansion: Expansion, columns: Sequence[Column]) -> tuple[FigureOf, ...]:
    """Those of the tasks and methods of the table, each once."""
    owners = [TASKS.get(column.task.name).figures for column in columns]
    owners += [row.config.method.figures for row in expansion.rows]
    return tuple(dict.fromkeys(figure for figures in owners for figure in figures))


def shown_records(figures: Sequence[FigureOf]) -> set[str]:
    """The keys of `metrics.jsonl` that figures show, beside the metrics of columns."""
    from harness.report.figures import FIGURES  # not above: it imports all that draws

    own = (FIGURES.get(name).records for name in FIGURES.names())
    return {figure.source for figure in figures}.union(*own)


def read_file(figure: FigureOf, path: Path) -> object:
    from harness.report.figures import FIGURES  # not above: it imports all that draws

    return FIGURES.get(figure.figure).read(path)


def data_of(expansion: Expansion) -> str:
    """What its rows are trained and judged on; empty where none can be resolved."""
    configs = [row.config.data for row in expansion.rows]
    names = [_data_name(config) for config in configs]
    return listed(list(dict.fromkeys(names))) if names else ""


def _data_name(config: DataConfig) -> str:
    title = Path(config.path).stem if config.path else DATASETS.get(config.name).title
    packed = "" if config.packed is None else f", packed at {config.packed} px"
    return f"{title}{packed}{' (hold-out)' if config.evaluate_on == 'holdout' else ''}"


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
    expansion: Expansion, columns: Sequence[Column], source: CellSource, looks: Looks
) -> tuple[RowResult, ...]:
    rows, minimised, seeds = [], losses(expansion.rows), _seeds(expansion)
    names = full_names(expansion.profile.rows)
    for resolved in expansion.rows:
        row = resolved.row
        rows.append(
            RowResult(
                spec=row,
                name=names[row.id],
                config=resolved.config,
                loss=minimised[row.id],
                collapsed=source.collapsed_seeds(resolved),
                cells=tuple(
                    _cell(resolved, column, expansion, source, looks, seeds) for column in columns
                ),
            )
        )
    return tuple(rows)


def _cell(
    resolved: ResolvedRow,
    column: Column,
    expansion: Expansion,
    source: CellSource,
    looks: Looks,
    seeds: Sequence[int],
) -> Cell:
    published = resolved.row.published.get(column.id)
    identities = resolved.runs.get(column.id, ())
    found = source.cell_values(resolved, column)
    if published is None and found.silent:
        return Cell(column=column.id)
    summary = summarise(list(found.values.values()))
    ratio = _ratio(resolved, column, expansion, source, found) if column.is_ratio else None
    evidence = CellEvidence(
        column=column,
        published=published,
        summary=summary,
        expected_n=_expected(identities, found, expansion.profile),
        failed=tuple(error for _, _, error in found.failures),
        missing_reason=found.missing_reason,
        profile_difference=_profile_difference(expansion.profile),
        ratio=ratio,
    )
    draws = found.draws
    lost: tuple[tuple[int, str, int], ...] = ()
    if column.evidence == "seeds":
        noted = looks.get((resolved.row.id, column.id), {})
        draws, lost = with_looks(draws, noted, identities)
    right = right_of(draws)
    return Cell(
        column=column.id,
        published=published,
        summary=summary,
        ratio=ratio,
        judgement=judge_cell(evidence),
        needs=found.needs if summary is None else (),
        draws=draws,
        failures=tuple((seed, run, first_line(error)) for seed, run, error in found.failures),
        lost=lost,
        images=images_of(draws),
        se_images=se_over_images(right) if len(right) == len(draws) else None,
        seedless=_is_seedless(column, identities, seeds),
    )


def _is_seedless(column: Column, identities: Sequence[str], seeds: Sequence[int]) -> bool:
    """Whether a cell has one value, whatever the seed: nothing is trained for it, or one run serves
    all seeds (pixels, public weights).
    """
    return column.evidence != "seeds" or (len(seeds) > 1 and len(set(identities)) == 1)


def _expected(identities: Sequence[str], found: CellValues, profile: Profile) -> int:
    """How many values a cell should have: other rows' extra seeds are not this one's."""
    seeds = {draw.seed for draw in found.draws} | {seed for seed, _, _ in found.failures}
    return min(len(identities), len(seeds.union(profile.seeds)))


def _ratio(
    resolved: ResolvedRow,
    column: Column,
    expansion: Expansion,
    source: CellSource,
    found: CellValues,
) -> Ratio | None:
    published = resolved.row.published.get(column.id)
    baseline = _baseline(resolved, column, expansion)
    if baseline is None and published is not None and published.ratio is not None:
        baseline = _baseline(resolved, column, expansion, printed=False)
    if baseline is None:
        return None
    return Ratio(
        baseline="" if baseline.row.id == resolved.row.id else baseline.row.id,
        measured=_measured_ratio(found, baseline, column, source),
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
    found: CellValues, baseline: ResolvedRow, column: Column, source: CellSource
) -> float | None:
    in_turn = [draw.ratio for draw in found.draws if draw.ratio is not None]
    if in_turn:
        return in_turn[0]
    value = summarise(list(found.values.values()))
    base = summarise(list(source.cell_values(baseline, column).values.values()))
    if value is None or base is None or base.mean == 0:
        return None
    return value.mean / base.mean


def _measured(
    comparison: Comparison,
    columns: Sequence[Column],
    rows: Sequence[RowResult],
    runs: Sequence[FinishedRun],
) -> Measured:
    """A comparison and what the runs say of it, before anything is concluded."""
    column = _deciding_column(comparison, columns)
    sides = _sides(comparison.cells, rows)
    labels = {other.id: f" ({other.label})" for other in columns if other.id != column.id}
    sides = [
        replace(side, label=f"{side.label}{labels.get(cell.column, '')}")
        for side, cell in zip(sides, comparison.cells, strict=True)
    ]
    sides = at_epochs(sides, comparison.cells, columns, rows, runs)
    if column.evidence == "timing" and comparison.offset == 0 and comparison.factor != 1:
        sides = _timed_in_turn(sides, comparison.cells, rows)
    return measured(comparison, column, sides)


def _deciding_column(comparison: Comparison, columns: Sequence[Column]) -> Column:
    """The column of its first cell; of several, the first that training decides, or that is timed:
    what is computed beside it makes a verdict no surer.
    """
    by_id = {column.id: column for column in columns}
    found = [by_id[id_] for id_ in dict.fromkeys(cell.column for cell in comparison.cells)]
    return min(found, key=lambda column: ("seeds", "timing", "exact").index(column.evidence))


def _runs(expansion: Expansion) -> dict[tuple[str, str], tuple[str, ...]]:
    """What stands behind each (row, column)."""
    return {
        (row.row.id, column): tuple(identities)
        for row in expansion.rows
        for column, identities in row.runs.items()
    }


def _images(expansion: Expansion) -> int:
    """How many images judge an accuracy, the fewest of any row; 0: the catalogue does not say."""
    configs = [row.config.data for row in expansion.rows]
    sizes = [
        DATASETS.get(config.name).train_images // 10
        if config.evaluate_on == "holdout"
        else DATASETS.get(config.name).val_images
        for config in configs
        if config.path is None
    ]
    return min(sizes, default=0) if len(sizes) == len(configs) else 0


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
                failed_seeds=tuple(seed for seed, _, _ in cell.failures),
                images=cell.images,
                seedless=cell.seedless,
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


def collect_finished(
    table: TableSpec,
    profile: str,
    store: Store,
    *,
    pools: Sequence[Path] = (),
    records: Sequence[RunRecord] | None = None,
    drawn: bool = True,
    every_loss: bool = False,
) -> TableModel:
    """What a report says of the runs that are there, on the device that its profile asks for;
    `records`, `drawn` and `every_loss` as of `collect`.
    """
    records = store.records() if records is None else records
    expansion = expand_finished(table, profile, records)
    device = resolve_device(expansion.profile.resources.device)
    return collect(
        expansion,
        store,
        device=device,
        pools=pools,
        records=records,
        drawn=drawn,
        every_loss=every_loss,
    )


def expand_finished(table: TableSpec, profile: str, records: Sequence[RunRecord]) -> Expansion:
    """The table at its profile's seeds, and at others that `harness run --seeds` has finished."""
    usual = table.profile(profile).seeds
    done = {
        record.identity: record.title.seed
        for record in records
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
