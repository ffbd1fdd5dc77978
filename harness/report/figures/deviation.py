"""Cost columns against the paper: one dot a row, the tolerance as a band."""

from __future__ import annotations

from typing import ClassVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from harness.report.drawing import INK, SOFT, WIDTH, Label, place_labels
from harness.report.figures import FIGURES, Figure
from harness.report.format import judged_by_ratio
from harness.report.model import Cell, TableModel, Verdict
from harness.spec.table import Column

FARTHEST_LABELLED = 3


@FIGURES.register("deviation")
class Deviation(Figure):
    """A strip for each column; only rows outside the tolerance are named."""

    place: ClassVar[int] = 60

    def select(self) -> dict[str, list[tuple[str, float]]]:
        """By column that no seed changes: (row, measured / published - 1), for the cells where both
        are known and comparable.
        """
        model = self.model
        if not model.as_published:
            return {}
        deviations: dict[str, list[tuple[str, float]]] = {}
        for column in model.columns:
            if column.evidence == "seeds":
                continue
            for row in model.rows:
                deviation = _deviation_of(row.cell(column.id), column)
                if deviation is not None:
                    deviations.setdefault(column.id, []).append((row.id, deviation))
        return deviations

    def caption(self) -> str:
        """What dots and band mean, and what ratios are to."""
        parts = [
            "Measured cost relative to the published one, a dot per row; the band is the tolerance "
            "(printed numbers of few digits allow more: half of the last one)."
        ]
        for to, what in judged_by_ratio(self.model.columns):
            subject = f"{what[:1].upper()}{what[1:]}"
            parts.append(f"{subject} are compared as ratios to the {to}.")
        return " ".join(parts)

    def alt(self) -> str:
        """The same for every table."""
        return "Relative deviation of cost columns"

    def draw(self) -> Drawing:
        """The strips above each other."""
        model, deviations = self.model, self.select()
        columns = [column for column in model.columns if column.id in deviations]
        figure = Drawing(figsize=(WIDTH, 1.5 * len(columns) + 0.2), layout="constrained")
        strips = figure.subplots(len(columns), 1, squeeze=False)[:, 0]
        labels = {
            axes: _strip(axes, column, deviations[column.id], model)
            for axes, column in zip(strips, columns, strict=True)
        }
        place_labels(figure, labels)
        return figure


def _deviation_of(cell: Cell, column: Column) -> float | None:
    if column.is_ratio:
        ratio = cell.ratio
        if ratio is None or not ratio.baseline or ratio.measured is None or not ratio.published:
            return None
        return ratio.measured / ratio.published - 1
    published = None if cell.published is None else cell.published.intended.value
    if cell.summary is None or not published:
        return None
    return cell.summary.mean / published - 1


def _strip(
    axes: Axes, column: Column, deviations: list[tuple[str, float]], model: TableModel
) -> list[Label]:
    """In grey: the colours of this report stand for rows."""
    shade = SOFT
    band = _tolerance(column)
    if band is not None:
        axes.axvspan(-100 * band, 100 * band, color=shade, alpha=0.12, lw=0)
    axes.axvline(0, color=INK, lw=0.8)
    ordered = sorted(deviations, key=lambda pair: pair[1])
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
    reach = max([abs(value) for _, value in deviations] + [(band or 0) * 1.3, 1e-4])
    axes.set_xlim(-112 * reach, 112 * reach)
    axes.set_title(f"{column.label}{' (ratio)' if column.is_ratio else ''}: {len(deviations)} rows")
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
