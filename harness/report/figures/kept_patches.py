"""Images with the patches drawn on them that a masked teacher is shown."""

from __future__ import annotations

import base64
import json
import textwrap
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure as Drawing
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from PIL import Image

from harness.report.drawing import WIDTH
from harness.report.figures import FIGURES, RecordedFigure

LEFT = 1.7  # inches, for the names of rows
MOST_ROWS, MOST_ACROSS = 6, 6
DIM = 0.22  # of the brightness of what the teacher is not shown
EDGE = "#2ec4b6"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownPatches:
    """One image, and which patches of it the teacher is shown."""

    png: str  # base64
    label: int
    grid: tuple[int, int]  # patches: rows, columns
    size: tuple[int, int]  # pixels that the teacher takes: height, width
    patch: int  # pixels of a side
    stride: int  # pixels from one patch to the next
    sound: bool  # a spectrogram, the lowest bin first
    kept: tuple[int, ...]  # in raster order

    def cells(self) -> NDArray[np.int64]:
        """(H, W): the patch whose middle is nearest to each pixel of `size`; patches that overlap
        share their pixels so.
        """
        margin = (self.patch - self.stride) // 2
        lines = [
            np.clip((np.arange(length) - margin) // self.stride, 0, count - 1)
            for length, count in zip(self.size, self.grid, strict=True)
        ]
        return lines[0][:, None] * self.grid[1] + lines[1][None, :]


@FIGURES.register("kept-patches")
class PicturesOfKept(RecordedFigure):
    """A line of the same examples for each row; what is not shown is dark."""

    place: ClassVar[int] = 45

    @classmethod
    def read(cls, path: Path) -> tuple[ShownPatches, ...]:
        """The pictures of one run."""
        content = json.loads(path.read_bytes().decode())
        rows, columns = (int(count) for count in content["grid"])
        height, width = (int(length) for length in content["size"])
        found = []
        for picture in content["pictures"]:
            kept = tuple(int(patch) for patch in picture["kept"])
            if not kept or not all(0 <= patch < rows * columns for patch in kept):
                raise ValueError("its patches are not those of the grid")
            try:
                Image.open(BytesIO(base64.b64decode(picture["png"])), formats=["PNG"]).verify()
            except OSError:  # else it would be told as a file that cannot be opened
                raise ValueError("a picture is no PNG") from None
            found.append(
                ShownPatches(
                    png=picture["png"],
                    label=int(picture["label"]),
                    grid=(rows, columns),
                    size=(height, width),
                    patch=max(1, int(content["patch"])),
                    stride=max(1, int(content["stride"])),
                    sound=bool(content["spectrograms"]),
                    kept=kept,
                )
            )
        return tuple(found)

    def select(self) -> dict[str, tuple[ShownPatches, ...]]:
        """The examples of the first rows that have any: of the first seed that was looked at."""
        of_runs: dict[str, tuple[ShownPatches, ...]] = {}
        for run in self.model.runs:
            if self.declared.source in run.files:
                of_runs.setdefault(run.row, run.files[self.declared.source])
        rows = [row.id for row in self.model.rows if of_runs.get(row.id)]
        return {row: of_runs[row][: self._across(of_runs[row][0])] for row in rows[:MOST_ROWS]}

    @staticmethod
    def _across(one: ShownPatches) -> int:
        """How many fit beside each other: wide ones fewer."""
        height, width = one.size
        return max(2, min(MOST_ACROSS, round(MOST_ACROSS * height / width)))

    def caption(self) -> str:
        """As declared, and how it is drawn."""
        one = next(iter(self.select().values()))[0]
        parts = [self.declared.caption, "Bright: shown."]
        if one.stride < one.patch:
            parts.append(
                f"Patches of {one.patch} x {one.patch} overlap, each stands for its middle "
                f"{one.stride} x {one.stride}."
            )
        if one.sound:
            parts.append(
                "Time from left to right, mel bins from below; flat at the right: what pads a clip."
            )
        return " ".join(parts)

    def draw(self) -> Drawing:
        """A line for each row."""
        blocks = self.select()
        across = max(len(line) for line in blocks.values())
        height, width = next(iter(blocks.values()))[0].size
        side = (WIDTH - LEFT) / across
        size = (WIDTH, (side * height / width + 0.12) * len(blocks) + 0.25)
        dense = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, hspace=0, wspace=0)
        figure = Drawing(figsize=size, layout=dense)
        grid = figure.subplots(len(blocks), across, squeeze=False)
        for line, (row, shown) in zip(grid, blocks.items(), strict=True):
            for axes, one in zip(line, shown, strict=False):
                _draw(axes, one)
            for axes in line[len(shown) :]:
                axes.set_axis_off()
            text = textwrap.fill(self.model.full_name(row), 20, max_lines=4, placeholder="…")
            line[0].set_ylabel(text, rotation=0, ha="right", va="center", labelpad=6)
        for axes, one in zip(grid[0], next(iter(blocks.values())), strict=False):
            axes.set_title(f"class {one.label}", loc="center", fontsize=7)
        return figure


def _draw(axes: Axes, one: ShownPatches) -> None:
    """The image, dark where the teacher sees nothing, with a line around what it sees."""
    with Image.open(BytesIO(base64.b64decode(one.png))) as image:
        levels = np.asarray(image.resize((one.size[1], one.size[0])), np.float64) / 255
    if levels.ndim == 2:
        levels = np.repeat(levels[:, :, None], 3, axis=2)
    seen = np.isin(one.cells(), one.kept)
    drawn = levels * np.where(seen, 1.0, DIM)[:, :, None]
    height, width = map(float, one.size)
    origin: Literal["lower", "upper"] = "lower" if one.sound else "upper"
    low, high = (0.0, height) if one.sound else (height, 0.0)
    extent = (0.0, width, low, high)
    axes.imshow(drawn, origin=origin, extent=extent, interpolation="nearest", aspect="equal")
    axes.add_collection(LineCollection(_borders(seen), colors=EDGE, linewidths=0.7))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _borders(seen: NDArray[np.bool_]) -> list[list[tuple[float, float]]]:
    """Segments, in pixels, between what is seen and what is not, or the edge."""
    padded = np.pad(seen, 1)
    segments = []
    for y, x in zip(*np.nonzero(padded[1:] != padded[:-1]), strict=True):
        segments.append([(float(x - 1), float(y)), (float(x), float(y))])
    for y, x in zip(*np.nonzero(padded[:, 1:] != padded[:, :-1]), strict=True):
        segments.append([(float(x), float(y - 1)), (float(x), float(y))])
    return segments
