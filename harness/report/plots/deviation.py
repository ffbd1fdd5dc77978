"""Cost columns against the paper: one dot a row, the tolerance as a band."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.figures import deviations
from harness.report.model import Column, TableModel, Verdict
from harness.report.plots.style import INK, SOFT, WIDTH, Label, place_labels

FARTHEST_LABELLED = 3


def deviation(model: TableModel) -> Figure:
    """A strip for each column; only rows outside the tolerance are named."""
    found = deviations(model)
    columns = [column for column in model.columns if column.id in found]
    figure = Figure(figsize=(WIDTH, 1.5 * len(columns) + 0.2), layout="constrained")
    strips = figure.subplots(len(columns), 1, squeeze=False)[:, 0]
    labels = {
        axes: _strip(axes, column, found[column.id], model)
        for axes, column in zip(strips, columns, strict=True)
    }
    place_labels(figure, labels)
    return figure


def _strip(
    axes: Axes, column: Column, found: list[tuple[str, float]], model: TableModel
) -> list[Label]:
    """In grey: the colours of this report stand for rows."""
    shade = SOFT
    band = _tolerance(column)
    if band is not None:
        axes.axvspan(-100 * band, 100 * band, color=shade, alpha=0.12, lw=0)
    axes.axvline(0, color=INK, lw=0.8)
    ordered = sorted(found, key=lambda pair: pair[1])
    heights = {row: _height(index) for index, (row, _) in enumerate(ordered)}
    axes.plot(
        [100 * value for _, value in ordered],
        [heights[row] for row, _ in ordered],
        "o",
        color=shade,
        alpha=0.75,
        mec="white",
        mew=0.5,
        ms=6,
        zorder=4,
    )
    axes.set_yticks([])
    axes.set_ylim(-1, 1)
    axes.spines["left"].set_visible(False)
    reach = max([abs(value) for _, value in found] + [(band or 0) * 1.3, 1e-4])
    axes.set_xlim(-112 * reach, 112 * reach)
    axes.set_title(f"{column.label}{' (ratio)' if column.ratio else ''}: {len(found)} rows")
    axes.set_xlabel("measured relative to published (%)")
    outside = [pair for pair in ordered if _is_outside(model, pair[0], column)]
    outside.sort(key=lambda pair: -abs(pair[1]))
    return [
        Label(x=100 * value, y=heights[row], text=model.full_name(row))
        for row, value in outside[:FARTHEST_LABELLED]
    ]


def _is_outside(model: TableModel, row: str, column: Column) -> bool:
    judgement = model.row(row).cell(column.id).judgement
    return judgement is not None and judgement.verdict in (Verdict.ABOVE, Verdict.BELOW)


def _height(index: int) -> float:
    """Neighbours on different levels, so that equal values stay apart."""
    return (-0.6, 0.2, -0.2, 0.6, 0.0)[index % 5]


def _tolerance(column: Column) -> float | None:
    """As a share; None for an absolute tolerance, which is another share in every row."""
    if column.tolerance is None or not column.tolerance.relative:
        return None
    return column.tolerance.value
