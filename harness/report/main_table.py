"""The table of the paper with measured values beside the printed ones."""

from __future__ import annotations

from harness.report.document import GroupRow, TableCell, TableColumn, TextTable
from harness.report.format import baseline_name, decimals_shown, marked, ratio_text
from harness.report.model import Cell, RowResult, TableModel, Verdict
from harness.report.summary import TONES
from harness.spec.table import Column
from harness.text import enough_decimals, number

EMPTY = TableCell(text="–", tone="muted")
DOUBT = "†"
MISPRINT = "‡"
COLLAPSE = "§"


def main_table(model: TableModel) -> TextTable:
    """Rows under their group headings; per column: printed, measured, verdict, as far as there is
    any.
    """
    parts = {column.id: _parts(model, column) for column in model.columns}
    rows: list[GroupRow | tuple[TableCell, ...]] = []
    for group, members in model.groups():
        if group:
            rows.append(GroupRow(text=group))
        rows.extend(_row(row, model, parts) for row in members)
    columns = [_first_column(model)]
    for column in model.columns:
        columns.extend(_columns(column, parts[column.id]))
    return TextTable(
        name="results", caption=_caption(model, parts), columns=tuple(columns), rows=tuple(rows)
    )


def printed_table(model: TableModel) -> TextTable | None:
    """The paper's numbers by themselves, for profiles that they must not be held against."""
    if model.as_published:
        return None
    parts: dict[str, tuple[str, ...]] = {
        column.id: ("printed",)
        for column in model.columns
        if any(row.cell(column.id).published is not None for row in model.rows)
    }
    if not parts:
        return None
    columns = [_first_column(model)]
    for column in model.columns:
        columns.extend(_columns(column, parts.get(column.id, ())))
    rows: list[GroupRow | tuple[TableCell, ...]] = []
    for group, members in model.groups():
        shown = [row for row in members if any(cell.published is not None for cell in row.cells)]
        rows += [GroupRow(text=group)] if group and shown else []
        rows += [_row(row, model, parts) for row in shown]
    where = f" on {model.paper_data}" if model.paper_data else ""
    caption = f"What the paper prints{where}: another recipe, nothing to hold the results against."
    return TextTable(
        name="printed",
        caption=" ".join([caption, *_marks_of_print(model)]),
        columns=tuple(columns),
        rows=tuple(rows),
    )


def _first_column(model: TableModel) -> TableColumn:
    longest = max((len(row.label) for row in model.rows), default=10)
    return TableColumn(title="", weight=max(1.8, min(4.0, longest / 9)))


def _parts(model: TableModel, column: Column) -> tuple[str, ...]:
    """Which of printed, measured and verdict the column shows: printed ones only where measured
    ones may be held against them, a verdict that is the same everywhere is said once.
    """
    cells = [row.cell(column.id) for row in model.rows]
    printed = model.as_published and any(cell.published is not None for cell in cells)
    verdicts = {cell.judgement.verdict for cell in cells if cell.judgement is not None}
    telling = printed and bool(verdicts - {Verdict.NOT_COMPARABLE})
    if not model.as_published:
        telling = Verdict.FAILED in verdicts
    return (*(["printed"] if printed else []), "measured", *(["verdict"] if telling else []))


def _columns(column: Column, parts: tuple[str, ...]) -> list[TableColumn]:
    told = column.unit in column.label  # `Teacher PFLOPs` says its unit
    span = column.label if told else f"{column.label} ({column.unit})"
    weight = 1.5 if column.is_ratio else 1.0
    spread = 0.8 if column.evidence == "seeds" else 0.1
    made = {
        "printed": TableColumn(title="published", span=span, align="right", weight=weight),
        "measured": TableColumn(
            title="measured",
            span=span,
            align="right",
            weight=weight + spread,
            better=column.better,
        ),
        "verdict": TableColumn(title="verdict", span=span, weight=1.6),
    }
    return [made[part] for part in parts]


def _row(
    row: RowResult, model: TableModel, parts: dict[str, tuple[str, ...]]
) -> tuple[TableCell, ...]:
    cells = [TableCell(text=row.label)]
    for column in model.columns:
        cell = row.cell(column.id)
        made = {
            "printed": _printed(cell),
            "measured": _measured(row, column, model),
            "verdict": _verdict(cell),
        }
        cells.extend(made[part] for part in parts.get(column.id, ()))
    return tuple(cells)


def _printed(cell: Cell) -> TableCell:
    if cell.published is None:
        return EMPTY
    value = number(cell.published.value, cell.published.decimals)
    ratio = cell.ratio.published if cell.ratio is not None and cell.ratio.baseline else None
    doubt = "" if cell.published.confidence == "exact" else DOUBT
    doubt += "" if cell.published.corrected is None else MISPRINT
    return TableCell(
        text=f"{value}{doubt}" + (f" ({ratio_text(ratio)})" if ratio is not None else "")
    )


def _measured(row: RowResult, column: Column, model: TableModel) -> TableCell:
    cell = row.cell(column.id)
    summary = cell.summary
    if summary is None:
        return EMPTY
    decimals = _decimals(summary.mean, column, model)
    text = number(summary.mean, decimals)
    if summary.ci is not None:
        text += f" ± {number(summary.ci.half_width, decimals)}"
    if cell.ratio is not None and cell.ratio.measured is not None and cell.ratio.baseline:
        text += f" ({ratio_text(cell.ratio.measured)})"
    seeded = column.evidence == "seeds" and not cell.seedless
    if seeded and summary.n != _most_seeds(model):
        text += f"\N{NO-BREAK SPACE}(n={summary.n})"
    if row.has_collapsed(column):
        text += COLLAPSE
    return TableCell(text=text)


def _most_seeds(model: TableModel) -> int:
    """How many seeds a full cell has so far."""
    found = (cell.summary.n for cell in model.trained_cells if cell.summary is not None)
    return max(found, default=0)


def _decimals(value: float, column: Column, model: TableModel) -> int:
    """As in the paper; a scaled-down profile needs more where its numbers are much smaller."""
    decimals = decimals_shown(column)
    return decimals if model.as_published else enough_decimals(value, decimals)


def _verdict(cell: Cell) -> TableCell:
    if cell.judgement is None:
        return EMPTY
    verdict = cell.judgement.verdict
    return TableCell(text=marked(verdict), tone=TONES[verdict])


def _caption(model: TableModel, parts: dict[str, tuple[str, ...]]) -> str:
    where = f" on {model.data}" if model.data and not model.as_published else ""
    sentences = [
        "Published and measured values."
        if any("printed" in p for p in parts.values())
        else f"Measured values{where}."
    ]
    cells = [cell for row in model.rows for cell in row.cells]
    if any(cell.summary is not None and cell.summary.ci is not None for cell in cells):
        n = _most_seeds(model)
        sentences.append(
            f"Mean over {n} seeds ± half the width of its 95 % confidence interval, unless n is "
            "given."
        )
    for name in dict.fromkeys(map(baseline_name, _with_ratios(model))):
        sentences.append(f"In parentheses: ratio to the {name} of the group.")
    if model.as_published:
        sentences += _marks_of_print(model)
    if any(row.has_collapsed(column) for row in model.rows for column in model.columns):
        sentences.append(f"{COLLAPSE} a network of this cell has collapsed, see the top.")
    return " ".join(sentences)


def _with_ratios(model: TableModel) -> list[Column]:
    return [
        column
        for column in model.columns
        if any(row.cell(column.id).ratio is not None for row in model.rows)
    ]


def _marks_of_print(model: TableModel) -> list[str]:
    """What the marks at printed numbers mean."""
    numbers = [cell.published for row in model.rows for cell in row.cells if cell.published]
    sentences = []
    if any(published.confidence != "exact" for published in numbers):
        sentences.append(f"{DOUBT} the reading of the printed number is in doubt, see the notes.")
    if any(published.corrected is not None for published in numbers):
        sentences.append(f"{MISPRINT} a misprint, see the notes.")
    return sentences
