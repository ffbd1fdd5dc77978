"""How often each position of an image was kept, over training: a map for each row and epoch."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure as Drawing
from matplotlib.image import AxesImage

from harness.report.drawing import INK, WIDTH, shortened
from harness.report.figures import FIGURES, RecordedFigure
from harness.report.model import RowResult

MOST_MAPS = 5  # points in training
LEGIBLE = 5  # positions a side: numbers are written into maps up to this size


@dataclass(frozen=True, kw_only=True, slots=True)
class PositionMap:
    """How often each position was kept at one time, in raster order: mean over seeds."""

    epoch: float
    shares: tuple[float, ...]


@FIGURES.register("position-maps")
class PositionMaps(RecordedFigure):
    """A grid of maps: rows of the table by points in training; small maps have their numbers."""

    place: ClassVar[int] = 40

    def select(self) -> dict[str, list[PositionMap]]:
        """The maps of every row whose runs record such lists, at a few epochs."""
        by_row: dict[str, dict[float, list[Sequence[float]]]] = {}
        for run in self.model.runs:
            for record in run.records:
                shares = record.get(self.declared.source)
                if isinstance(shares, list) and "epoch" in record:
                    by_epoch = by_row.setdefault(run.row, {})
                    by_epoch.setdefault(float(record["epoch"]), []).append(shares)
        return {
            row: [
                PositionMap(epoch=epoch, shares=_mean(epochs[epoch]))
                for epoch in _evenly(sorted(epochs))
            ]
            for row, epochs in by_row.items()
        }

    def rows(self) -> Collection[str]:
        """Those whose runs record such lists."""
        return self.select()

    def draw(self) -> Drawing:
        """A line of maps for each row."""
        maps_of = self.select()
        rows = list(maps_of.items())[: self.most_rows]
        groups = {self.model.row(row).group for row in maps_of}
        across = max(len(maps) for _, maps in rows)
        side = min(1.1, (WIDTH - 2.4) / across)
        size = (2.4 + (side + 0.15) * across, (side + 0.28) * len(rows) + 0.25)
        figure = Drawing(figsize=size, layout="constrained")
        grid = figure.subplots(len(rows), across, squeeze=False)
        for line, (row, maps) in zip(grid, rows, strict=True):
            name = self._name(self.model.row(row), len(groups) > 1)
            _line(figure, list(line), maps, name, self._lie(self.model.row(row), maps[0]))
        return figure

    def _lie(self, row: RowResult, one: PositionMap) -> tuple[int, int, bool]:
        """Rows, columns, and whether the first row is the lowest; a line where nobody knows."""
        declared, count = self.declared.lie, len(one.shares)
        known = None if declared is None or row.config is None else declared(row.config)
        if known is not None and known[0] * known[1] == count:
            return known
        side = math.isqrt(count)
        return (side, side, False) if side * side == count else (1, count, False)

    def _name(self, row: RowResult, several_groups: bool) -> str:
        lines = [row.group] if several_groups and row.group else []
        shorter = row.in_group != row.label
        lines.append(row.in_group if shorter or not several_groups else row.name)
        extent = self.extent(row)
        if extent is not None:
            lines.append(self.declared.label.format(*extent))
        return "\n".join(shortened(line, 26) for line in lines)


def _line(
    figure: Drawing,
    line: list[Axes],
    maps: list[PositionMap],
    name: str,
    lie: tuple[int, int, bool],
) -> None:
    """One row: its maps on a common scale around the keep ratio, and that scale."""
    ratio = float(np.mean([np.mean(one.shares) for one in maps]))
    reach = max(abs(share - ratio) for one in maps for share in one.shares) or 0.01
    norm = TwoSlopeNorm(vmin=ratio - reach, vcenter=ratio, vmax=ratio + reach)
    images = [_map(axes, one, norm, lie) for axes, one in zip(line, maps, strict=False)]
    for axes in line[len(maps) :]:
        axes.remove()
    line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=8)
    bar = figure.colorbar(images[0], ax=line[: len(maps)], shrink=0.9, pad=0.02, aspect=12)
    ends = [max(0.0, ratio - reach), ratio, min(1.0, ratio + reach)]
    bar.ax.set_yticks(ends)
    bar.ax.set_yticklabels([f"{100 * value:.0f} %" for value in ends], fontsize=7)
    bar.ax.set_ylim(ends[0], ends[-1])


def _map(axes: Axes, one: PositionMap, norm: TwoSlopeNorm, lie: tuple[int, int, bool]) -> AxesImage:
    rows, columns, upward = lie
    shares = np.asarray(one.shares).reshape(rows, columns)
    origin: Literal["lower", "upper"] = "lower" if upward else "upper"
    image = axes.imshow(shares, cmap="PuOr_r", norm=norm, origin=origin)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.set_title(f"epoch {round(one.epoch, 2):g}", loc="center", fontsize=8)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if max(rows, columns) <= LEGIBLE:
        for (y, x), share in np.ndenumerate(shares):
            tone = "white" if abs(float(norm(share)) - 0.5) > 0.32 else INK
            text = f"{100 * share:.0f}"
            axes.text(x, y, text, ha="center", va="center", fontsize=6, color=tone)
    return image


def _mean(maps: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Over seeds; those of another size than the first belong to other runs."""
    alike = [one for one in maps if len(one) == len(maps[0])]
    return tuple(sum(values) / len(values) for values in zip(*alike, strict=True))


def _evenly(epochs: Sequence[float]) -> list[float]:
    """First, last and evenly spaced ones between."""
    if len(epochs) <= MOST_MAPS:
        return list(epochs)
    last = len(epochs) - 1
    return [epochs[round(step * last / (MOST_MAPS - 1))] for step in range(MOST_MAPS)]
