"""Images, the true class of every pixel, and below them what each row's network tells."""

from __future__ import annotations

import base64
import colorsys
import json
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
MOST_ROWS, MOST_PICTURES = 6, 8
UNKNOWN = 255  # in a mask
PARTS = ("image", "truth", "guess")
TURN = 0.381966  # of the colour wheel, from one class to the next: the golden angle


@dataclass(frozen=True, kw_only=True, slots=True)
class Masked:
    """An image and two masks in grey, a value a class; PNG in base64."""

    image: str
    truth: str
    guess: str


@FIGURES.register("masks")
class Masks(RecordedFigure):
    """The first images of the first row, their true masks, and a line of masks a row."""

    place: ClassVar[int] = 40

    @classmethod
    def read(cls, path: Path) -> tuple[Masked, ...]:
        """The pictures of one run."""
        content = json.loads(path.read_bytes().decode())
        found = [Masked(**{part: str(one[part]) for part in PARTS}) for one in content["pictures"]]
        for one in found:
            for part in PARTS:
                try:
                    picture = base64.b64decode(getattr(one, part))
                    Image.open(BytesIO(picture), formats=["PNG"]).verify()
                except OSError:  # else it would be told as a file that cannot be opened
                    raise ValueError("a picture is no PNG") from None
        return tuple(found)

    def select(self) -> dict[str, tuple[Masked, ...]]:
        """The pictures that are shown, by row; all rows show the same images."""
        by_row = self._by_row()
        return {row: by_row[row][:MOST_PICTURES] for row in list(by_row)[:MOST_ROWS]}

    def _by_row(self) -> dict[str, tuple[Masked, ...]]:
        source = self.declared.source
        found = {run.row: run.files[source] for run in self.model.runs if source in run.files}
        return {row.id: found[row.id] for row in self.model.rows if found.get(row.id)}

    def caption(self) -> str:
        """As declared, and what is left out."""
        count = len(self._by_row())
        rest = f" The first {MOST_ROWS} of {count} rows." if count > MOST_ROWS else ""
        return f"{self.declared.caption}{rest}"

    def draw(self) -> Drawing:
        """Two lines, and one for each row."""
        by_row = self.select()
        first = next(iter(by_row.values()))
        lines = [
            ("images", [_decoded(one.image) for one in first]),
            ("truth", [coloured(_decoded(one.truth)) for one in first]),
        ]
        for row, pictures in by_row.items():
            name = textwrap.fill(self.model.full_name(row), 22, max_lines=3, placeholder="…")
            lines.append((name, [coloured(_decoded(one.guess)) for one in pictures]))
        across = len(first)
        side = min(0.95, (WIDTH - LEFT) / across)
        dense = ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.015, hspace=0, wspace=0)
        size = (LEFT + side * across, side * len(lines) + 0.1)
        figure = Drawing(figsize=size, layout=dense)
        grid = figure.subplots(len(lines), across, squeeze=False)
        for axes_of_line, (name, drawn) in zip(grid, lines, strict=True):
            _line(list(axes_of_line), name, drawn)
        return figure


def _line(line: list[Axes], name: str, pictures: list[NDArray[np.uint8]]) -> None:
    for axes in line:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
    for axes, picture in zip(line, pictures, strict=False):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6)


def colour(of_class: int) -> tuple[float, float, float]:
    """Red, green and blue in 0..1; neighbouring numbers get colours far apart, 0 is dark."""
    if of_class == 0:
        return 0.13, 0.13, 0.13
    lighter = of_class % 3
    hue = of_class * TURN % 1.0
    return colorsys.hsv_to_rgb(hue, (0.85, 0.55, 0.7)[lighter], (0.95, 0.95, 0.65)[lighter])


def coloured(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask (H, W) as a picture (H, W, 3)."""
    table = np.array([colour(number) for number in range(UNKNOWN)] + [(1.0, 1.0, 1.0)])
    picture: NDArray[np.uint8] = (255 * table).round().astype(np.uint8)[mask]
    return picture


def _decoded(png: str) -> NDArray[np.uint8]:
    with Image.open(BytesIO(base64.b64decode(png))) as image:
        return np.asarray(image)
