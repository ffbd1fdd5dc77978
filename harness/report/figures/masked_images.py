"""Images without the patches that are hidden, a line a row, and how much of each object is kept."""

from __future__ import annotations

import base64
import json
import textwrap
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from PIL import Image

from harness.report.drawing import WIDTH, shades
from harness.report.figures import FIGURES, RecordedFigure

LEFT, UNDER = 1.5, 1.9  # inches: for the names of rows, for the histogram
MOST_ROWS, MOST_PICTURES = 6, 8
HIDDEN = (196, 205, 216)  # a colour that grey pictures do not have


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedImages:
    """What one run left: pictures (PNG in base64) with the patches that are kept of each, and how
    many images keep how much of their object, in equal bins from none of it to all.
    """

    grid: tuple[int, int]  # patches: rows, columns
    pictures: tuple[tuple[str, tuple[int, ...]], ...]
    shares: tuple[int, ...]  # none where objects are not known


@FIGURES.register("masked-images")
class ImagesAsShown(RecordedFigure):
    """The whole images in the first line, under them what each row keeps of them."""

    place: ClassVar[int] = 42

    @classmethod
    def read(cls, path: Path) -> MaskedImages:
        """The pictures of one run."""
        content = json.loads(path.read_bytes().decode())
        rows, columns = (int(size) for size in content["grid"])
        pictures = tuple(
            (str(one["png"]), tuple(int(patch) for patch in one["kept"]))
            for one in content["pictures"]
        )
        for png, kept in pictures:
            try:
                Image.open(BytesIO(base64.b64decode(png)), formats=["PNG"]).verify()
            except OSError:  # else it would be told as a file that cannot be opened
                raise ValueError("a picture is no PNG") from None
            if not all(0 <= patch < rows * columns for patch in kept):
                raise ValueError("a patch is outside its image")
        shares = tuple(int(count) for count in content["shares"])
        if any(count < 0 for count in shares):
            raise ValueError("a number of images is negative")
        return MaskedImages(grid=(rows, columns), pictures=pictures, shares=shares)

    def select(self) -> dict[str, MaskedImages]:
        """What is shown, by row; a row without a picture has nothing to show."""
        by_row = self._by_row()
        return {row: by_row[row] for row in list(by_row)[:MOST_ROWS]}

    def _by_row(self) -> dict[str, MaskedImages]:
        source = self.declared.source
        found = {run.row: run.files[source] for run in self.model.runs if source in run.files}
        named = [row.id for row in self.model.rows if row.id in found]
        return {row: found[row] for row in named if found[row].pictures}

    def caption(self) -> str:
        """As declared, what stands below, and what is left out."""
        count, shown = len(self._by_row()), self.select()
        parts = [self.declared.caption, "Hidden patches are blue-grey."]
        if any(one.shares for one in shown.values()):
            parts.append("Below: how much of its object an image keeps, over all of them.")
        if count > len(shown):
            parts.append(f"The first {len(shown)} of {count} rows.")
        return " ".join(parts)

    def draw(self) -> Drawing:
        """A line for each row, and the histogram."""
        by_row = self.select()
        across = min(MOST_PICTURES, max(len(one.pictures) for one in by_row.values()))
        side = min(0.8, (WIDTH - LEFT) / across)
        lines, counted = len(by_row) + 1, any(one.shares for one in by_row.values())
        height = side * lines + 0.1
        size = (LEFT + side * MOST_PICTURES, height + (UNDER if counted else 0))
        dense = ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.015, hspace=0, wspace=0)
        figure = Drawing(figsize=size, layout=dense)
        parts: Any = [figure]
        if counted:
            parts = figure.subfigures(2, 1, height_ratios=[height, UNDER])
        grid = parts[0].subplots(lines, across, squeeze=False)
        for axes in grid.flat:
            _bare(axes)
        first = next(iter(by_row.values()))
        for axes, (png, _) in zip(grid[0], first.pictures, strict=False):
            axes.imshow(_decoded(png))
        names = ["the images", *(self.model.full_name(row) for row in by_row)]
        for line, one in zip(grid[1:], by_row.values(), strict=True):
            for axes, (png, kept) in zip(line, one.pictures, strict=False):
                axes.imshow(masked(_decoded(png), kept, one.grid))
        for line, name in zip(grid, names, strict=True):
            text = textwrap.fill(name, 22, max_lines=3, placeholder="…")
            line[0].set_ylabel(text, rotation=0, ha="right", va="center", labelpad=6)
        if counted:
            self._histogram(parts[1].subplots(), by_row)
        return figure

    def _histogram(self, axes: Axes, by_row: dict[str, MaskedImages]) -> None:
        colours = shades(self.model)
        for row, one in by_row.items():
            if sum(one.shares):
                counts = 100 * np.asarray(one.shares) / sum(one.shares)
                edges = np.linspace(0, 100, len(counts) + 1)
                name = self.model.full_name(row)
                axes.stairs(counts, edges, color=colours[row], lw=1.4, label=name)
        axes.set(xlabel="Part of the object that is kept (%)", ylabel="Images (%)", xlim=(0, 100))
        axes.legend(frameon=False, fontsize=7.5, loc="upper left", bbox_to_anchor=(1.01, 1.0))


def masked(
    picture: NDArray[np.uint8], kept: tuple[int, ...], grid: tuple[int, int]
) -> NDArray[np.uint8]:
    """The picture (H, W, 3) with all patches but those in `kept` painted over."""
    height, width = picture.shape[:2]
    row = np.arange(height) * grid[0] // height
    column = np.arange(width) * grid[1] // width
    shown = np.isin(row[:, None] * grid[1] + column[None, :], kept)
    return np.where(shown[:, :, None], picture, np.asarray(HIDDEN, dtype=np.uint8))


def _decoded(png: str) -> NDArray[np.uint8]:
    with Image.open(BytesIO(base64.b64decode(png))) as image:
        return np.asarray(image.convert("RGB"))


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
