"""What the plots that a spec declares show: lines of points, from the cells of the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.report.model import Column, Plot, PlotPoint, Row, TableModel
from harness.report.statistics import Interval
from harness.report.wording import with_unit
from harness.spec import table as spec


@dataclass(frozen=True, kw_only=True, slots=True)
class Dot:
    """A row in a panel; without a mean it has not run, and is a gap in its line."""

    row: str
    x: float
    mean: float | None = None
    ci: Interval | None = None  # 95 %, over seeds
    seeds: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A group of rows in a panel, from low to high x."""

    series: str
    index: int  # of the series in its plot: its colour in every panel
    measured: tuple[Dot, ...]
    published: tuple[tuple[float, float], ...] = ()


def placed(plot: spec.Plot, columns: Sequence[Column], rows: Sequence[Row]) -> Plot:
    """A declared plot with the x of each row, as far as it is known."""
    label = plot.x.label
    if plot.x.column:
        column = next(column for column in columns if column.id == plot.x.column)
        label = label or with_unit(column.label, f"({column.unit})" if column.unit else "")
    wanted = [row for row in rows if not plot.groups or row.group in plot.groups]
    ticks = tuple(dict.fromkeys(row.label for row in wanted)) if plot.x.rows else ()
    if ticks:
        plot = replace(plot, at={row.id: float(ticks.index(row.label)) for row in wanted})
    return Plot(
        id=plot.id,
        caption=plot.caption,
        x=label or (plot.x.setting[0] if plot.x.setting else ""),
        y=plot.y,
        log2=plot.x.scale == "log2",
        ticks=ticks,
        points=tuple(_point(plot, row) for row in wanted),
    )


def _point(plot: spec.Plot, row: Row) -> PlotPoint:
    if not plot.x.column:
        x = plot.at.get(row.id)
        return PlotPoint(row=row.id, x=x, published=x)
    cell = row.cell(plot.x.column)
    measured = None if cell.summary is None else cell.summary.mean
    printed = measured if cell.published is None else cell.published.intended.value
    return PlotPoint(row=row.id, x=measured, published=printed)


def lines(model: TableModel, plot: Plot, column: str) -> list[Line]:
    """The lines of one panel: groups with anything to show, in the order of the table."""
    groups = list(dict.fromkeys(model.row(point.row).group for point in plot.points))
    found = []
    for index, group in enumerate(groups):
        points = [point for point in plot.points if model.row(point.row).group == group]
        dots = sorted(_dots(model, plot, points, column), key=lambda dot: dot.x)
        printed = sorted(_printed(model, plot, points, column))
        if printed or any(dot.mean is not None for dot in dots):
            line = Line(series=group, index=index, measured=tuple(dots), published=tuple(printed))
            found.append(line)
    return found


def _dots(model: TableModel, plot: Plot, points: Sequence[PlotPoint], column: str) -> list[Dot]:
    dots = []
    for point in points:
        if point.x is None or (plot.log2 and point.x <= 0):
            continue
        cell = model.row(point.row).cell(column)
        dot = Dot(row=point.row, x=point.x)
        if cell.summary is not None:
            dot = Dot(
                row=point.row,
                x=point.x,
                mean=cell.summary.mean,
                ci=cell.summary.ci,
                seeds=tuple(value for _, value in cell.values),
            )
        dots.append(dot)
    return dots


def _printed(
    model: TableModel, plot: Plot, points: Sequence[PlotPoint], column: str
) -> list[tuple[float, float]]:
    """Printed values, which only the paper's own recipe may be held against."""
    if not model.as_published:
        return []
    found = []
    for point in points:
        published = model.row(point.row).cell(column).published
        x = point.published
        if published is not None and x is not None and (x > 0 or not plot.log2):
            found.append((x, published.intended.value))
    return found
