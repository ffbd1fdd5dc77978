"""The plots that a spec declares: columns over a number of each row, a line for each group, or over
labels of rows.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Self

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from harness.report.drawing import WIDTH, group_shade, shades
from harness.report.figures import FIGURES, Figure
from harness.report.format import with_unit
from harness.report.model import TableModel
from harness.report.plot_data import PlotLine, lines, ticks, x_label
from harness.spec.table import Plot

MARKERS = "osD^vP*X"
APART = 0.012  # of the width of a panel: neighbouring series that share their x
APART_AT_LABELS = 0.16  # where a label takes a place of 1


@FIGURES.register("declared")
class DeclaredPlot(Figure):
    """One plot of the spec: a panel for each column that has anything to show, over the same x."""

    place: ClassVar[int] = 10

    def __init__(self, model: TableModel, plot: Plot) -> None:
        super().__init__(model, f"plot-{plot.id}")  # apart from those that every report has
        self.plot = plot

    @classmethod
    def all_of(cls, model: TableModel, name: str) -> list[Self]:
        """One for each plot of the profile."""
        return [cls(model, plot) for plot in model.plots]

    def select(self) -> list[tuple[str, list[PlotLine]]]:
        """Columns with their lines."""
        panels = [(column, lines(self.model, self.plot, column)) for column in self.plot.y]
        return [(column, drawn) for column, drawn in panels if drawn]

    def alt(self) -> str:
        """Columns and x axis."""
        labels = [column.label for column in self.model.columns if column.id in self.plot.y]
        return f"{' and '.join(labels)} over {x_label(self.model, self.plot)}"

    def caption(self) -> str:
        """As in the spec, and what the marks mean."""
        drawn = [line for _, those in self.select() for line in those]
        dots = [dot for line in drawn for dot in line.measured]
        parts = [f"{(self.plot.caption or self.alt()).rstrip('.')}."]
        if any(dot.mean is not None for dot in dots):
            parts.append("Filled: mean and 95 % confidence interval; faint: single seeds.")
            if any(dot.mean is None for dot in dots):
                parts.append("Lines are broken where a row has not run.")
        if any(line.published for line in drawn):
            parts.append("Hollow, dashed: as published.")
        return " ".join(parts)

    def draw(self) -> Drawing:
        """The panels side by side, with one legend."""
        model, plot, panels = self.model, self.plot, self.select()
        labels = ticks(model, plot)
        names = {line.index: line.series for _, drawn in panels for line in drawn}
        figure = Drawing(figsize=(WIDTH, 3.0 + 0.2 * (len(names) > 1)), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False, sharex=True)[0]
        for panel, (column, drawn) in zip(axes, panels, strict=True):
            shown = next(one for one in model.columns if one.id == column)
            panel.set_title(with_unit(shown.label, f"({shown.unit})" if shown.unit else ""))
            panel.set_xlabel(x_label(model, plot))
            for line in _apart(drawn, plot):
                _draw(panel, line, model, joined=not labels)
            panel.margins(0.06, 0.1)
        if labels:
            wide = max(8, 80 // (len(labels) * len(panels)))
            axes[0].xaxis.set_major_locator(FixedLocator(range(len(labels))))
            axes[0].xaxis.set_major_formatter(
                FixedFormatter([textwrap.fill(text, wide) for text in labels])
            )
        elif plot.x.scale == "log2":
            _doublings(axes[0], _places(panels))
        else:
            whole = all(x.is_integer() for x in _places(panels))
            axes[0].xaxis.set_major_locator(MaxNLocator(5, integer=whole))
        if len(names) > 1:
            _legend(figure, names, model)
        return figure


def _apart(drawn: Sequence[PlotLine], plot: Plot) -> list[PlotLine]:
    """The lines with those that share their x moved aside a little, so that every bar is seen."""
    places = [{dot.x for dot in line.measured if dot.mean is not None} for line in drawn]
    every = set().union(*places)
    if sum(map(len, places)) == len(every):
        return list(drawn)
    low, high = min(every), max(every)
    log2 = plot.x.scale == "log2"
    width = (math.log2(high / low) if log2 else high - low) or 1.0
    step = APART_AT_LABELS if plot.x.rows else APART * width
    moved = []
    for order, line in enumerate(drawn):
        shift = (order - (len(drawn) - 1) / 2) * step
        dots = [
            replace(dot, x=dot.x * 2**shift if log2 else dot.x + shift) for dot in line.measured
        ]
        moved.append(replace(line, measured=tuple(dots)))
    return moved


def _draw(axes: Axes, line: PlotLine, model: TableModel, *, joined: bool) -> None:
    """Mean and interval, seeds, a line that is broken where a row has not run; printed: dashed.

    Without lines where x are labels, between which there is nothing.
    """
    by_row, shade = shades(model), group_shade(model, line.series)
    marker = MARKERS[line.index % len(MARKERS)]
    if line.published:
        x, y = zip(*line.published, strict=True)
        ls = "--" if joined else ""
        axes.plot(x, y, marker, ls=ls, color=shade, mfc="white", mec=shade, ms=4, lw=1, zorder=2)
    means = [math.nan if dot.mean is None else dot.mean for dot in line.measured]
    if joined:
        axes.plot([dot.x for dot in line.measured], means, color=shade, lw=1.3, zorder=3)
    for dot in line.measured:
        if dot.mean is None:
            continue
        shade, places = by_row[dot.row], [dot.x] * len(dot.seeds)
        axes.plot(places, dot.seeds, marker, color=shade, alpha=0.45, ms=3.5, mew=0, zorder=4)
        error = None if dot.ci is None else dot.ci.half_width
        axes.errorbar(
            dot.x,
            dot.mean,
            yerr=error,
            fmt=marker,
            color=shade,
            ms=4.5,
            capsize=2.5,
            lw=1.1,
            zorder=5,
        )


def _places(panels: Sequence[tuple[str, Sequence[PlotLine]]]) -> list[float]:
    """Every x of every panel."""
    measured = {dot.x for _, those in panels for line in those for dot in line.measured}
    return sorted(
        measured | {x for _, those in panels for line in those for x, _ in line.published}
    )


def _doublings(axes: Axes, places: Sequence[float]) -> None:
    """A logarithmic axis with the values themselves as its ticks."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _legend(figure: Drawing, names: dict[int, str], model: TableModel) -> None:
    handles = [
        Line2D(
            [],
            [],
            color=group_shade(model, names[index]),
            marker=MARKERS[index % len(MARKERS)],
            ms=4.5,
            lw=1.3,
        )
        for index in sorted(names)
    ]
    figure.legend(
        handles,
        [names[index] for index in sorted(names)],
        loc="outside lower center",
        ncols=min(len(names), 3),
        frameon=False,
        fontsize=8,
    )
