"""Images with the attention of every head beside them, a block of lines for each row."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from PIL import Image

from harness.report.figures import MOST_HEADS, pictured
from harness.report.model import AttentionMap, TableModel
from harness.report.plots.style import WIDTH, shortened

LEFT = 1.5  # inches, for the names of rows


def attention(model: TableModel) -> Figure:
    """From left to right: the image, the mean of all heads, each head; brighter gets more.

    Every map has its own scale, from zero to its highest patch.
    """
    blocks = pictured(model)
    lines = [(row, found) for row, maps in blocks.items() for found in maps]
    heads = min(MOST_HEADS, max(len(found.heads) for _, found in lines))
    side = min(0.95, (WIDTH - LEFT) / (heads + 2))
    size = (LEFT + side * (heads + 2), side * len(lines) + 0.3)
    dense = ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.015, hspace=0, wspace=0)
    figure = Figure(figsize=size, layout=dense)
    grid = figure.subplots(len(lines), heads + 2, squeeze=False)
    for line, (_, found) in zip(grid, lines, strict=True):
        _line(list(line), found)
    titles = ["image", "mean", *(f"head {head + 1}" for head in range(heads))]
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, loc="center", fontsize=7)
    first = 0
    for row, maps in blocks.items():
        name = shortened(model.full_name(row), 24)
        grid[first][0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6)
        first += len(maps)
    return figure


def _line(line: list[Axes], found: AttentionMap) -> None:
    picture = _decoded(found.png)
    extent = (0.0, float(picture.shape[1]), float(picture.shape[0]), 0.0)
    line[0].imshow(picture, cmap="gray", vmin=0, vmax=255, extent=extent)
    heads = np.asarray(found.heads)
    maps = [heads.mean(axis=0), *heads[: len(line) - 2]]
    for axes, weights in zip(line[1:], maps, strict=False):
        axes.imshow(
            weights.reshape(found.grid),
            cmap="inferno",
            vmin=0,
            vmax=float(weights.max()) or 1.0,
            extent=extent,
            interpolation="nearest",
        )
    for axes in line:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
    for axes in line[1 + len(maps) :]:  # a network with fewer heads than the widest
        axes.set_axis_off()


def _decoded(png: str) -> NDArray[np.uint8]:
    with Image.open(BytesIO(base64.b64decode(png))) as image:
        return np.asarray(image)
