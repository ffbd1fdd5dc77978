"""Accuracy of the student against what its teacher computes: a panel for each pair."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.figures import main_column, measured_costs
from harness.report.model import Column, Row, TableModel
from harness.report.plots.shades import shades
from harness.report.plots.style import (
    INK,
    SOFT,
    WIDTH,
    Label,
    place_labels,
    shortened,
)
from harness.report.wording import with_unit

PANEL_HEIGHT = 2.2  # inches


def accuracy_cost(model: TableModel) -> Figure:
    """Mean and interval of every row with a known teacher cost; the undistilled student is a dashed
    line.
    """
    column = main_column(model)
    assert column is not None
    costs = measured_costs(model)
    panels = [
        (title, rows) for title, rows in _panels(model, costs) if _has_points(rows, column, model)
    ]
    across = min(3, len(panels))
    down = math.ceil(len(panels) / across)
    height = 3.0 if len(panels) == 1 else PANEL_HEIGHT * down + 0.3
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    scale, unit = _scale([costs[row.id] for _, rows in panels for row in rows])
    axes = figure.subplots(down, across, squeeze=False).flatten()
    labels = {}
    for panel, (title, rows) in zip(axes, panels, strict=False):
        scaled = {row.id: costs[row.id] * scale for row in rows}
        labels[panel] = _panel(panel, title, rows, model, column, scaled, small=len(panels) > 1)
    for panel in axes[len(panels) :]:
        panel.remove()
    figure.supxlabel(f"Teacher, {unit} per image", fontsize=8.5, color=INK)
    figure.supylabel(with_unit(column.label, f"({column.unit})"), fontsize=8.5, color=INK)
    place_labels(figure, labels)
    return figure


def _panels(model: TableModel, costs: dict[str, float]) -> list[tuple[str, list[Row]]]:
    distilled = [row for row in model.rows if costs.get(row.id)]
    groups: dict[str, list[Row]] = {}
    for row in distilled:
        groups.setdefault(row.group, []).append(row)
    return list(groups.items())


def _has_points(rows: Sequence[Row], column: Column, model: TableModel) -> bool:
    return any(_points(row, column, model) for row in rows)


def _points(row: Row, column: Column, model: TableModel) -> list[float]:
    """Measured and published means that the row shows."""
    cell = row.cell(column.id)
    values = [] if cell.summary is None else [cell.summary.mean]
    if model.as_published and cell.published is not None:
        values.append(cell.published.value)
    return values


def _scale(costs: Sequence[float]) -> tuple[float, str]:
    return (1e3, "million multiply-adds") if max(costs) < 0.1 else (1.0, "billion multiply-adds")


def _panel(
    axes: Axes,
    title: str,
    rows: Sequence[Row],
    model: TableModel,
    column: Column,
    costs: dict[str, float],
    *,
    small: bool,
) -> list[Label]:
    axes.set_title(shortened(title, 30) if small else title, fontsize=8 if small else 9)
    by_row, labels = shades(model), []
    for row in rows:
        shade = by_row[row.id]
        _draw_row(axes, row, costs[row.id], model, column, shade)
        for value in _points(row, column, model)[:1]:
            text = _short(row) if small else row.label
            labels.append(Label(x=costs[row.id], y=value, text=text, colour=shade))
    axes.set_xlim(0, 1.1 * max(costs.values()))
    _baseline(axes, rows[0], model, column, small=small)
    axes.margins(y=0.15)
    return labels


def _short(row: Row) -> str:
    """In a small panel: the method at all patches, the share of patches at fewer."""
    if row.keep is None or row.patches is None or row.keep == row.patches:
        return row.base
    return f"{100 * row.keep / row.patches:.0f} %"


def _draw_row(
    axes: Axes, row: Row, x: float, model: TableModel, column: Column, shade: str
) -> None:
    cell = row.cell(column.id)
    if model.as_published and cell.published is not None:
        axes.plot(x, cell.published.value, "o", mfc="white", mec=shade, ms=5, zorder=4)
    if cell.summary is None:
        return
    values = [value for _, value in cell.values]
    axes.plot([x] * len(values), values, "o", color=shade, alpha=0.45, ms=3.5, mew=0, zorder=4)
    error = None if cell.summary.ci is None else cell.summary.ci.half_width
    axes.errorbar(
        x, cell.summary.mean, yerr=error, fmt="o", color=shade, ms=5, capsize=3, lw=1.2, zorder=5
    )


def _baseline(axes: Axes, row: Row, model: TableModel, column: Column, *, small: bool) -> None:
    """The same student without a teacher: a dashed line with its interval, dotted if only
    published.
    """
    alone = [
        other
        for other in model.rows
        if row.student and other.student == row.student and other.patches is None
    ]
    for other in alone[:1]:
        summary = other.cell(column.id).summary
        for value in _points(other, column, model)[:1]:
            axes.axhline(value, color=SOFT, ls=":" if summary is None else "--", lw=1, zorder=1)
            text = axes.annotate(
                other.label,
                (0.02, value),
                xycoords=axes.get_yaxis_transform(),
                xytext=(0, 2),
                textcoords="offset points",
                fontsize=6.5 if small else 7.5,
                color="#5f5f5f",
            )
            text.set_in_layout(False)
        if summary is not None and summary.ci is not None:
            axes.axhspan(summary.ci.low, summary.ci.high, color=SOFT, alpha=0.12, lw=0, zorder=0)
