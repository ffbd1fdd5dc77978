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
from harness.report.attention import attention_maps
from harness.report.claims import Comparison, Side, judge_claim
from harness.report.lines import placed
from harness.report.losses import losses
from harness.report.model import (
    Cell,
    Claim,
    Column,
    Cost,
    Evidence,
    Ratio,
    Row,
    TableModel,
    Untested,
    Verdict,
)
from harness.report.outcomes import Outcomes
from harness.report.provenance import provenance
from harness.report.reference import references
from harness.report.series import curves, histories, kept_maps
from harness.report.statistics import summarise
from harness.report.verdicts import Facts, judge_cell
from harness.report.wording import listed
from harness.run import TASKS
from harness.spec import table as spec
from harness.spec.claims import CellRef
from harness.spec.expand import Expansion, ResolvedRow, expand
from harness.store import DONE, Store

SPEEDUP = "teacher/speedup"  # of one process that times the masked and the full teacher in turn
TEACHER_ACCURACY = "val/teacher_top1"
IMAGE_MACS, TRAINING_MACS = "teacher/gmacs", "teacher/train_pmacs"


def collect(
    expansion: Expansion, store: Store, *, device: Literal["cpu", "cuda"] = "cpu"
) -> TableModel:
    """Everything that a report of this table at this profile says. Reads run directories, writes
    nothing.
    """
    outcomes = Outcomes.read(expansion, store, device=device)
    shown = expansion.table.columns_at(expansion.profile.name)
    columns = tuple(column_of(column) for column in shown.values())
    rows = _rows(expansion, columns, outcomes)
    paper, profile = expansion.table.paper, expansion.profile
    recorded, damaged = histories(expansion, outcomes)
    pictures, damaged_pictures = attention_maps(expansion, outcomes)
    return TableModel(
        table=expansion.table.name,
        profile=profile.name,
        title=paper.title,
        arxiv=paper.arxiv or "",
        number=paper.table or "",
        caption=paper.caption,
        note=expansion.table.note,
        says="" if profile.name == "paper" else _differs(profile),
        seeds=_seeds(expansion),
        columns=columns,
        rows=rows,
        claims=tuple(_claim(claim, columns, rows) for claim in profile.claims),
        untested=tuple(_untested(claim, rows) for claim in profile.untested),
        curves=curves(recorded, _followed(columns)),
        kept=kept_maps(recorded),
        attention=pictures,
        costs=tuple(_cost(row, outcomes) for row in expansion.rows),
        plots=tuple(placed(plot, columns, rows) for plot in profile.plots),
        provenance=provenance(outcomes),
        effort=outcomes.effort(),
        unreadable=(*damaged, *damaged_pictures),
        data=data_of(expansion),
        paper_data=_paper_data(expansion),
        reference=bool(references(expansion.table.name, profile.name)),
    )


def data_of(expansion: Expansion) -> str:
    """What its rows are trained and judged on; empty where none can be resolved."""
    configs = [row.config.data for row in expansion.rows]
    names = [_data_name(config) for config in configs]
    return listed(list(dict.fromkeys(names))) if names else ""


def _data_name(config: DataConfig) -> str:
    known = DATASETS.get(config.name)
    return Path(config.path).stem if config.path else known.title


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


def column_of(column: spec.Column) -> Column:
    return Column(
        id=column.id,
        label=column.label or column.id,
        metric=column.metric,
        unit=column.unit,
        decimals=column.decimals,
        better=column.better,
        tolerance=column.tolerance,
        ratio=column.compare == "ratio",
        evidence=_evidence(column.kind),
    )


def _evidence(kind: str) -> Evidence:
    known = TASKS.get(kind)
    if known.seeded:
        return "seeds"
    return "timing" if known.exclusive else "exact"


def _followed(columns: Sequence[Column]) -> list[str]:
    """The metrics to show over training: the main one, and the teacher's own accuracy."""
    trained = [column.metric for column in columns if column.evidence == "seeds"]
    return [metric for metric in trained if metric in (trained[0], TEACHER_ACCURACY)]


def _differs(profile: spec.Profile) -> str:
    return profile.description or f"the profile `{profile.name}` is not the paper's recipe"


def _seeds(expansion: Expansion) -> tuple[int, ...]:
    identities = {i for row in expansion.rows for runs in row.runs.values() for i in runs}
    seeds = {run.title.seed for run in expansion.runs if run.identity in identities}
    return tuple(sorted(seed for seed in seeds if seed is not None))


def _rows(expansion: Expansion, columns: Sequence[Column], outcomes: Outcomes) -> tuple[Row, ...]:
    rows, minimised = [], losses(expansion.rows)
    bases: dict[str, str] = {}  # by group, the label that labels such as `+MaskedKD 50%` add to
    for resolved in expansion.rows:
        keep, patches = _keep(resolved)
        row = resolved.row
        addition = row.label.startswith("+") and row.group in bases
        if not addition:
            bases[row.group] = row.label
        rows.append(
            Row(
                id=row.id,
                label=row.label,
                name=f"{bases[row.group]} {row.label}" if addition else row.label,
                group=row.group,
                student=_student(resolved),
                keep=keep,
                patches=patches,
                loss=minimised[row.id],
                note=row.note,
                collapsed=outcomes.collapsed([i for runs in resolved.runs.values() for i in runs]),
                cells=tuple(_cell(resolved, column, expansion, outcomes) for column in columns),
            )
        )
    return tuple(rows)


def _student(resolved: ResolvedRow) -> str:
    config = resolved.config
    return f"{config.student.arch} {config.student.shape}"


def _keep(resolved: ResolvedRow) -> tuple[int | None, int | None]:
    """How many patches the row's teacher sees, of how many; nothing where it has none."""
    config = resolved.config
    if config.teacher is None:
        return None, None
    patches = config.teacher.shape.patches
    return config.method.teacher_keep(patches), patches


def _cell(resolved: ResolvedRow, column: Column, expansion: Expansion, outcomes: Outcomes) -> Cell:
    published = resolved.row.published.get(column.id)
    identities = resolved.runs.get(column.id, ())
    if published is None and outcomes.silent(identities, column.metric):
        return Cell(column=column.id)
    values = outcomes.values(identities, column.metric, seeded=column.evidence == "seeds")
    summary = summarise(list(values.values()))
    ratio = _ratio(resolved, column, expansion, outcomes) if column.ratio else None
    facts = Facts(
        column=column,
        published=published,
        summary=summary,
        wanted=len(identities),
        failed=outcomes.errors(identities),
        lacks=_lacks(identities, outcomes),
        differs="" if expansion.profile.name == "paper" else _differs(expansion.profile),
        ratio=ratio,
    )
    return Cell(
        column=column.id,
        published=published,
        values=tuple(values.items()),
        summary=summary,
        ratio=ratio,
        judgement=judge_cell(facts),
        needs=outcomes.needs(identities) if summary is None else (),
    )


def _lacks(identities: Sequence[str], outcomes: Outcomes) -> str:
    if identities:
        return outcomes.lacks(identities)
    return "this row has nothing that this column could measure"


def _ratio(
    resolved: ResolvedRow, column: Column, expansion: Expansion, outcomes: Outcomes
) -> Ratio | None:
    own = resolved.row.published.get(column.id)
    baseline = _baseline(resolved, column, expansion)
    if baseline is None and own is not None and own.ratio is not None:
        baseline = _baseline(resolved, column, expansion, printed=False)
    if baseline is None:
        return None
    return Ratio(
        baseline="" if baseline.row.id == resolved.row.id else baseline.row.id,
        measured=_measured_ratio(resolved, baseline, column, outcomes),
        published=_printed_ratio(own, baseline.row.published.get(column.id)),
    )


def _printed_ratio(own: spec.Published | None, base: spec.Published | None) -> float | None:
    """Of two printed numbers; as the paper prints it where the unmasked one is missing."""
    if own is not None and base is not None:
        return own.intended.value / base.intended.value
    return None if own is None or own.ratio is None else own.ratio.value


def _baseline(
    resolved: ResolvedRow, column: Column, expansion: Expansion, *, printed: bool = True
) -> ResolvedRow | None:
    """The row to compare with: all patches, a printed number; of the group, or the same teacher."""
    unmasked = [
        other
        for other in expansion.rows
        if (column.id in other.row.published or not printed)
        and _shape(other) is not None
        and _unmasked(other)
    ]
    group = [other for other in unmasked if other.row.group == resolved.row.group]
    alike = [other for other in unmasked if _shape(other) == _shape(resolved)]
    return next(iter([*group, *alike]), None)


def _unmasked(resolved: ResolvedRow) -> bool:
    keep, patches = _keep(resolved)
    return keep is not None and keep == patches


def _shape(resolved: ResolvedRow) -> tuple[object, ...] | None:
    config = resolved.config
    if config.teacher is None:
        return None
    return config.teacher.arch, config.teacher.shape


def _measured_ratio(
    resolved: ResolvedRow, baseline: ResolvedRow, column: Column, outcomes: Outcomes
) -> float | None:
    own = resolved.runs.get(column.id, ())
    timed_in_turn = outcomes.values(own, SPEEDUP, seeded=False)
    if column.metric == "teacher/throughput" and timed_in_turn:
        return next(iter(timed_in_turn.values()))
    seeded = column.evidence == "seeds"
    mine = summarise(list(outcomes.values(own, column.metric, seeded=seeded).values()))
    base_runs = baseline.runs.get(column.id, ())
    base = summarise(list(outcomes.values(base_runs, column.metric, seeded=seeded).values()))
    if mine is None or base is None or base.mean == 0:
        return None
    return mine.mean / base.mean


def _cost(resolved: ResolvedRow, outcomes: Outcomes) -> Cost:
    config = resolved.config
    if config.teacher is None:
        return Cost(row=resolved.row.id, macs_per_image=0.0, training=0.0)
    identities = tuple(identity for runs in resolved.runs.values() for identity in runs)
    found = [
        outcomes.values(identities, metric, seeded=False) for metric in (IMAGE_MACS, TRAINING_MACS)
    ]
    per_image, training = (next(iter(values.values()), None) for values in found)
    return Cost(row=resolved.row.id, macs_per_image=per_image, training=training)


def _claim(claim: spec.Claim, columns: Sequence[Column], rows: Sequence[Row]) -> Claim:
    check = claim.holds
    column = next(column for column in columns if column.id == check.left.column)
    sides = _sides(check.cells, rows)
    if column.evidence == "timing" and check.offset == 0 and check.factor != 1:
        sides = _timed_in_turn(sides, check.cells, rows)
    finding = judge_claim(
        Comparison(
            column=column,
            left=sides[0],
            operator=check.operator,
            right=sides[1] if len(sides) > 1 else None,
            factor=check.factor,
            offset=check.offset,
        )
    )
    return Claim(
        id=claim.id,
        says=claim.text,
        check=check.text,
        operator=check.operator,
        quantity=finding.quantity,
        unit=finding.unit,
        decimals=finding.decimals,
        margin=finding.margin,
        n=finding.n,
        estimate=finding.estimate,
        ci=finding.ci,
        judgement=finding.judgement,
        seeds_needed=finding.seeds_needed,
        source="ours" if claim.added_by_us else "paper",
    )


def _untested(claim: spec.Claim, rows: Sequence[Row]) -> Untested:
    known = {row.id for row in rows}
    lacks = tuple(cell.row for cell in claim.holds.cells if cell.row not in known)
    return Untested(id=claim.id, says=claim.text, lacks=lacks)


def _sides(cells: Sequence[CellRef], rows: Sequence[Row]) -> list[Side]:
    """The cells of a claim with their values, named so that a reader knows which rows are meant."""
    found = [next(row for row in rows if row.id == cell.row) for cell in cells]
    names = [row.name for row in rows]
    ambiguous = any(names.count(row.name) > 1 for row in found)
    shared = len({row.group for row in found}) == 1
    sides = []
    for row, ref in zip(found, cells, strict=True):
        last = row is found[-1]
        group = f" ({row.group})" if ambiguous and row.group and (last or not shared) else ""
        cell = row.cell(ref.column)
        lacks = "" if cell.judgement is None or len(cell.needs) > 1 else cell.judgement.reason
        failed = cell.judgement is not None and cell.judgement.verdict is Verdict.FAILED
        side = Side(label=row.name + group, values=dict(cell.values), lacks=lacks, failed=failed)
        sides.append(side)
    return sides


def _timed_in_turn(sides: list[Side], cells: Sequence[CellRef], rows: Sequence[Row]) -> list[Side]:
    """How many times as fast: rows with the same baseline are compared through their ratios to it,
    each timed in turn with it in one process, so that what else the machine did between two runs
    cancels. The baseline is once as fast as itself: what was measured there is noise, and the claim
    would not say what the cell says.
    """
    found = [next(row for row in rows if row.id == ref.row) for ref in cells]
    ratios = [row.cell(ref.column).ratio for row, ref in zip(found, cells, strict=True)]
    bases = {ratio and (ratio.baseline or row.id) for ratio, row in zip(ratios, found, strict=True)}
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


def collect_finished(table: spec.TableSpec, profile: str, store: Store) -> TableModel:
    """What a report says of the runs that are there, on the device that its profile asks for."""
    expansion = expand_finished(table, profile, store)
    device = resolve_device(expansion.profile.resources.device)
    return collect(expansion, store, device=device)


def expand_finished(table: spec.TableSpec, profile: str, store: Store) -> Expansion:
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
    ours = {run.title.seed for run in wider.runs if run.identity in done}
    return expand(table, profile, seeds=[*usual, *(seed for seed in extra if seed in ours)])
