"""The colour of a row: the same one in every plot of a report."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.colors import to_hex, to_rgb

from harness.report.lines import lines
from harness.report.model import Row, TableModel
from harness.report.plots.style import COLOURS, colour

LIGHTEST = 0.55  # how far towards white the last row of a group goes


def shades(model: TableModel) -> dict[str, str]:
    """By row. Where a declared plot tells groups apart by colour, the rows of a group are shades of
    its colour; few rows have a colour each; of many, those of a group.
    """
    groups = model.groups()
    if _told_by_group(model):
        return {
            row.id: _lighter(colour(index), place, len(rows))
            for index, (_, rows) in enumerate(groups)
            for place, row in enumerate(rows)
        }
    shown = _shown(model)
    if len(shown) <= len(COLOURS):
        first = {row: colour(index) for index, row in enumerate(shown)}
        rest = {row.id: colour(len(shown) + i) for i, row in enumerate(_others(model, shown))}
        return {**first, **rest}
    return {row.id: colour(place) for _, rows in groups for place, row in enumerate(rows)}


def group_shade(model: TableModel, group: str) -> str:
    """The colour of a line through the rows of a group: that of its first one."""
    rows = next(rows for name, rows in model.groups() if name == group)
    return shades(model)[rows[0].id]


def _told_by_group(model: TableModel) -> bool:
    """Whether a declared plot has a line for each of several groups."""
    return any(
        len({line.series for line in lines(model, plot, column)}) > 1
        for plot in model.plots
        for column in plot.y
    )


def _shown(model: TableModel) -> list[str]:
    """The rows that have a mark or a line of their own in some plot, in the order of the table."""
    costly = {cost.row for cost in model.costs if cost.macs_per_image}
    found = costly | {curve.row for curve in model.curves}
    return [row.id for row in model.rows if row.id in found]


def _others(model: TableModel, shown: Sequence[str]) -> list[Row]:
    return [row for row in model.rows if row.id not in shown]


def _lighter(base: str, place: int, of: int) -> str:
    share = LIGHTEST * place / max(1, of - 1) if of > 1 else 0.0
    red, green, blue = (part + (1 - part) * share for part in to_rgb(base))
    return to_hex((red, green, blue))
