"""Images with a map for each head beside them, a block of lines for each row."""

from __future__ import annotations

import base64
import json
import math
import textwrap
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from PIL import Image

from harness.report.drawing import WIDTH
from harness.report.figures import FIGURES, RecordedFigure

LEFT = 1.5  # inches, for the names of rows
MOST_ROWS, MOST_LINES, MOST_HEADS = 5, 10, 12


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageMaps:
    """One image and how much of each head falls on its patches."""

    png: str  # the image, base64
    grid: tuple[int, int]  # patches: rows, columns
    heads: tuple[tuple[float, ...], ...]  # in raster order
    upward: bool = False  # whether the first row is the lowest


@FIGURES.register("image-maps")
class ImagesWithMaps(RecordedFigure):
    """From left to right: the image, the mean of all heads, each head; brighter gets more.

    Every map has its own scale, from zero to its highest patch.
    """

    place: ClassVar[int] = 50

    @classmethod
    def read(cls, path: Path) -> tuple[ImageMaps, ...]:
        """The pictures of one run."""
        content = json.loads(path.read_bytes().decode())
        rows, columns = (int(size) for size in content["grid"])
        maps = [
            ImageMaps(
                png=picture["png"],
                grid=(rows, columns),
                heads=tuple(tuple(map(float, head)) for head in picture["heads"]),
                upward=bool(content.get("upward", False)),
            )
            for picture in content["pictures"]
        ]
        for one in maps:
            try:
                Image.open(BytesIO(base64.b64decode(one.png)), formats=["PNG"]).verify()
            except OSError:  # else it would be told as a file that cannot be opened
                raise ValueError("a picture is no PNG") from None
            if not one.heads or any(len(head) != rows * columns for head in one.heads):
                raise ValueError("its heads have not one weight for every patch")
            if not all(math.isfinite(weight) for head in one.heads for weight in head):
                raise ValueError("its weights are no finite numbers")
        return tuple(maps)

    def select(self) -> dict[str, tuple[ImageMaps, ...]]:
        """The maps that are shown, by row: as many images of each as make one page."""
        by_row = self._by_row()
        rows = list(by_row)[:MOST_ROWS]
        each = min(4, MOST_LINES // max(1, len(rows)))
        return {row: by_row[row][:each] for row in rows}

    def _by_row(self) -> dict[str, tuple[ImageMaps, ...]]:
        of_runs = {
            run.row: run.files[self.declared.source]
            for run in self.model.runs
            if self.declared.source in run.files
        }
        return {row.id: of_runs[row.id] for row in self.model.rows if of_runs.get(row.id)}

    def caption(self) -> str:
        """As declared, how it is drawn, and what is left out."""
        by_row, shown = self._by_row(), self.select()
        parts = [
            self.declared.caption,
            "Every map has its own scale, from zero (dark) to its highest patch (bright).",
        ]
        if len(by_row) > len(shown):
            parts.append(f"The first {len(shown)} of {len(by_row)} rows.")
        if max(len(one.heads) for maps in by_row.values() for one in maps) > MOST_HEADS:
            parts.append(f"The first {MOST_HEADS} heads; the mean is over all.")
        return " ".join(parts)

    def draw(self) -> Drawing:
        """A block of lines for each row."""
        blocks = self.select()
        lines = [one for maps in blocks.values() for one in maps]
        heads = min(MOST_HEADS, max(len(one.heads) for one in lines))
        side = min(0.95, (WIDTH - LEFT) / (heads + 2))
        size = (LEFT + side * (heads + 2), side * len(lines) + 0.3)
        dense = ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.015, hspace=0, wspace=0)
        figure = Drawing(figsize=size, layout=dense)
        grid = figure.subplots(len(lines), heads + 2, squeeze=False)
        for line, one in zip(grid, lines, strict=True):
            _line(list(line), one)
        name = self.declared.label
        titles = ["image", "mean", *(f"{name} {head + 1}" for head in range(heads))]
        for axes, title in zip(grid[0], titles, strict=True):
            axes.set_title(title, loc="center", fontsize=7)
        first = 0
        for row, maps in blocks.items():
            text = textwrap.fill(self.model.full_name(row), 22, max_lines=4, placeholder="…")
            grid[first][0].set_ylabel(text, rotation=0, ha="right", va="center", labelpad=6)
            first += len(maps)
        return figure


def _line(line: list[Axes], one: ImageMaps) -> None:
    order = slice(None, None, -1 if one.upward else 1)
    picture = _decoded(one.png)[order]
    extent = (0.0, float(picture.shape[1]), float(picture.shape[0]), 0.0)
    line[0].imshow(picture, cmap="gray", vmin=0, vmax=255, extent=extent)
    heads = np.asarray(one.heads)
    maps = [heads.mean(axis=0), *heads[: len(line) - 2]]
    for axes, weights in zip(line[1:], maps, strict=False):
        axes.imshow(
            weights.reshape(one.grid)[order],
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
