"""Images, the true class of every pixel, and below them what each row's network tells."""

from __future__ import annotations

import colorsys
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from harness.data.targets import UNKNOWN
from harness.report.drawing import WIDTH
from harness.report.figures import FIGURES, RecordedFigure
from harness.report.pictures import LEFT, bare_axes, checked_png, close_figure, decoded, name_line

MOST_ROWS, MOST_PICTURES = 6, 8
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
        return tuple(
            Masked(**{part: checked_png(str(one[part])) for part in PARTS})
            for one in content["pictures"]
        )

    def select(self) -> dict[str, tuple[Masked, ...]]:
        """The pictures that are shown, by row; all rows show the same images."""
        by_row = self.by_row()
        return {row: by_row[row][:MOST_PICTURES] for row in list(by_row)[:MOST_ROWS]}

    def caption(self) -> str:
        """As declared, and what is left out."""
        return f"{self.declared.caption}{self.left_out(len(self.by_row()), MOST_ROWS)}"

    def draw(self) -> Drawing:
        """Two lines, and one for each row."""
        by_row = self.select()
        first = next(iter(by_row.values()))
        lines = [
            ("images", [decoded(one.image) for one in first]),
            ("truth", [coloured(decoded(one.truth)) for one in first]),
        ]
        for row, pictures in by_row.items():
            lines.append(
                (self.model.full_name(row), [coloured(decoded(one.guess)) for one in pictures])
            )
        across = len(first)
        side = min(0.95, (WIDTH - LEFT) / across)
        size = (LEFT + side * across, side * len(lines) + 0.1)
        figure = close_figure(size)
        grid = bare_axes(figure, len(lines), across)
        for line, (name, drawn) in zip(grid, lines, strict=True):
            for axes, picture in zip(line, drawn, strict=False):
                axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            name_line(line[0], name)
        return figure


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
