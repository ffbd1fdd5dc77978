"""Images with a map for each head beside them, a block of lines for each row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from harness.report.figures import FIGURES, RecordedFigure, content_of
from harness.report.pictures import checked_png, decoded, name_line, picture_grid

MOST_LINES, MOST_HEADS = 10, 12


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
    most_rows: ClassVar[int] = 5
    drawn_as: ClassVar[str] = (
        "Every map has its own scale, from zero (dark) to its highest patch (bright)."
    )

    @classmethod
    def read(cls, path: Path) -> tuple[ImageMaps, ...]:
        """The pictures of one run."""
        content = content_of(path)
        rows, columns = (int(size) for size in content["grid"])
        maps = [
            ImageMaps(
                png=checked_png(picture["png"]),
                grid=(rows, columns),
                heads=tuple(tuple(map(float, head)) for head in picture["heads"]),
                upward=bool(content.get("upward", False)),
            )
            for picture in content["pictures"]
        ]
        for one in maps:
            if not one.heads or any(len(head) != rows * columns for head in one.heads):
                raise ValueError("its heads have not one weight for every patch")
            if not all(math.isfinite(weight) for head in one.heads for weight in head):
                raise ValueError("its weights are no finite numbers")
        return tuple(maps)

    def select(self) -> dict[str, tuple[ImageMaps, ...]]:
        """The maps that are shown, by row: as many images of each as make one page."""
        by_row = self.by_row()
        rows = list(by_row)[: self.most_rows]
        each = min(4, MOST_LINES // max(1, len(rows)))
        return {row: by_row[row][:each] for row in rows}

    def caption(self) -> str:
        """Also which heads are left out."""
        heads = max(len(one.heads) for maps in self.by_row().values() for one in maps)
        left_out = f" The first {MOST_HEADS} heads; the mean is over all."
        return super().caption() + left_out * (heads > MOST_HEADS)

    def draw(self) -> Drawing:
        """A block of lines for each row."""
        blocks = self.select()
        lines = [one for maps in blocks.values() for one in maps]
        heads = min(MOST_HEADS, max(len(one.heads) for one in lines))
        figure, grid = picture_grid(len(lines), heads + 2, most=0.95, room=0.3)
        for line, one in zip(grid, lines, strict=True):
            _line(list(line), one)
        name = self.declared.label
        titles = ["image", "mean", *(f"{name} {head + 1}" for head in range(heads))]
        for axes, title in zip(grid[0], titles, strict=True):
            axes.set_title(title, loc="center", fontsize=7)
        first = 0
        for row, maps in blocks.items():
            name_line(grid[first][0], self.model.full_name(row), lines=4)
            first += len(maps)
        return figure


def _line(line: list[Axes], one: ImageMaps) -> None:
    order = slice(None, None, -1 if one.upward else 1)
    picture = decoded(one.png)[order]
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
    for axes in line[1 + len(maps) :]:  # a network with fewer heads than the widest
        axes.set_axis_off()
