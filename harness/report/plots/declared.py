"""The plots that a spec declares: columns over a number of each row, a line for each group, or over
labels of rows.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from harness.report.lines import Line, lines
from harness.report.model import Plot, TableModel
from harness.report.plots.shades import group_shade, shades
from harness.report.plots.style import WIDTH
from harness.report.wording import with_unit

MARKERS = "osD^vP*X"
APART = 0.012  # of the width of a panel: neighbouring series that share their x
APART_AT_LABELS = 0.16  # where a label takes a place of 1


def declared(model: TableModel, plot: Plot) -> Figure:
    """A panel for each column that has anything to show, all over the same x axis."""
    panels = [(column, found) for column in plot.y if (found := lines(model, plot, column))]
    names = {line.index: line.series for _, found in panels for line in found}
    figure = Figure(figsize=(WIDTH, 3.0 + 0.2 * (len(names) > 1)), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharex=True)[0]
    for panel, (column, found) in zip(axes, panels, strict=True):
        shown = next(known for known in model.columns if known.id == column)
        panel.set_title(with_unit(shown.label, f"({shown.unit})" if shown.unit else ""))
        panel.set_xlabel(plot.x)
        for line in _apart(found, plot):
            _draw(panel, line, model, joined=not plot.ticks)
        panel.margins(0.06, 0.1)
    if plot.ticks:
        wide = max(8, 80 // (len(plot.ticks) * len(panels)))
        axes[0].xaxis.set_major_locator(FixedLocator(range(len(plot.ticks))))
        axes[0].xaxis.set_major_formatter(
            FixedFormatter([textwrap.fill(text, wide) for text in plot.ticks])
        )
    elif plot.log2:
        _doublings(axes[0], _places(panels))
    else:
        whole = all(x.is_integer() for x in _places(panels))
        axes[0].xaxis.set_major_locator(MaxNLocator(5, integer=whole))
    if len(names) > 1:
        _legend(figure, names, model)
    return figure


def _apart(found: Sequence[Line], plot: Plot) -> list[Line]:
    """The lines with those that share their x moved aside a little, so that every bar is seen."""
    places = [{dot.x for dot in line.measured if dot.mean is not None} for line in found]
    every = set().union(*places)
    if sum(map(len, places)) == len(every):
        return list(found)
    low, high = min(every), max(every)
    width = (math.log2(high / low) if plot.log2 else high - low) or 1.0
    step = APART_AT_LABELS if plot.ticks else APART * width
    moved = []
    for order, line in enumerate(found):
        shift = (order - (len(found) - 1) / 2) * step
        dots = [
            replace(dot, x=dot.x * 2**shift if plot.log2 else dot.x + shift)
            for dot in line.measured
        ]
        moved.append(replace(line, measured=tuple(dots)))
    return moved


def _draw(axes: Axes, line: Line, model: TableModel, *, joined: bool) -> None:
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


def _places(panels: Sequence[tuple[str, Sequence[Line]]]) -> list[float]:
    """Every x of every panel."""
    found = {dot.x for _, those in panels for line in those for dot in line.measured}
    return sorted(found | {x for _, those in panels for line in those for x, _ in line.published})


def _doublings(axes: Axes, places: Sequence[float]) -> None:
    """A logarithmic axis with the values themselves as its ticks."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _legend(figure: Figure, names: dict[int, str], model: TableModel) -> None:
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
