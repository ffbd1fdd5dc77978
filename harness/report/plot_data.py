"""What figures show: lines of points, from the cells of the table, and rows with a colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.evidence import FigureOf
from harness.report.format import with_unit
from harness.report.model import RowResult, TableModel
from harness.report.statistics import Interval
from harness.spec.table import Column, Plot


@dataclass(frozen=True, kw_only=True, slots=True)
class Dot:
    """A row in a panel; without a mean it has not run, and is a gap in its line."""

    row: str
    x: float
    mean: float | None = None
    ci: Interval | None = None  # 95 %, over seeds
    seeds: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PlotLine:
    """A group of rows in a panel, from low to high x."""

    series: str
    index: int  # of the series in its plot: its colour in every panel
    measured: tuple[Dot, ...]
    published: tuple[tuple[float, float], ...] = ()


def x_label(model: TableModel, plot: Plot) -> str:
    """What the x axis of a declared plot shows."""
    label = plot.x.label
    if plot.x.column and not label:
        column = next(column for column in model.columns if column.id == plot.x.column)
        label = with_unit(column.label, f"({column.unit})" if column.unit else "")
    return label or (plot.x.setting[0] if plot.x.setting else "")


def ticks(model: TableModel, plot: Plot) -> tuple[str, ...]:
    """Labels of rows at x 0, 1, 2 ..., where x is no number."""
    if not plot.x.rows:
        return ()
    return tuple(dict.fromkeys(row.label for row in _rows_of(model, plot)))


def _rows_of(model: TableModel, plot: Plot) -> list[RowResult]:
    return [row for row in model.rows if not plot.groups or row.group in plot.groups]


def _x(model: TableModel, plot: Plot, row: RowResult) -> tuple[float | None, float | None]:
    """Where a row stands as measured, and as printed; None where that is not known."""
    if plot.x.rows:
        place = float(ticks(model, plot).index(row.label))
        return place, place
    if not plot.x.column:
        return plot.at.get(row.id), plot.at.get(row.id)
    cell = row.cell(plot.x.column)
    measured = None if cell.summary is None else cell.summary.mean
    return measured, measured if cell.published is None else cell.published.intended.value


def lines(model: TableModel, plot: Plot, column: str) -> list[PlotLine]:
    """The lines of one panel: groups with anything to show, in the order of the table."""
    rows = _rows_of(model, plot)
    drawn = []
    for index, group in enumerate(dict.fromkeys(row.group for row in rows)):
        of_group = [row for row in rows if row.group == group]
        dots = sorted(_dots(model, plot, of_group, column), key=lambda dot: dot.x)
        printed = sorted(_printed(model, plot, of_group, column))
        if printed or any(dot.mean is not None for dot in dots):
            line = PlotLine(
                series=group, index=index, measured=tuple(dots), published=tuple(printed)
            )
            drawn.append(line)
    return drawn


def _dots(model: TableModel, plot: Plot, rows: Sequence[RowResult], column: str) -> list[Dot]:
    dots = []
    for row in rows:
        x, _ = _x(model, plot, row)
        if x is None or (plot.x.scale == "log2" and x <= 0):
            continue
        cell = row.cell(column)
        dot = Dot(row=row.id, x=x)
        if cell.summary is not None:
            dot = Dot(
                row=row.id,
                x=x,
                mean=cell.summary.mean,
                ci=cell.summary.ci,
                seeds=tuple(value for _, value in cell.values),
            )
        dots.append(dot)
    return dots


def _printed(
    model: TableModel, plot: Plot, rows: Sequence[RowResult], column: str
) -> list[tuple[float, float]]:
    """Printed values, which only the paper's own recipe may be held against."""
    if not model.as_published:
        return []
    points = []
    for row in rows:
        published = row.cell(column).published
        _, x = _x(model, plot, row)
        if published is not None and x is not None and (x > 0 or plot.x.scale != "log2"):
            points.append((x, published.intended.value))
    return points


def main_column(model: TableModel) -> Column | None:
    """The first column that training decides: the accuracy."""
    return next((column for column in model.columns if column.evidence == "seeds"), None)


def metric_by_row(model: TableModel, figure: FigureOf) -> dict[str, float]:
    """The metric of a figure by row, where it is known; not of rows that have none of what it is of
    (a cost of a teacher, where the teacher is the student's own average).
    """
    extent = figure.extent
    without = {
        row.id
        for row in model.rows
        if extent is not None and row.config is not None and extent(row.config) is None
    }
    return {
        run.row: run.metrics[figure.source]
        for run in model.runs
        if figure.source in run.metrics and run.row not in without
    }


def drawn_rows(model: TableModel) -> list[str]:
    """The rows with a mark or a line of their own in some figure, in the order of the table."""
    marked = {curve.row for curve in model.curves}
    for figure in model.figures:
        marked |= {row for row, value in metric_by_row(model, figure).items() if value}
    return [row.id for row in model.rows if row.id in marked]


def told_by_group(model: TableModel) -> bool:
    """Whether a declared plot has a line for each of several groups."""
    return any(
        len({line.series for line in lines(model, plot, column)}) > 1
        for plot in model.plots
        for column in plot.y
    )
