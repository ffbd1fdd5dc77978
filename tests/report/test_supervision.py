"""The figure of what supervision costs."""

from __future__ import annotations

from dataclasses import replace

from harness.report.drawing import styled
from harness.report.figures import draw, figures, find
from harness.report.model import TableModel
from harness.spec.table import Column, TaskChoice
from harness.tasks.cost import SUPERVISION
from tests.report.models import cell, small

STUDENT, TEACHER = (
    Column(id=name, label=name, task=TaskChoice(name="cost"), metric=metric, unit="GFLOPs")
    for name, metric in (("student", "student/train_gmacs"), ("teacher", "teacher/gmacs"))
)


def model(*columns: Column) -> TableModel:
    """Four rows, three of the first group; the second one's is not computed yet."""
    values = {"row0": (3.7, 4.6), "row1": (3.7, 2.3), "row2": (3.7, 1.1), "row3": None}
    table = small(rows=4)
    rows = []
    for row in table.rows:
        known = values[row.id]
        cells = [
            cell(column, None, () if known is None else (known[column.id == "teacher"],))
            for column in columns
        ]
        rows.append(replace(row, cells=tuple(cells)))
    shown = replace(table, columns=columns, rows=tuple(rows), claims=(), curves=(), plots=())
    return replace(shown, figures=(SUPERVISION,))


def test_a_line_for_each_pair_of_networks_with_all_that_the_teacher_may_see() -> None:
    table = model(STUDENT, TEACHER)
    (pair,) = find("supervision", table).select()
    labels = [row.label for row in table.rows[:3]]
    assert (pair.pair, pair.student) == (table.rows[0].group, 3.7)
    assert pair.teachers == tuple(zip(labels, (4.6, 2.3, 1.1), strict=True))


def test_marks_stand_at_the_costs() -> None:
    with styled():
        drawing = find("supervision", model(STUDENT, TEACHER)).draw()
    (axes,) = drawing.axes
    marks = [line.get_xdata()[0] for line in axes.get_lines() if len(line.get_xdata()) == 1]
    assert marks == [3.7, 4.6, 2.3, 1.1]
    span = next(line for line in axes.get_lines() if len(line.get_xdata()) == 2)
    assert list(span.get_xdata()) == [1.1, 4.6]
    assert draw("supervision", model(STUDENT, TEACHER), format="png").startswith(b"\x89PNG")


def test_a_table_without_either_cost_has_no_such_figure() -> None:
    names = {figure.name for figure in figures(model(TEACHER))}
    assert "supervision" not in names
