"""Accuracy of the student against a cost that tasks record: a panel for each group of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from harness.report.drawing import INK, SOFT, WIDTH, Label, place_labels, shades, shortened
from harness.report.figures import FIGURES, RecordedFigure
from harness.report.format import with_unit
from harness.report.model import RowResult, TableModel
from harness.report.plot_data import lines, main_column, metric_by_row
from harness.spec.table import Column

PANEL_HEIGHT = 2.2  # inches


@FIGURES.register("accuracy-cost")
class AccuracyCost(RecordedFigure):
    """Mean and interval of every row with a cost; the row without one is a dashed line."""

    place: ClassVar[int] = 20

    def select(self) -> dict[str, list[RowResult]] | None:
        """Rows with a cost by the group that they share a panel with, of groups with any point;
        None where a plot of the spec says it better.
        """
        model, column, costs = self.model, main_column(self.model), self._costs()
        if column is None or self._is_said_better():
            return None
        groups: dict[str, list[RowResult]] = {}
        for row in model.rows:
            if costs.get(row.id):
                groups.setdefault(row.group, []).append(row)
        return {
            group: rows
            for group, rows in groups.items()
            if any(_points(row, column, model) for row in rows)
        }

    def caption(self) -> str:
        """As declared, and what the marks mean."""
        column = self._column()
        rows = [row for rows in (self.select() or {}).values() for row in rows]
        cells = [row.cell(column.id) for row in rows]
        printed = self.model.as_published and any(cell.published is not None for cell in cells)
        measured = any(cell.summary is not None for cell in cells)
        marks = (("measured", measured), ("published", printed))
        what = " and ".join(part for part, there in marks if there)
        parts = [self.declared.caption.format(column=column.label, what=what)]
        if measured:
            parts.append("Filled: mean and 95 % confidence interval; faint dots: single seeds.")
        if printed:
            parts.append("Hollow: as published.")
        return " ".join(parts)

    def alt(self) -> str:
        """As declared."""
        return self.declared.alt.format(column=self._column().label)

    def draw(self) -> Drawing:
        """A panel for each group."""
        column, costs, panels = self._column(), self._costs(), self.select() or {}
        across = min(3, len(panels))
        down = math.ceil(len(panels) / across)
        height = 3.0 if len(panels) == 1 else PANEL_HEIGHT * down + 0.3
        figure = Drawing(figsize=(WIDTH, height), layout="constrained")
        scale, unit = _scale([costs[row.id] for rows in panels.values() for row in rows])
        axes = figure.subplots(down, across, squeeze=False).flatten()
        labels = {}
        for panel, (title, rows) in zip(axes, panels.items(), strict=False):
            scaled = {row.id: costs[row.id] * scale for row in rows}
            labels[panel] = self._panel(panel, title, rows, scaled, small=len(panels) > 1)
        for panel in axes[len(panels) :]:
            panel.remove()
        figure.supxlabel(self.declared.label.format(unit=unit), fontsize=8.5, color=INK)
        figure.supylabel(with_unit(column.label, f"({column.unit})"), fontsize=8.5, color=INK)
        place_labels(figure, labels)
        return figure

    def _column(self) -> Column:
        column = main_column(self.model)
        assert column is not None, "selected"
        return column

    def _costs(self) -> dict[str, float]:
        return metric_by_row(self.model, self.declared)

    def _is_said_better(self) -> bool:
        model = self.model
        return any(lines(model, plot, column) for plot in model.plots for column in plot.y)

    def _panel(
        self,
        axes: Axes,
        title: str,
        rows: Sequence[RowResult],
        costs: dict[str, float],
        *,
        small: bool,
    ) -> list[Label]:
        model, column = self.model, self._column()
        axes.set_title(shortened(title, 30) if small else title, fontsize=8 if small else 9)
        by_row, labels = shades(model), []
        for row in rows:
            shade = by_row[row.id]
            _draw_row(axes, row, costs[row.id], model, column, shade)
            for value in _points(row, column, model)[:1]:
                text = self._short(row) if small else row.label
                labels.append(Label(x=costs[row.id], y=value, text=text, colour=shade))
        axes.set_xlim(0, 1.1 * max(costs.values()))
        self._without_cost(axes, rows[0], small=small)
        axes.margins(y=0.15)
        return labels

    def _short(self, row: RowResult) -> str:
        """In a small panel: the name where all is seen, the part of it where less is."""
        extent = self.extent(row)
        if extent is None or extent[0] == extent[1]:
            return row.base
        return f"{100 * extent[0] / extent[1]:.0f} %"

    def _without_cost(self, axes: Axes, row: RowResult, *, small: bool) -> None:
        """The same student by itself: a dashed line with its interval, dotted if only published."""
        model, column, student = self.model, self._column(), _student(row)
        alone = [
            other
            for other in model.rows
            if student is not None and _student(other) == student and self.extent(other) is None
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
                axes.axhspan(
                    summary.ci.low, summary.ci.high, color=SOFT, alpha=0.12, lw=0, zorder=0
                )


def _student(row: RowResult) -> tuple[object, ...] | None:
    if row.config is None:
        return None
    return row.config.student.arch, row.config.student.shape


def _points(row: RowResult, column: Column, model: TableModel) -> list[float]:
    """Measured and published means that the row shows."""
    cell = row.cell(column.id)
    values = [] if cell.summary is None else [cell.summary.mean]
    if model.as_published and cell.published is not None:
        values.append(cell.published.value)
    return values


def _scale(costs: Sequence[float]) -> tuple[float, str]:
    return (1e3, "million multiply-adds") if max(costs) < 0.1 else (1.0, "billion multiply-adds")


def _draw_row(
    axes: Axes, row: RowResult, x: float, model: TableModel, column: Column, shade: str
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
