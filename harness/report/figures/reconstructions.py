"""Images, what an encoder sees of them, and what a decoder guesses: a line of triples a row."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from matplotlib.figure import Figure as Drawing

from harness.report.drawing import WIDTH
from harness.report.figures import FIGURES, RecordedFigure
from harness.report.pictures import LEFT, bare_axes, checked_png, close_figure, decoded, name_line

MOST_ROWS, MOST_PICTURES = 4, 8
PARTS = ("original", "masked", "guess")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconstruction:
    """Three images, PNG in base64."""

    original: str
    masked: str
    guess: str


@FIGURES.register("reconstructions")
class Reconstructions(RecordedFigure):
    """For each row three lines: the images, what is seen of each, and the guess."""

    place: ClassVar[int] = 45

    @classmethod
    def read(cls, path: Path) -> tuple[Reconstruction, ...]:
        """The pictures of one run."""
        content = json.loads(path.read_bytes().decode())
        return tuple(
            Reconstruction(**{part: checked_png(str(picture[part])) for part in PARTS})
            for picture in content["pictures"]
        )

    def select(self) -> dict[str, tuple[Reconstruction, ...]]:
        """The pictures that are shown, by row."""
        by_row = self.by_row()
        return {row: by_row[row][:MOST_PICTURES] for row in list(by_row)[:MOST_ROWS]}

    def caption(self) -> str:
        """As declared, and what is left out."""
        return f"{self.declared.caption}{self.left_out(len(self.by_row()), MOST_ROWS)}"

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
