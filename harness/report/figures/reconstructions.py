"""Images, what an encoder sees of them, and what a decoder guesses: a line of triples a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from matplotlib.figure import Figure as Drawing

from harness.report.drawing import WIDTH
from harness.report.figures import FIGURES
from harness.report.pictures import (
    LEFT,
    PicturesByRow,
    bare_axes,
    checked_png,
    close_figure,
    decoded,
    name_line,
)

PARTS = ("original", "masked", "guess")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconstruction:
    """Three images, PNG in base64."""

    original: str
    masked: str
    guess: str


@FIGURES.register("reconstructions")
class Reconstructions(PicturesByRow[Reconstruction]):
    """For each row three lines: the images, what is seen of each, and the guess."""

    place: ClassVar[int] = 45
    most_rows: ClassVar[int] = 4

    @classmethod
    def picture(cls, one: Mapping[str, Any]) -> Reconstruction:
        """Checked."""
        return Reconstruction(**{part: checked_png(str(one[part])) for part in PARTS})

    def draw(self) -> Drawing:
        """Three lines for each row."""
        by_row = self.select()
        across = max(len(pictures) for pictures in by_row.values())
        side = min(0.95, (WIDTH - LEFT) / across)
        size = (LEFT + side * across, side * 3 * len(by_row) + 0.1)
        figure = close_figure(size)
        grid = bare_axes(figure, 3 * len(by_row), across)
        for number, (row, pictures) in enumerate(by_row.items()):
            for line, part in enumerate(PARTS):
                for axes, picture in zip(grid[3 * number + line], pictures, strict=False):
                    axes.imshow(decoded(getattr(picture, part)), cmap="gray", vmin=0, vmax=255)
                name = self.model.full_name(row) if line == 0 else ""
                words = {"original": "images", "masked": "what is seen", "guess": "guess"}[part]
                name_line(grid[3 * number + line][0], name, lines=2, below=words)
        return figure
