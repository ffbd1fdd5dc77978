"""Which plots a report has, with their captions; `plots` draws them."""

from __future__ import annotations

from harness.report.document import Figure
from harness.report.lines import lines
from harness.report.model import AttentionMap, Cell, Column, Plot, TableModel

MOST_MAPPED = 8  # rows in the heat map of kept patches
MOST_PICTURED, MOST_LINES, MOST_HEADS = 5, 10, 12  # rows, lines and heads in attention pictures


def figures(model: TableModel) -> list[Figure]:
    """The plots that this model has data for, in the order of the report."""
    own = [_declared(model, plot) for plot in model.plots]
    first = own if any(own) else [_accuracy_cost(model)]  # what the spec asks for says it better
    made = (*first, _curves(model), _kept(model), _attention(model), _deviation(model))
    return [figure for figure in made if figure is not None]


def declared_name(plot: Plot) -> str:
    """What the figure of a declared plot is called, apart from those every report has."""
    return f"plot-{plot.id}"


def main_column(model: TableModel) -> Column | None:
    """The first column that training decides: the accuracy."""
    return next((column for column in model.columns if column.evidence == "seeds"), None)


def measured_costs(model: TableModel) -> dict[str, float]:
    """Multiply-adds of the teacher per image (1e9) by row, where they are known."""
    return {
        cost.row: cost.macs_per_image for cost in model.costs if cost.macs_per_image is not None
    }


def _declared(model: TableModel, plot: Plot) -> Figure | None:
    found = [line for column in plot.y for line in lines(model, plot, column)]
    dots = [dot for line in found for dot in line.measured]
    if not found:
        return None
    labels = [column.label for column in model.columns if column.id in plot.y]
    title = f"{' and '.join(labels)} over {plot.x}"
    parts = [f"{(plot.caption or title).rstrip('.')}."]
    if any(dot.mean is not None for dot in dots):
        parts.append("Filled: mean and 95 % confidence interval; faint: single seeds.")
        if any(dot.mean is None for dot in dots):
            parts.append("Lines are broken where a row has not run.")
    if any(line.published for line in found):
        parts.append("Hollow, dashed: as published.")
    return Figure(name=declared_name(plot), caption=" ".join(parts), alt=title)


def _accuracy_cost(model: TableModel) -> Figure | None:
    column, costs = main_column(model), measured_costs(model)
    if column is None or not any(value > 0 for value in costs.values()):
        return None
    cells = [row.cell(column.id) for row in model.rows if costs.get(row.id)]
    printed = model.as_published and any(cell.published is not None for cell in cells)
    measured = any(cell.summary is not None for cell in cells)
    if not printed and not measured:
        return None
    what = " and ".join(
        part for part, there in (("measured", measured), ("published", printed)) if there
    )
    parts = [
        f"{column.label} of the student against the teacher's multiply-adds per image ({what})."
    ]
    if measured:
        parts.append("Filled: mean and 95 % confidence interval; faint dots: single seeds.")
    if printed:
        parts.append("Hollow: as published.")
    return Figure(
        name="accuracy-cost", caption=" ".join(parts), alt=f"{column.label} against teacher compute"
    )


def _curves(model: TableModel) -> Figure | None:
    if not model.curves:
        return None
    caption = "Training: mean over seeds; the band spans the lowest and highest seed."
    return Figure(name="curves", caption=caption, alt="Training curves")


def _kept(model: TableModel) -> Figure | None:
    if not model.kept:
        return None
    caption = (
        "How often each patch position is shown to the teacher, over training (share of images, "
        "mean over seeds; after Figure 5 "
        "of the paper). Each row has its own keep ratio; white is the ratio itself, so colour "
        "shows preference."
    )
    masked = len({found.row for found in model.kept})
    if masked > MOST_MAPPED:
        caption += f" The first {MOST_MAPPED} of {masked} rows."
    return Figure(name="kept", caption=caption, alt="Kept patches by position over training")


def _attention(model: TableModel) -> Figure | None:
    shown = pictured(model)
    if not shown:
        return None
    caption = (
        "What the class token attends to in the last block, on images that judge; one seed. "
        "Every map has its own scale, from zero (dark) to its highest patch (bright)."
    )
    rows = len({found.row for found in model.attention})
    if rows > len(shown):
        caption += f" The first {len(shown)} of {rows} rows."
    if max(len(found.heads) for found in model.attention) > MOST_HEADS:
        caption += f" The first {MOST_HEADS} heads; the mean is over all."
    return Figure(name="attention", caption=caption, alt="Attention of the class token by head")


def pictured(model: TableModel) -> dict[str, list[AttentionMap]]:
    """The attention maps that are shown, by row: as many images of each as make one page."""
    by_row: dict[str, list[AttentionMap]] = {}
    for found in model.attention:
        by_row.setdefault(found.row, []).append(found)
    rows = list(by_row)[:MOST_PICTURED]
    each = min(4, MOST_LINES // max(1, len(rows)))
    return {row: by_row[row][:each] for row in rows}


def _deviation(model: TableModel) -> Figure | None:
    if not deviations(model):
        return None
    caption = (
        "Measured cost relative to the published one, a dot per row; the band is the tolerance. "
        "Speeds are compared as ratios to "
        "the unmasked teacher."
    )
    return Figure(name="deviation", caption=caption, alt="Relative deviation of cost columns")


def deviations(model: TableModel) -> dict[str, list[tuple[str, float]]]:
    """By cost column: (row, measured / published - 1), for the cells where both are known and
    comparable.
    """
    if not model.as_published:
        return {}
    found: dict[str, list[tuple[str, float]]] = {}
    for column in model.columns:
        if column.evidence == "seeds":
            continue
        for row in model.rows:
            deviation = _deviation_of(row.cell(column.id), column)
            if deviation is not None:
                found.setdefault(column.id, []).append((row.id, deviation))
    return found


def _deviation_of(cell: Cell, column: Column) -> float | None:
    if column.ratio:
        ratio = cell.ratio
        if ratio is None or not ratio.baseline or ratio.measured is None or not ratio.published:
            return None
        return ratio.measured / ratio.published - 1
    if cell.summary is None or cell.published is None or cell.published.value == 0:
        return None
    return cell.summary.mean / cell.published.value - 1
