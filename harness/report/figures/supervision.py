"""What a step costs for the student itself, and for the teacher that it learns from: a line a
group of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from harness.report.drawing import COLOURS, INK, SOFT, WIDTH, shortened
from harness.report.figures import FIGURES, RecordedFigure
from harness.report.model import RowResult

MARKERS: Final = "sD^vP*X"
LINE = 0.26  # inches


@dataclass(frozen=True, kw_only=True, slots=True)
class Supervision:
    """The costs of one pair of networks, in 1e9 multiply-adds an image."""

    pair: str
    student: float  # forward and backward
    teachers: tuple[tuple[str, float], ...]  # by how much the teacher sees: the label of the row


@FIGURES.register("supervision")
class SupervisionCost(RecordedFigure):
    """On one logarithmic axis the student's step and the teacher's pass, as in MaskedKD's Figure 1;
    for tables with both as columns.
    """

    place: ClassVar[int] = 15

    def select(self) -> list[Supervision]:
        """Groups of rows with both costs."""
        columns = {column.metric: column.id for column in self.model.columns}
        student, teacher = self.declared.source, self.declared.beside
        if not {student, teacher} <= columns.keys():
            return []
        found = []
        for group, rows in self.model.groups():
            known = [
                (row, cost, taught)
                for row in rows
                if (cost := _value(row, columns[student])) is not None
                and (taught := _value(row, columns[teacher])) is not None
            ]
            if known:
                teachers = tuple((row.label, taught) for row, _, taught in known)
                pair = group or known[0][0].name
                found.append(Supervision(pair=pair, student=known[0][1], teachers=teachers))
        return found

    def draw(self) -> Drawing:
        """A line for each pair, from the student to what its teacher costs."""
        pairs = self.select()
        labels = list(dict.fromkeys(label for pair in pairs for label, _ in pair.teachers))
        figure = Drawing(figsize=(WIDTH, 1.0 + LINE * len(pairs)), layout="constrained")
        axes = figure.subplots()
        for line, pair in enumerate(pairs):
            ends = [pair.student, *(cost for _, cost in pair.teachers)]
            axes.plot([min(ends), max(ends)], [line, line], color=SOFT, lw=1, zorder=2)
            axes.plot(pair.student, line, "o", color=INK, ms=5.5, zorder=4)
            for label, cost in pair.teachers:
                at = labels.index(label)
                marker, colour = MARKERS[at % len(MARKERS)], COLOURS[at % len(COLOURS)]
                axes.plot(cost, line, marker, color=colour, ms=5.5, zorder=4)
        axes.set_yticks(range(len(pairs)), [shortened(pair.pair, 40) for pair in pairs])
        axes.set_ylim(len(pairs) - 0.5, -0.5)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("Billion multiply-adds an image")
        names = ["Training the student", *(f"Teacher: {label}" for label in labels)]
        marks = ["o", *(MARKERS[at % len(MARKERS)] for at in range(len(labels)))]
        colours = [INK, *(COLOURS[at % len(COLOURS)] for at in range(len(labels)))]
        handles = [
            Line2D([], [], ls="", marker=mark, color=colour, ms=5.5)
            for mark, colour in zip(marks, colours, strict=True)
        ]
        figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
        return figure


def _value(row: RowResult, column: str) -> float | None:
    summary = row.cell(column).summary
    return None if summary is None or summary.mean <= 0 else summary.mean
