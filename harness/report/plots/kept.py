"""Where the kept patches lie, over training (the paper's Figure 5)."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from harness.report.figures import MOST_MAPPED
from harness.report.model import KeptMap, TableModel
from harness.report.plots.style import INK, WIDTH, shortened

LEGIBLE = 5  # patches a side: shares are written into maps up to this size


def kept(model: TableModel) -> Figure:
    """A grid of maps: rows are keep ratios, columns are points in training; shares are written in
    small grids.
    """
    by_row: dict[str, list[KeptMap]] = {}
    for found in model.kept:
        by_row.setdefault(found.row, []).append(found)
    rows = list(by_row.items())[:MOST_MAPPED]
    across = max(len(maps) for _, maps in rows)
    side = min(1.1, (WIDTH - 2.4) / across)
    size = (2.4 + (side + 0.15) * across, (side + 0.28) * len(rows) + 0.25)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), across, squeeze=False)
    for line, (row, maps) in zip(grid, rows, strict=True):
        _line(figure, list(line), maps, _name(row, model))
    return figure


def _line(figure: Figure, line: list[Axes], maps: list[KeptMap], name: str) -> None:
    """One row: its maps on a common scale around the keep ratio, and that scale."""
    ratio = float(np.mean([np.mean(found.shares) for found in maps]))
    reach = max(abs(share - ratio) for found in maps for share in found.shares) or 0.01
    norm = TwoSlopeNorm(vmin=ratio - reach, vcenter=ratio, vmax=ratio + reach)
    images = [_map(axes, found, norm) for axes, found in zip(line, maps, strict=False)]
    for axes in line[len(maps) :]:
        axes.remove()
    line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=8)
    bar = figure.colorbar(images[0], ax=line[: len(maps)], shrink=0.9, pad=0.02, aspect=12)
    ends = [max(0.0, ratio - reach), ratio, min(1.0, ratio + reach)]
    bar.ax.set_yticks(ends)
    bar.ax.set_yticklabels([f"{100 * value:.0f} %" for value in ends], fontsize=7)
    bar.ax.set_ylim(ends[0], ends[-1])


def _name(row: str, model: TableModel) -> str:
    found = model.row(row)
    several = len({model.row(one.row).group for one in model.kept}) > 1
    lines = [found.group] if several and found.group else []
    shorter = found.in_group != found.label
    lines.append(found.in_group if shorter or not several else found.name)
    if found.keep is not None and found.patches is not None:
        lines.append(f"{found.keep} of {found.patches} patches")
    return "\n".join(shortened(line, 26) for line in lines)


def _map(axes: Axes, found: KeptMap, norm: TwoSlopeNorm) -> AxesImage:
    shares = np.asarray(found.shares)
    side = math.isqrt(len(shares))
    square = shares.reshape(side, side) if side * side == len(shares) else shares[None, :]
    image = axes.imshow(square, cmap="PuOr_r", norm=norm)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.set_title(f"epoch {round(found.epoch, 2):g}", loc="center", fontsize=8)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if side <= LEGIBLE:
        for (y, x), share in np.ndenumerate(square):
            tone = "white" if abs(float(norm(share)) - 0.5) > 0.32 else INK
            text = f"{100 * share:.0f}"
            axes.text(x, y, text, ha="center", va="center", fontsize=6, color=tone)
    return image
