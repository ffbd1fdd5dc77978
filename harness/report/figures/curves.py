"""Training curves: the loss and the main metric over epochs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from harness.report.drawing import INK, WIDTH, Label, place_labels, shades, shortened
from harness.report.figures import FIGURES, Figure
from harness.report.format import with_unit
from harness.report.history import MOST_TOGETHER
from harness.report.model import Curve, TableModel

SHORT = 14  # characters of a label that leaves room for three panels side by side
STEEP = 6  # a curve of at least so many points has its first sixth out of sight


@FIGURES.register("curves")
class TrainingCurves(Figure):
    """Per row the mean over seeds, and a band from the lowest to the highest."""

    place: ClassVar[int] = 30

    def select(self) -> dict[str, list[Curve]]:
        """Curves by the title of their panel."""
        return _panels(self.model) if self.model.curves else {}

    def caption(self) -> str:
        """What line and band mean."""
        return "Training: mean over seeds; the band spans the lowest and highest seed."

    def alt(self) -> str:
        """The same for every table."""
        return "Training curves"

    def draw(self) -> Drawing:
        """Two or three panels side by side."""
        panels = self.select()
        across = min(_across(self.model), len(panels))
        down = math.ceil(len(panels) / across)
        size = (WIDTH, 2.7 if down == 1 else 2.1 * down)
        figure = Drawing(figsize=size, layout="constrained")
        axes = figure.subplots(down, across, squeeze=False).flatten()
        labels = {}
        for panel, (title, curves) in zip(axes, panels.items(), strict=False):
            labels[panel] = _panel(panel, title, curves, self.model)
        for panel in axes[len(panels) :]:
            panel.remove()
        if not _few(self.model):  # panels are named by their groups
            metric = next(iter(panels.values()))[0].metric
            figure.supylabel(_title(metric, self.model), fontsize=8.5, color=INK)
        place_labels(figure, labels)
        return figure


def _across(model: TableModel) -> int:
    longest = max(len(model.row(row).in_group) for row in _rows(model))
    return 2 if _few(model) or longest > SHORT else 3


def _panels(model: TableModel) -> dict[str, list[Curve]]:
    """Curves by the title of their panel: metrics side by side, or groups of one metric."""
    shown = [column.metric for column in model.columns]
    metrics = sorted({curve.metric for curve in model.curves}, key=lambda m: _rank(m, shown))
    panels: dict[str, list[Curve]] = {}
    if _few(model):
        for metric in metrics:
            those = [curve for curve in model.curves if curve.metric == metric]
            if metric.startswith("loss/"):
                panels.update(_losses(those, model))
            else:
                panels[_title(metric, model)] = those
        return panels
    groups = {row: model.row(row).group for row in _rows(model)}
    for curve in model.curves:
        if curve.metric == metrics[0]:
            panels.setdefault(groups[curve.row], []).append(curve)
    return panels


def _few(model: TableModel) -> bool:
    """Whether a panel holds all rows."""
    return len(_rows(model)) <= MOST_TOGETHER


def _rows(model: TableModel) -> set[str]:
    """That have curves: a few, where curves are thousands."""
    return {curve.row for curve in model.curves}


def _rank(metric: str, shown: Sequence[str]) -> tuple[int, str]:
    """In the order of the columns; the loss last."""
    if metric.startswith("loss/"):
        return len(shown) + 1, metric
    return shown.index(metric) if metric in shown else len(shown), metric


def _title(metric: str, model: TableModel) -> str:
    column = next((column for column in model.columns if column.metric == metric), None)
    if column is None:
        return metric
    return with_unit(column.label, f"({column.unit})" if column.unit else "")


def _losses(curves: Sequence[Curve], model: TableModel) -> dict[str, list[Curve]]:
    """Losses of different methods are different quantities: a panel for each."""
    by_loss: dict[str, list[Curve]] = {}
    for curve in curves:
        by_loss.setdefault(model.row(curve.row).loss, []).append(curve)
    if len(by_loss) == 1:
        return {"Training loss": list(curves)}
    return {f"Training loss: {name or 'not known'}": those for name, those in by_loss.items()}


def _panel(axes: Axes, title: str, curves: Sequence[Curve], model: TableModel) -> list[Label]:
    by_row: dict[str, list[Curve]] = {}
    for curve in curves:
        by_row.setdefault(curve.row, []).append(curve)
    labels, colours, few = [], shades(model), _few(model)
    labels_used = Counter(model.row(row).label for row in by_row)
    for row, seeds in by_row.items():
        epoch, value = _draw(axes, seeds, colours[row])
        named = model.row(row)
        if not few:
            text = named.in_group
        elif labels_used[named.label] > 1:
            text = f"{named.group}: {named.label}"
        else:
            text = named.label
        labels.append(Label(x=epoch, y=value, text=text, colour=colours[row]))
    axes.set_title(shortened(title, 40))
    axes.set_xlabel("Epoch")
    axes.set_xlim(left=0)
    _clip_start(axes, curves)
    return labels


def _draw(axes: Axes, curves: Sequence[Curve], shade: str) -> tuple[float, float]:
    """Draw one row; where its line ends."""
    longest = max(curves, key=lambda curve: len(curve.epochs))
    epochs = np.asarray(longest.epochs)
    values = np.stack([np.interp(epochs, curve.epochs, curve.values) for curve in curves])
    mean = values.mean(axis=0)
    axes.plot(epochs, mean, color=shade, lw=1.4)
    if len(epochs) <= 12:
        axes.scatter(epochs, mean, s=9, color=shade, linewidths=0, zorder=4)
    if len(curves) > 1:
        low, high = values.min(axis=0), values.max(axis=0)
        axes.fill_between(epochs, low, high, color=shade, alpha=0.15, lw=0)
    return float(epochs[-1]), float(mean[-1])


def _clip_start(axes: Axes, curves: Sequence[Curve]) -> None:
    """Leave the first steep steps out of sight: they would flatten all that follows. Of a few
    points all are seen: lines between the last two of them would only come up from below.
    """
    later = [value for curve in curves for value in curve.values[len(curve.values) // STEEP :]]
    low, high = min(later), max(later)
    room = 0.05 * (high - low) or 0.05
    axes.set_ylim(low - room, high + room)
